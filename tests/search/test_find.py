"""The search: against one variant at a time without padding, on random models and real questions; ties; bad input."""

import dataclasses
import math
from itertools import combinations, product

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import ssan
from ssan import FeatureGrid, HideWindows, ImageGrid, KeepWindows, Output, Pairs, RandomMasks, Rise, find_surrogates
from ssan.data.pixels import ImageSplit
from ssan.runtime import pick_device
from ssan.search import find, scorer
from tests import helpers
from tests.helpers import Additive, PatchModel, Returns, random_images, random_sentences, sentences, text_model

TOLERANCE = {torch.float32: 1e-5, torch.float64: 1e-10}


def plain_score(logits, label, kind):
    values = logits.tolist()
    true, top, others = values[label], max(values), [v for c, v in enumerate(values) if c != label]
    if kind == "logit":
        return true
    odds = math.exp(true - top) / sum(math.exp(v - top) for v in others)
    return odds / (1 + odds) if kind == "probability" else math.log(odds)


def plain_map(model, hops):
    if hops.dim() == 1:
        return hops
    if model.hop_reduction == "softmax_of_sum":
        return hops.sum(0).exp() / hops.sum(0).exp().sum()
    return hops[-1] if model.hop_reduction == "last" else sum(hops) / len(hops)


@torch.no_grad()
def brute_force(teachers, variants, label, kind="logit"):
    """Scores and maps of `variants`, batches of one example: one at a time, nothing padded."""
    scores, maps, n = [], [], len(teachers)
    for variant in variants:
        outputs = [(model, model.eval()(variant)) for model in teachers]
        scores.append(sum(plain_score(output.logits[0], label, kind) for _, output in outputs) / n)
        maps.append(sum(plain_map(model, output.attention[0]) for model, output in outputs) / n)
    return scores, maps


def best_of(scores, tolerance):
    """The index that wins if variants come one by one, and how far every decision was from the other."""
    best, margin = 0, math.inf
    for index, value in enumerate(scores[1:], 1):
        bar = scores[best] + tolerance * max(1, abs(scores[best]))
        margin = min(margin, abs(value - bar))
        best = index if value > bar else best
    return best, margin


def check(result, row, scores, maps, tolerance=1e-10):
    """Compares what the search says of an example; returns whether rounding may decide which variant it is."""
    best, margin = best_of(scores, tolerance)
    scale, width = tolerance * max(1, abs(scores[best])), len(maps[0])
    assert float(result.score[row]) == pytest.approx(scores[best], abs=4 * scale)
    assert float(result.clean_score[row]) == pytest.approx(scores[0], abs=2 * scale)
    if margin >= 0.4 * scale:
        assert int(result.index[row]) == best
        torch.testing.assert_close(result.attention[row, :width], maps[best], atol=2 * tolerance, rtol=0)
        torch.testing.assert_close(result.clean_attention[row, :width], maps[0], atol=2 * tolerance, rtol=0)
        assert (result.attention[row, width:] == 0).all()
    return margin < 0.4 * scale


def hidden_pairs(tokens):
    hidden = [(), *combinations(range(len(tokens)), 2)]
    return [[0 if t in pair else word for t, word in enumerate(tokens)] for pair in hidden]


def check_sentences(teachers, batch, score="logit"):
    """Compares every sentence, on the plain and on the fast way; returns how many have a better variant."""
    tolerance, undecided = TOLERANCE[next(teachers[0].parameters()).dtype], 0
    options = {"score": score, "perturbations_per_eval": 29}
    ways = [find_surrogates(teachers, batch, Pairs(), accelerate=way, **options) for way in (False, True)]
    for row, (tokens, n) in enumerate(zip(batch.tokens.tolist(), batch.lengths.tolist(), strict=True)):
        variants = [sentences([variant]) for variant in hidden_pairs(tokens[:n])]
        truth = brute_force(teachers, variants, int(batch.label[row]), score)
        undecided += max(check(result, row, *truth, tolerance) for result in ways)
    assert undecided <= (len(batch) // 5 if tolerance > 1e-6 else 0)
    assert torch.equal(ways[0].ids, batch.ids)
    return int((ways[0].index > 0).sum())


RELEASED = {"hops": 3, "padding_attends": True, "fixed_length": 11, "hop_reduction": "softmax_of_sum"}
KINDS = [[{"hops": 1}], [{"hops": 3}], [RELEASED], [{"hops": 2}, {"hop_reduction": "last"}]]


CASES = [*product(([{"hops": 4}], [{"hops": 4}] * 3), scorer.SCORES, TOLERANCE)]
CASES += [*product(KINDS, ["logit"], [torch.float64])]


@pytest.mark.parametrize(("kinds", "score", "dtype"), CASES)
def test_equals_brute_force(kinds, score, dtype):
    teachers = [text_model(seed, **kind, dtype=dtype) for seed, kind in enumerate(kinds)]
    assert check_sentences(teachers, random_sentences(10, seed=len(kinds)), score) > 3


@pytest.mark.parametrize(("dtype", "n"), [(torch.float32, 12), (torch.float64, 24)])
def test_equals_brute_force_on_trec(data_mirror, dtype, n):  # noqa: ARG001 (the mirror must be known by then)
    task, rows = ssan.load_task("trec", vectors=None), []
    for k, split in enumerate((task.train, task.valid, task.test)):  # the latter two have unknown words
        part = split.select(torch.randperm(len(split), generator=helpers.generator(k))[: n // 3])
        rows += [(part.tokens[i, : int(part.lengths[i])].tolist(), int(part.label[i])) for i in range(len(part))]
    batch = sentences(*map(list, zip(*rows, strict=True)))
    assert (batch.tokens == 0).any(), "the sample should hold unknown words"
    model = text_model(3, vocabulary=len(task.words), classes=6, hops=2, dtype=dtype)
    assert check_sentences([model], batch) > n // 2


@pytest.mark.parametrize("fill", ["mean", "zero"])
@pytest.mark.parametrize("kind", [ImageGrid, FeatureGrid])
@pytest.mark.parametrize("sampler", [HideWindows(1), HideWindows((1, 2)), RandomMasks(11, seed=3), Pairs()], ids=str)
@pytest.mark.parametrize(("size", "n_teachers"), [(4, 1), (None, 2)])
@torch.no_grad()
def test_images_and_features_equal_brute_force(kind, fill, sampler, size, n_teachers):
    grid, batch = (2, 3), random_images(5)
    regions, teachers = kind(grid, fill), [PatchModel(grid, seed) for seed in range(n_teachers)]
    if kind is FeatureGrid:
        batch = batch.replace(features=teachers[0].features_of(batch.image))
    result = find_surrogates(teachers, batch, sampler, regions=regions, perturbations_per_eval=size)
    for row in range(5):
        example = batch.select([row])
        masks = [sampler.masks(6, index, int(example.ids), grid=grid) for index in range(sampler.count(6, grid))]
        variants = [regions.hide(example, mask) for mask in masks]
        assert not check(result, row, *brute_force(teachers, variants, int(example.label)))
    assert (result.index > 0).any()


def assert_same(a, b, atol=1e-10):
    assert torch.equal(a.ids, b.ids)
    assert torch.equal(a.index, b.index)
    for name in ("attention", "score", "clean_score", "clean_attention"):
        x, y = getattr(a, name), getattr(b, name)
        beyond, width = y[..., x.shape[-1] :] if x.dim() == 2 else y[:0], x.shape[-1]
        torch.testing.assert_close(x, y[..., :width], atol=atol, rtol=0)
        assert (beyond == 0).all()


@settings(max_examples=30)
@given(st.data())
def test_neither_chunks_nor_order_nor_companions_matter(data):
    model, batch = text_model(5, dtype=torch.float64, hops=2), random_sentences(10, seed=13)
    sampler = data.draw(st.sampled_from([Pairs(), RandomMasks(9, seed=2), KeepWindows(2), Rise(7, cells=3)]))
    selector = data.draw(st.sampled_from(list(ssan.SELECTORS)))
    expected = find_surrogates(model, batch, sampler, selector=selector, accelerate=False)
    rows = data.draw(st.lists(st.integers(0, 9), min_size=1, max_size=10, unique=True))
    options = {"perturbations_per_eval": data.draw(st.integers(1, 250)), "accelerate": data.draw(st.booleans())}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(find, "GROUP", data.draw(st.sampled_from([2, 5, 256])))
        result = find_surrogates(model, batch.select(rows), sampler, selector=selector, **options)
    assert_same(result, expected.select(torch.tensor(rows)))


def test_chunks_are_as_large_as_asked_or_as_fit_and_each_variant_is_run_once(capsys, monkeypatch):
    model, batch = helpers.additive(), random_sentences(12, seed=4, longest=12)
    find_surrogates(model, batch, Pairs(), perturbations_per_eval=10)
    assert capsys.readouterr().err == ""
    assert max(model.sizes) == 10
    assert sum(model.sizes) == int(Pairs().count(batch.lengths).sum())
    find_surrogates(helpers.additive(), sentences([[2, 3, 4], [5]]), Pairs(), show_progress=True)
    assert "5.00/5.00" in capsys.readouterr().err
    for numbers, size in ((1, 1), (64 * 12 * 3, 3)):
        monkeypatch.setattr(scorer, "CHUNK_NUMBERS", {"cpu": numbers, "cuda": 0})
        model.sizes.clear()
        find_surrogates(model, sentences([list(range(2, 14))]), Pairs(), device="cpu")
        assert max(model.sizes[1:]) == size


@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize("size", [1, 7, 1000])
def test_variants_equal_through_unknown_words_tie_whatever_the_rounding(dtype, size):
    """Even where a model's arithmetic rounds the equal inputs differently from batch to batch."""
    unknown, model = sentences([[0, 0, 0], [0, 0], [0] * 8, [0] * 9]), text_model(2, scale=6.0, dtype=dtype)
    for autocast in (None, torch.bfloat16):
        result = find_surrogates(model, unknown, Pairs(), perturbations_per_eval=size, autocast=autocast)
        assert result.index.tolist() == [0, 0, 0, 0]
        assert torch.equal(result.attention, result.clean_attention)
    g, later = helpers.generator(0), 0
    sizes = [((n,), {"generator": g}) for n in range(3, 10)]
    rows = [(torch.randint(2, 20, n, **more) * (torch.rand(n, **more) < 0.5)).tolist() for n, more in sizes]
    result = find_surrogates(text_model(1, dtype=dtype), sentences(rows), Pairs(), perturbations_per_eval=size)
    for row, index in zip(rows, result.index.tolist(), strict=True):
        variants = hidden_pairs(row)
        assert variants.index(variants[index]) == index
        later += variants.count(variants[index]) > 1
    assert later > 0, "no winner had an equal: this tests nothing"


@settings(max_examples=30)
@given(seed=st.integers(0, 999), size=st.integers(1, 40), steps=st.sampled_from([4, 64]), data=st.data())
def test_of_equal_variants_the_lowest_index_wins_whatever_the_chunks(seed, size, steps, data):
    """A staircase: whether a step is taken depends on which were taken before. Sums are exact, and many are equal."""
    weight = -torch.randint(0, steps, (20, 1), generator=helpers.generator(seed)).double() / steps
    weight[0] = 0
    model, batch = Additive(weight, torch.zeros(20, dtype=torch.float64)), random_sentences(6, seed, classes=1)
    tolerance = data.draw(st.sampled_from([0.0, 0.01, 0.3]))
    result = find_surrogates(model, batch, Pairs(), tie_tolerance=tolerance, perturbations_per_eval=size)
    for row in range(6):
        variants = hidden_pairs(batch.tokens[row, : int(batch.lengths[row])].tolist())
        scores = [sum(float(weight[w, 0]) for w in variant) for variant in variants]
        best, _ = best_of(scores, tolerance)
        assert (int(result.index[row]), float(result.score[row])) == (best, scores[best])


def test_the_grid_is_said_once_by_the_regions():
    """The same sampler slides in two dimensions over a grid, and along a line of tokens."""
    kept, spy = [], ssan.Best()
    spy.update = lambda chunk, _: kept.append(chunk.kept)
    images = random_images(3, size=(8, 8))
    find_surrogates(PatchModel((4, 4)), images, HideWindows(2), regions=ImageGrid((4, 4)), selector=spy)
    for k, mask in enumerate((~torch.cat(kept)[:9]).unflatten(1, (4, 4))):
        top, left = divmod(k, 3)
        assert mask.sum() == mask[top : top + 2, left : left + 2].sum() == 4
    with pytest.raises(ValueError, match=r"HideWindows\(window=\(2, 3\), stride=1\) needs regions on a grid"):
        find_surrogates(helpers.additive(), random_sentences(4), HideWindows((2, 3)))


G = helpers.generator(4)
PIXELS = torch.randint(0, 256, (7, 3, 16, 16), generator=G, dtype=torch.uint8)
IMAGES = ImageSplit(torch.arange(7) + 50, torch.arange(7) % 3, PIXELS, torch.tensor([0, 6, 2, 1, 0, 5, 4]))
QUESTIONS = {"tokens": torch.randint(2, 9, (7, 5), generator=G), "lengths": torch.arange(7) % 5 + 1}
SPLITS = {
    "sentences": (random_sentences(7), None),
    "images": (IMAGES, ImageGrid((4, 4))),
    "questions": (dataclasses.replace(IMAGES, **QUESTIONS), ImageGrid((4, 4))),
    "features": (dataclasses.replace(IMAGES, features=torch.rand(7, 16, 4, generator=G)), FeatureGrid((4, 4))),
}


@pytest.mark.parametrize(("split", "regions"), SPLITS.values(), ids=SPLITS)
def test_every_kind_of_split_is_searched_where_auto_says_and_the_result_is_on_the_cpu(monkeypatch, split, regions):
    monkeypatch.setattr(find, "GROUP", 4)
    model = text_model(1) if regions is None else PatchModel((4, 4), channels=3).float()
    model.regions = regions
    result = find_surrogates(model, split, ssan.Singles())
    assert next(model.parameters()).device.type == pick_device("auto").type
    assert all(value.device.type == "cpu" for value in vars(result).values())
    assert_same(result, find_surrogates(model, split.select(torch.arange(7)), ssan.Singles(), device="cpu"), atol=1e-5)
    assert torch.equal(result.ids, split.ids)
    assert (result.index > 0).any()


def test_models_are_evaluated_and_given_back_as_they_were_and_results_can_be_trained_on():
    model, batch = text_model(0, dropout=0.9).train(), random_sentences(6)
    model.lstm.eval()
    state = torch.get_rng_state()
    result = find_surrogates(model, batch, Pairs())
    assert torch.equal(torch.get_rng_state(), state)
    assert (model.training, model.lstm.training, model.dropout.training) == (True, False, True)
    assert_same(find_surrogates(model.eval(), batch, Pairs()), result, atol=0)
    (torch.ones_like(result.attention, requires_grad=True) * result.attention).sum().backward()


def test_bad_options_are_refused_before_any_work():
    for change, message in (
        ({"score": "loss"}, "unknown score 'loss': expected one of logit, probability, log_odds"),
        ({"selector": "worst"}, "unknown selector 'worst'"),
        ({"perturbations_per_eval": 0}, "perturbations_per_eval must be at least 1, got 0"),
        ({"tie_tolerance": -1e-9}, "tie_tolerance must be a finite number of at least 0, got -1e-09"),
        ({"tie_tolerance": float("nan")}, "tie_tolerance must be a finite number"),
        ({"model_or_teachers": []}, "at least one model"),
        ({"examples": random_sentences(3).select([])}, "find_surrogates got no examples"),
    ):
        model = helpers.additive()
        with pytest.raises(ValueError, match=message):
            find_surrogates(
                **{"model_or_teachers": model, "examples": random_sentences(3), "sampler": Pairs()} | change
            )
        assert model.sizes == []


def test_outputs_and_labels_outside_the_contract_are_refused_and_the_mode_of_the_model_survives():
    honest, batch = text_model(), random_sentences(20)
    halved = Returns(lambda batch: Output(honest(batch).logits, honest(batch).attention / 2))
    foreign, third = Returns(lambda batch: tuple(honest(batch))), torch.tensor([2])
    for model, label, error, message in (
        (halved, 0, ValueError, "must sum to 1"),
        (foreign, 0, TypeError, "returned tuple"),
        (honest, 3, ValueError, "labels run from 0 to 3, but the model has 3 classes"),
        (honest, -1, ValueError, "labels run from -1 to 2"),
    ):
        with pytest.raises(error, match=message):
            find_surrogates(model.train(), batch.replace(label=batch.label.index_fill(0, third, label)), Pairs())
        assert model.training


@pytest.mark.parametrize("size", [1, 1000])
@pytest.mark.parametrize("value", ["nan", "inf"])
def test_what_is_not_finite_on_masked_variants_alone(size, value):
    """The clean input is fine; hiding makes a word no sentence has, on which the model breaks."""
    model, batch = helpers.additive(), sentences([[2, 3], [4, 5, 6], [7]], ids=[70, 71, 72])
    with torch.no_grad():
        model.weight[0] = float(value)
    with pytest.raises(ValueError, match=f"score of variant 1 of example 70 is {value}: .* on masked inputs"):
        find_surrogates(model, batch, Pairs(), perturbations_per_eval=size)

    def forward(batch):  # scores are finite, and highest where words are hidden: the surrogates would not be
        hidden = ((batch.tokens == 0) & helpers.exists(batch)).sum(1).double()
        attention = helpers.exists(batch) / batch.lengths[:, None].double()
        return Output(torch.stack([hidden, -hidden], 1), attention.where(hidden[:, None] == 0, float(value)))

    with pytest.raises(ValueError, match=r"Surrogates.attention of examples \[70, 71\] holds NaN, infinity"):
        find_surrogates(Returns(forward), batch, Pairs(), perturbations_per_eval=size)


@pytest.mark.parametrize("kind", scorer.SCORES)
@settings(max_examples=20)
@given(logits=st.lists(st.floats(-30, 30), min_size=2, max_size=6), pick=st.integers(0, 5))
def test_scores_against_plain_python(kind, logits, pick):
    label = pick % len(logits)
    row = torch.tensor(logits, dtype=torch.float64)
    score = scorer.SCORES[kind](row[None], torch.tensor([label]))
    assert float(score) == pytest.approx(plain_score(row, label, kind), rel=1e-9, abs=1e-12)
    sure = torch.tensor([[300.0, 0.0]])  # where the probability has no digits left, the odds have
    assert float(scorer.SCORES[kind](sure, torch.tensor([0]))) == (1 if kind == "probability" else 300)


@pytest.mark.parametrize("kind", ["text", "features"])
def test_in_bfloat16_the_same_variants_win_where_the_race_is_not_close(kind):
    if kind == "text":
        model, batch = text_model(1, hidden=16, hops=2, scale=4.0), random_sentences(40, seed=2)
    else:
        model, batch = PatchModel(seed=1).float(), random_images(40, seed=3)
        batch = batch.replace(image=None, features=model.features_of(batch.image.float()).detach())
        model.regions = FeatureGrid((2, 3))
    full = find_surrogates(model, batch, Pairs())
    clear = full.index == find_surrogates(model, batch, Pairs(), tie_tolerance=0.1).index
    half = find_surrogates(model, batch, Pairs(), autocast=torch.bfloat16)
    assert clear.sum() > 15
    assert len(full.index[clear].unique()) > 5
    assert torch.equal(half.index[clear], full.index[clear])
    torch.testing.assert_close(half.score, full.score, rtol=0.03, atol=0.1)
    torch.testing.assert_close(half.attention.sum(1), torch.ones(40))
    assert not torch.equal(half.score, full.score)
