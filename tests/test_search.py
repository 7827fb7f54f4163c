"""The search: against one variant at a time without padding, on random models and real questions; ties; bad input."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ssan import scorer, search
from ssan.batch import Batch
from ssan.data.text import text_task
from ssan.models.attention import AttentionAdapter, Output
from ssan.regions import FeatureGrid, ImageGrid, TokenRegions
from ssan.samplers import HideWindows, KeepWindows, Pairs, RandomMasks, Rise, Singles
from ssan.search import find_surrogates, replay
from ssan.selectors import Importance
from tests.helpers import (
    Additive,
    PatchModel,
    Returns,
    additive,
    exists,
    generator,
    random_images,
    random_maps,
    random_sentences,
    sentences,
    text_model,
)

TOLERANCE = {torch.float32: 1e-5, torch.float64: 1e-10}
CLOSE = {torch.float32: 2e-5, torch.float64: 1e-10}

# --- brute force: one variant at a time, nothing padded, nothing batched ---------------------------------------------


def single(tokens, label=0):
    return Batch(torch.tensor([0]), torch.tensor([label]), torch.tensor([tokens]), torch.tensor([len(tokens)]))


def plain_score(logits, label, kind):
    values = logits.tolist()
    own, others = values[label], [v for c, v in enumerate(values) if c != label]
    if kind == "logit":
        return own
    top = max(values)
    odds = math.exp(own - top) / sum(math.exp(v - top) for v in others)
    return odds / (1 + odds) if kind == "probability" else math.log(odds)


def plain_map(model, output):
    hops = output.attention[0]
    if model.hop_reduction == "softmax_of_sum":
        weights = hops.sum(0).exp()
        return weights / weights.sum()
    return sum(hops) / len(hops)


def hidden_pairs(tokens):
    yield list(tokens)
    for i in range(len(tokens)):
        for j in range(i + 1, len(tokens)):
            yield [0 if t in (i, j) else word for t, word in enumerate(tokens)]


def brute_force(teachers, tokens, label, score="logit"):
    """Attention, index, score of the best variant, the clean score, and how far every decision was from the other."""
    dtype = next(teachers[0].parameters()).dtype
    best, margin = None, math.inf
    for index, variant in enumerate(hidden_pairs(tokens)):
        with torch.no_grad():
            outputs = [model.eval()(single(variant)) for model in teachers]
        value = sum(plain_score(output.logits[0], label, score) for output in outputs) / len(teachers)
        attention = sum(plain_map(*pair) for pair in zip(teachers, outputs, strict=True)) / len(teachers)
        if best is None:
            best, clean = (attention, index, value), value
            continue
        bar = best[2] + TOLERANCE[dtype] * max(1, abs(best[2]))
        margin = min(margin, abs(value - bar))
        if value > bar:
            best = (attention, index, value)
    return *best, clean, margin


def check_against_brute_force(teachers, batch, score="logit", limit=0, **options):
    """Compares every example, on the plain and on the fast way; returns how many have a better variant.

    `limit`: for how many the rounding of single precision may decide which variant it is.
    """
    dtype = next(teachers[0].parameters()).dtype
    atol, undecided, improved = CLOSE[dtype], 0, 0
    model = teachers[0] if len(teachers) == 1 else teachers
    ways = [find_surrogates(model, batch, Pairs(), score=score, accelerate=way, **options) for way in (False, True)]
    for row in range(len(batch)):
        tokens = batch.tokens[row, : int(batch.lengths[row])].tolist()
        attention, index, value, clean, margin = brute_force(teachers, tokens, int(batch.label[row]), score)
        scale, width = max(1, abs(value)), len(attention)
        decided = margin >= 0.4 * TOLERANCE[dtype] * scale
        undecided += not decided
        improved += index > 0
        for found in ways:
            assert found.ids[row] == batch.ids[row]
            assert float(found.score[row]) == pytest.approx(value, abs=2 * atol * scale)
            assert float(found.clean_score[row]) == pytest.approx(clean, abs=atol * scale)
            if decided:
                assert int(found.index[row]) == index
                torch.testing.assert_close(found.attention[row, :width], attention, atol=atol, rtol=0)
                assert (found.attention[row, width:] == 0).all()
    assert undecided <= limit
    return improved


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("score", ["logit", "probability", "log_odds"])
@pytest.mark.parametrize("n_teachers", [1, 3])
def test_equals_brute_force(n_teachers, score, dtype):
    batch = random_sentences(14 if n_teachers == 1 else 8, seed=n_teachers)
    teachers = [text_model(seed, hops=4, dtype=dtype) for seed in range(n_teachers)]
    limit = 1 if dtype == torch.float32 else 0
    assert check_against_brute_force(teachers, batch, score, limit, perturbations_per_eval=29) > 3


@pytest.mark.parametrize("hops", [1, 3])
def test_equals_brute_force_for_other_numbers_of_hops(hops):
    batch = random_sentences(12, seed=7)
    assert check_against_brute_force([text_model(9, hops=hops, dtype=torch.float64)], batch) > 4


def test_equals_brute_force_as_released():
    """Padding that is read and attended to, a fixed length, a softmax over summed hops."""
    model = text_model(
        2, hops=3, padding_attends=True, fixed_length=11, hop_reduction="softmax_of_sum", dtype=torch.float64
    )
    batch = random_sentences(12, seed=3)
    assert check_against_brute_force([model], batch) > 3
    assert find_surrogates(model, batch, Pairs()).attention.shape == (12, 11)


def test_equals_brute_force_with_teachers_of_different_kinds():
    teachers = [text_model(1, hops=2, dtype=torch.float64), text_model(2, hop_reduction="last", dtype=torch.float64)]
    check_against_brute_force(teachers, random_sentences(8, seed=5))


@pytest.fixture(scope="module")
def trec(data_mirror):  # noqa: ARG001 (its work is done before this one's)
    return text_task("trec", vectors=None)


def trec_sample(task, n, seed):
    """Questions of all three splits: those outside the training split have unknown words."""
    parts = []
    for k, split in enumerate((task.train, task.valid, task.test)):
        rows = torch.randperm(len(split), generator=generator(seed + k))[: n // 3]
        parts.append(split.select(rows))
    rows = [part.tokens[i, : int(part.lengths[i])].tolist() for part in parts for i in range(len(part))]
    return sentences(rows, torch.cat([part.label for part in parts]).tolist())


@pytest.mark.parametrize(("dtype", "n"), [(torch.float32, 18), (torch.float64, 36)])
def test_equals_brute_force_on_trec(trec, dtype, n):
    batch = trec_sample(trec, n, seed=1)
    assert (batch.tokens == 0).any(), "the sample should hold unknown words"
    model = text_model(3, vocabulary=len(trec.words), classes=6, hops=2, dtype=dtype)
    assert check_against_brute_force([model], batch, limit=2 if dtype == torch.float32 else 0) > n // 2


# --- what must not matter --------------------------------------------------------------------------------------------

SELECTORS = ["best", "importance", "ridge"]


def assert_same(a, b, atol=1e-10):
    assert torch.equal(a.ids, b.ids)
    assert torch.equal(a.index, b.index)
    for name in ("attention", "score", "clean_score", "clean_attention"):
        x, y = getattr(a, name), getattr(b, name)
        if x.dim() == 2:
            width = max(x.shape[1], y.shape[1])
            x, y = (torch.nn.functional.pad(z, (0, width - z.shape[1])) for z in (x, y))
        torch.testing.assert_close(x, y, atol=atol, rtol=0)


@settings(deadline=None, max_examples=15)
@given(
    size=st.integers(1, 250),
    selector=st.sampled_from(SELECTORS),
    group=st.sampled_from([2, 5, 256]),
    fast=st.booleans(),
)
def test_chunk_and_group_size_do_not_matter(size, selector, group, fast):
    model, batch = text_model(0, dtype=torch.float64, hops=2), random_sentences(8, seed=11, longest=8)
    expected = find_surrogates(model, batch, Pairs(), selector=selector)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(search, "GROUP", group)
        options = {"perturbations_per_eval": size, "accelerate": fast}
        found = find_surrogates(model, batch, Pairs(), selector=selector, **options)
    assert_same(found, expected)


@settings(deadline=None, max_examples=15)
@given(st.data())
def test_order_and_companions_do_not_matter(data):
    model, batch = text_model(5, dtype=torch.float64), random_sentences(10, seed=13)
    rows = data.draw(st.lists(st.integers(0, 9), min_size=1, max_size=10, unique=True))
    selector = data.draw(st.sampled_from(SELECTORS))
    sampler = data.draw(st.sampled_from([Pairs(), RandomMasks(9, seed=2), KeepWindows(2), Rise(7, cells=3)]))
    options = {"selector": selector, "perturbations_per_eval": 17, "accelerate": data.draw(st.booleans())}
    everyone = find_surrogates(model, batch, sampler, **options)
    some = find_surrogates(model, batch.select(rows), sampler, **options)
    assert_same(some, everyone.select(torch.tensor(rows)))


@settings(deadline=None, max_examples=10)
@given(size=st.integers(1, 200), seed=st.integers(0, 99))
def test_exact_models_give_the_same_bits_for_every_chunk_size(size, seed):
    model, batch = additive(seed), random_sentences(5, seed)
    expected = find_surrogates(model, batch, Pairs(), perturbations_per_eval=1)
    found = find_surrogates(model, batch, Pairs(), perturbations_per_eval=size)
    assert torch.equal(found.index, expected.index)
    assert torch.equal(found.score, expected.score)


def test_no_forward_pass_is_larger_than_asked_and_each_variant_is_run_once():
    model, batch = additive(), random_sentences(12, seed=4, longest=12)
    find_surrogates(model, batch, Pairs(), perturbations_per_eval=10)
    assert max(model.sizes) == 10
    assert sum(model.sizes) == int(Pairs().count(batch.lengths).sum())


@pytest.mark.parametrize("numbers", [1, 64 * 12 * 3])
def test_default_chunks_hold_as_many_variants_as_fit(monkeypatch, numbers):
    monkeypatch.setattr(scorer, "CHUNK_NUMBERS", numbers)
    model, batch = additive(), sentences([list(range(2, 14))])
    find_surrogates(model, batch, Pairs())
    assert max(model.sizes[1:]) == max(1, numbers // (64 * 12))


# --- ties ------------------------------------------------------------------------------------------------------------


def table(**weights):
    """An exact model: only the words named w<id> weigh anything, for class 0; all others 0."""
    weight = torch.zeros(20, 2, dtype=torch.float64)
    for word, value in weights.items():
        weight[int(word[1:]), 0] = value
    return Additive(weight, torch.linspace(0, 2, 20, dtype=torch.float64))


@pytest.mark.parametrize("size", [1, 2, 3, 100])
def test_of_equal_variants_the_lowest_index_wins(size):
    # Hiding word 5, which hurts, beside any other: variants 2, 4 and 6 of the pairs (01 02 03 12 13 23) are equal.
    found = find_surrogates(table(w5=-3), sentences([[6, 7, 8, 5]]), Pairs(), perturbations_per_eval=size)
    assert found.index.tolist() == [3]
    found = find_surrogates(table(w5=-3), sentences([[6, 5, 7, 8]]), Pairs(), perturbations_per_eval=size)
    assert found.index.tolist() == [1]
    assert found.gain.tolist() == [3]


def test_the_clean_variant_wins_ties():
    found = find_surrogates(table(w5=3), sentences([[6, 7, 8, 9], [5, 6, 7, 8]]), Pairs())
    assert found.index.tolist() == [0, 0]
    assert torch.equal(found.attention, found.clean_attention)
    assert found.gain.tolist() == [0, 0]


def test_hiding_unknown_words_is_the_clean_input_again():
    """Even where a model's arithmetic rounds the equal inputs differently."""
    batch = sentences([[0, 0, 0], [0, 0], [0] * 8, [0] * 9])
    for dtype in (torch.float32, torch.float64):
        for size in (1, 7, 1000):
            model = text_model(2, scale=6.0, dtype=dtype)
            found = find_surrogates(model, batch, Pairs(), perturbations_per_eval=size)
            assert found.index.tolist() == [0, 0, 0, 0]
            assert torch.equal(found.attention, found.clean_attention)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_of_variants_equal_through_unknown_words_the_first_wins(dtype):
    g, rows = generator(0), []
    for n in range(3, 10):
        row = torch.randint(2, 20, (n,), generator=g)
        rows.append(torch.where(torch.rand(n, generator=g) < 0.5, 0, row).tolist())
    later = 0
    for size in (1, 5, 1000):
        found = find_surrogates(text_model(1, dtype=dtype), sentences(rows), Pairs(), perturbations_per_eval=size)
        for row, index in zip(rows, found.index.tolist(), strict=True):
            variants = list(hidden_pairs(row))
            assert variants.index(variants[index]) == index
            later += variants.count(variants[index]) > 1
    assert later > 0, "no winner had an equal: this tests nothing"


@pytest.mark.parametrize("selector", SELECTORS)
def test_a_sentence_of_one_token_keeps_the_clean_map(selector):
    batch = sentences([[5], [6, 7, 8, 9], [0]])
    found = find_surrogates(text_model(3), batch, Pairs(), selector=selector)
    assert found.index[[0, 2]].tolist() == [0, 0]
    assert found.attention[[0, 2]].tolist() == [[1, 0, 0, 0]] * 2
    assert torch.equal(found.score[[0, 2]], found.clean_score[[0, 2]])
    alone = find_surrogates(text_model(3), batch.select([0]), Pairs(), selector=selector)
    assert alone.attention.tolist() == [[1]]


def test_tie_tolerance_is_relative_to_the_best_so_far():
    model, batch = table(w5=-1e-3, w6=100), sentences([[5, 7, 6]])
    assert find_surrogates(model, batch, Singles()).index.tolist() == [1]
    assert find_surrogates(model, batch, Singles(), tie_tolerance=2e-5).index.tolist() == [0]
    assert find_surrogates(model, batch, Singles(), tie_tolerance=0.9e-5).index.tolist() == [1]


@settings(deadline=None, max_examples=20)
@given(seed=st.integers(0, 999), size=st.integers(1, 40))
def test_steps_below_the_tolerance_do_not_depend_on_the_chunks(seed, size):
    """A staircase: whether a step is taken depends on which were taken before, so the order must be kept."""
    weight = torch.zeros(20, 1, dtype=torch.float64)
    weight[2:, 0] = -torch.rand(18, generator=generator(seed)).double()
    model, batch = Additive(weight, torch.zeros(20, dtype=torch.float64)), random_sentences(6, seed, classes=1)
    found = find_surrogates(model, batch, Pairs(), tie_tolerance=0.3, perturbations_per_eval=size)
    for row in range(6):
        words = batch.tokens[row, : int(batch.lengths[row])].tolist()
        best, index = sum(float(weight[w, 0]) for w in words), 0
        for i, variant in enumerate(hidden_pairs(words)):
            value = sum(float(weight[w, 0]) for w in variant)
            if value > best + 0.3 * max(1, abs(best)):
                best, index = value, i
        assert int(found.index[row]) == index


# --- teachers, regions, images, features -----------------------------------------------------------------------------


def test_a_teacher_three_times_is_that_teacher():
    model, batch = text_model(4, dtype=torch.float64), random_sentences(8, seed=6)
    assert_same(find_surrogates([model] * 3, batch, Pairs()), find_surrogates(model, batch, Pairs()))


def test_clean_attention_and_scores_are_averaged_over_teachers():
    teachers, batch = [text_model(s, dtype=torch.float64) for s in range(3)], random_sentences(8, seed=6)
    together = find_surrogates(teachers, batch, Pairs(), score="probability")
    alone = [find_surrogates(teacher, batch, Pairs(), score="probability") for teacher in teachers]
    torch.testing.assert_close(together.clean_score, sum(a.clean_score for a in alone) / 3)
    torch.testing.assert_close(together.clean_attention, sum(a.clean_attention for a in alone) / 3)


def test_another_hidden_word():
    batch = sentences([[5, 6, 7]])
    assert find_surrogates(table(w9=4), batch, Pairs(), regions=TokenRegions(9)).score.tolist() == [8]
    model = table(w9=4)
    model.regions = TokenRegions(9)
    assert find_surrogates(model, batch, Pairs()).score.tolist() == [8]
    assert find_surrogates(model, batch, Pairs(), regions=TokenRegions(0)).score.tolist() == [0]


@torch.no_grad()
def image_by_hand(model, batch, regions, sampler, row):
    """Scores and maps of all variants of one image, one at a time."""
    scores, maps = [], []
    n = int(regions.count(batch)[row])
    for index in range(sampler.count(n)):
        one = batch.select([row])
        mask = sampler.masks(n, index, int(batch.ids[row]))
        if regions.on_features:
            encoded = model.encode(one)
            filling = encoded.features.mean(1, keepdim=True) if regions.fill == "mean" else 0 * encoded.features
            features = torch.where(mask[..., None], encoded.features, filling)
            output = model.attend(type(encoded)(features, encoded.context))
        else:
            output = model(regions.hide(one, mask))
        scores.append(float(output.logits[0, int(batch.label[row])]))
        maps.append(output.attention[0].detach())
    return scores, maps


@pytest.mark.parametrize(
    "regions", [ImageGrid((2, 3)), ImageGrid((2, 3), "zero"), FeatureGrid((2, 3)), FeatureGrid((2, 3), "mean")], ids=str
)
@pytest.mark.parametrize("sampler", [HideWindows(1, grid=(2, 3)), RandomMasks(11, seed=3), Pairs()], ids=str)
@pytest.mark.parametrize("size", [4, None])
def test_images_and_features_equal_brute_force(regions, sampler, size):
    model, batch = PatchModel((2, 3)), random_images(5)
    found = find_surrogates(model, batch, sampler, regions=regions, perturbations_per_eval=size)
    for row in range(5):
        scores, maps = image_by_hand(model, batch, regions, sampler, row)
        best = max(range(len(scores)), key=scores.__getitem__)
        assert int(found.index[row]) == best
        assert float(found.score[row]) == pytest.approx(scores[best], abs=1e-12)
        assert float(found.clean_score[row]) == pytest.approx(scores[0], abs=1e-12)
        torch.testing.assert_close(found.attention[row], maps[best])
        torch.testing.assert_close(found.clean_attention[row], maps[0])
    assert (found.index > 0).any()


def test_features_are_encoded_once():
    model, batch = PatchModel((2, 3)), random_images(7)
    find_surrogates(model, batch, RandomMasks(20), regions=FeatureGrid((2, 3)), perturbations_per_eval=3)
    assert model.encoded == 7


def test_several_teachers_mask_their_own_features():
    teachers, batch, regions = [PatchModel((2, 3), s) for s in range(2)], random_images(4), FeatureGrid((2, 3))
    found = find_surrogates(teachers, batch, Singles(), regions=regions, perturbations_per_eval=3)
    for row in range(4):
        by_hand = [image_by_hand(teacher, batch, regions, Singles(), row) for teacher in teachers]
        scores = [(a + b) / 2 for a, b in zip(*(scores for scores, _ in by_hand), strict=True)]
        best = max(range(len(scores)), key=scores.__getitem__)
        assert int(found.index[row]) == best
        torch.testing.assert_close(found.attention[row], sum(maps[best] for _, maps in by_hand) / 2)


def test_importance_from_shaded_pixels():
    model, batch, sampler, grid = PatchModel((2, 3)), random_images(4), Rise(30, cells=3, seed=1), (2, 3)
    selector = Importance()
    find_surrogates(model, batch, sampler, selector=selector, regions=ImageGrid(grid, "zero"))
    for row in range(4):
        pixels = sampler.pixel_masks((8, 12), torch.arange(31), int(batch.ids[row])).double()
        images = pixels[:, None] * batch.image[row]
        label = batch.label[row].expand(31)
        scores = model(Batch(torch.arange(31), label, image=images)).logits[:, int(label[0])].detach()
        kept = pixels.unflatten(2, (3, 4)).unflatten(1, (2, 4)).mean((2, 4)).flatten(1)
        gone = 1 - kept
        expected = (kept * scores[:, None]).sum(0) / kept.sum(0) - (gone * scores[:, None]).sum(0) / gone.sum(0)
        torch.testing.assert_close(selector.values()[row], expected, atol=1e-6, rtol=0)


# --- replay ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("group", [2, 256])
def test_replay_shows_the_found_variant_again(monkeypatch, group):
    monkeypatch.setattr(search, "GROUP", group)
    batch, sampler = random_sentences(9, seed=8), RandomMasks(12, seed=5)
    teachers = [text_model(s, dtype=torch.float64) for s in range(2)]
    found = find_surrogates(teachers, batch, sampler, score="log_odds")
    score, attention = replay(teachers, batch, sampler, found.index, score="log_odds")
    torch.testing.assert_close(score, found.score)
    torch.testing.assert_close(attention, found.attention)
    score, attention = replay(teachers, batch, sampler, torch.zeros(9, dtype=torch.long), score="log_odds")
    torch.testing.assert_close(score, found.clean_score)
    torch.testing.assert_close(attention, found.clean_attention)


def test_replay_on_features():
    model, batch, regions = PatchModel((2, 3)), random_images(4), FeatureGrid((2, 3))
    found = find_surrogates(model, batch, Singles(), regions=regions)
    score, attention = replay(model, batch, Singles(), found.index, regions=regions)
    torch.testing.assert_close(score, found.score)
    torch.testing.assert_close(attention, found.attention)


def test_replay_of_a_variant_that_does_not_exist():
    with pytest.raises(ValueError, match="there is no variant 2"):
        replay(text_model(), sentences([[2, 3], [4, 5]]), Pairs(), torch.tensor([1, 2]))


# --- manners ---------------------------------------------------------------------------------------------------------


def test_models_are_evaluated_and_given_back_as_they_were():
    model, batch = text_model(0, dropout=0.9), random_sentences(6)
    model.train()
    model.lstm.eval()
    state = torch.get_rng_state()
    found = find_surrogates(model, batch, Pairs())
    assert torch.equal(torch.get_rng_state(), state)
    assert (model.training, model.lstm.training, model.dropout.training) == (True, False, True)
    assert_same(find_surrogates(model.eval(), batch, Pairs()), found, atol=0)


def test_what_is_found_can_be_trained_on():
    found = find_surrogates(text_model(), random_sentences(4), Pairs())
    weight = torch.ones_like(found.attention, requires_grad=True)
    (weight * found.attention).sum().backward()
    assert torch.equal(weight.grad, found.attention)
    assert not any(getattr(found, name).requires_grad for name in ("attention", "score", "clean_attention"))


def test_progress_counts_variants(capsys):
    find_surrogates(additive(), sentences([[2, 3, 4], [5]]), Pairs(), show_progress=True)
    assert "5.00/5.00" in capsys.readouterr().err
    find_surrogates(additive(), sentences([[2, 3, 4], [5]]), Pairs())
    assert capsys.readouterr().err == ""


def test_an_adapted_module_can_be_searched():
    model, batch = text_model(0, dtype=torch.float64), random_sentences(5)
    adapted = AttentionAdapter(model, lambda batch: (batch,), lambda out: Output(out.logits, out.attention.mean(1)))
    assert_same(find_surrogates(adapted, batch, Pairs()), find_surrogates(model, batch, Pairs()))


# --- bad input -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"score": "loss"}, "unknown score 'loss': expected one of logit, probability, log_odds"),
        ({"selector": "worst"}, "unknown selector 'worst'"),
        ({"perturbations_per_eval": 0}, "perturbations_per_eval must be at least 1, got 0"),
    ],
)
def test_bad_options_are_refused_before_any_work(options, message):
    model = additive()
    with pytest.raises(ValueError, match=message):
        find_surrogates(model, random_sentences(3), Pairs(), **options)
    assert model.sizes == []


def test_no_teachers_and_no_examples():
    with pytest.raises(ValueError, match="at least one model"):
        find_surrogates([], random_sentences(3), Pairs())
    with pytest.raises(ValueError, match="a batch without examples"):
        find_surrogates(additive(), random_sentences(3).select([]), Pairs())


@pytest.mark.parametrize("label", [-1, 3])
def test_labels_out_of_range(label):
    batch = random_sentences(4).replace(label=torch.tensor([0, 1, label, 0]))
    with pytest.raises(ValueError, match=r"labels run from -?\d to \d, but the model has 3 classes"):
        find_surrogates(additive(), batch, Pairs())


def breaking(change):
    """A model whose honest output `change(logits, attention)` spoils."""
    honest = text_model()

    def forward(batch):
        logits, attention, _ = honest(batch)
        return change(logits, attention.squeeze(1))

    return Returns(forward)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda logits, a: Output(logits, 0.5 * a), "attention must sum to 1"),
        (lambda logits, a: Output(logits, a.log().exp() + 0.25), "attention must sum to 1"),
        (lambda logits, a: Output(logits, torch.ones_like(a) / a.shape[1]), "attention on padding must be exactly 0"),
        (lambda logits, a: Output(logits, a[:, :-1]), "attention covers 8 regions, but an example has 9"),
        (lambda logits, a: Output(logits, a[:-1]), r"attention must be \(B, R\) or \(B, H, R\) with B=20"),
        (lambda logits, a: Output(logits, a.sum()), r"attention must be \(B, R\) or \(B, H, R\)"),
        (lambda logits, a: Output(logits[0], a), r"logits must be \(B, C\) with B=20"),
        (lambda logits, a: Output(logits * torch.nan, a), "logits hold NaN or infinity"),
        (lambda logits, a: Output(logits, a * torch.nan), "attention holds NaN or infinity"),
        (lambda logits, a: Output(logits, 2 * a - a.flip(0)), "attention must be non-negative"),
    ],
)
def test_outputs_outside_the_contract(change, message):
    with pytest.raises(ValueError, match=message):
        find_surrogates(breaking(change), random_sentences(20), Pairs())


def test_a_foreign_output():
    with pytest.raises(TypeError, match=r"the model returned tuple, expected .*Output"):
        find_surrogates(breaking(lambda logits, a: (logits, a)), random_sentences(4), Pairs())


@pytest.mark.parametrize("value", ["nan", "inf"])
@pytest.mark.parametrize("size", [1, 1000])
def test_nan_on_masked_variants_alone(size, value):
    """The clean input is fine; hiding makes a word no sentence has, on which the model breaks."""
    model = additive()
    with torch.no_grad():
        model.weight[0] = float(value)
    batch = sentences([[2, 3], [4, 5, 6]], ids=[70, 71])
    with pytest.raises(ValueError, match=f"score of variant 1 of example 70 is {value}: .* on masked inputs"):
        find_surrogates(model, batch, Pairs(), perturbations_per_eval=size)


def test_the_mode_of_a_model_survives_an_error():
    model = breaking(lambda logits, a: Output(logits, 0.5 * a)).train()
    with pytest.raises(ValueError, match="sum to 1"):
        find_surrogates(model, random_sentences(4), Pairs())
    assert model.training


def test_a_sampler_for_another_grid():
    with pytest.raises(ValueError, match="n_regions must be 4"):
        find_surrogates(PatchModel(), random_images(2), HideWindows(1, grid=(2, 2)), regions=ImageGrid((2, 3)))


def test_a_model_without_encode_cannot_be_masked_on_features():
    with pytest.raises(AttributeError, match="attend"):
        find_surrogates(additive(), random_images(2), Pairs(), regions=FeatureGrid((2, 3)))


# --- scores ----------------------------------------------------------------------------------------------------------


@settings(deadline=None, max_examples=40)
@given(
    logits=st.lists(st.floats(-30, 30), min_size=2, max_size=6),
    pick=st.integers(0, 5),
    kind=st.sampled_from(["logit", "probability", "log_odds"]),
)
def test_scores_against_plain_python(logits, pick, kind):
    label = pick % len(logits)
    row = torch.tensor(logits, dtype=torch.float64)
    found = scorer.SCORES[kind](row[None], torch.tensor([label]))
    assert float(found) == pytest.approx(plain_score(row, label, kind), rel=1e-9, abs=1e-12)


def test_log_odds_do_not_saturate():
    logits = torch.tensor([[200.0, 0.0], [300.0, 0.0]])
    assert scorer.log_odds(logits, torch.tensor([0, 0])).tolist() == [200, 300]
    assert scorer.probability(logits, torch.tensor([0, 0])).tolist() == [1, 1]


def test_helpers_are_what_they_claim():
    batch = random_sentences(30)
    assert (batch.lengths == 1).any()
    maps = random_maps(exists(batch))
    torch.testing.assert_close(maps.sum(-1), torch.ones(30))
