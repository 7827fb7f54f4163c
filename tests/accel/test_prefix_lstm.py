"""The shared-prefix search against the plain path, and its pieces against brute force."""

import pytest
import torch

from ssan.accel.prefix_lstm import CHUNK_WORDS, PrefixScorer
from ssan.models.text import SelfAttentiveLSTM
from ssan.regions import ImageGrid, TokenRegions
from ssan.samplers import HideWindows, Pairs, RandomMasks, Singles
from ssan.scorer import Scorer
from ssan.search import fast_scorer, find_surrogates
from tests.helpers import additive, random_sentences, sentences, text_model

KINDS = {
    "one hop": {},
    "hops": {"hops": 3},
    "mlp, folded": {"hops": 2, "mlp_dim": 8, "mlp_relu": False},
    "mlp with relu": {"hops": 2, "mlp_dim": 8},
    "biases": {"hops": 2, "attention_bias": True},
    "softmax of the sum": {"hops": 3, "hop_reduction": "softmax_of_sum"},
    "fixed length": {"fixed_length": 12},
    "reads padding": {"fixed_length": 12, "padding_attends": True, "attention_bias": True, "hops": 2},
    "many classes": {"hops": 8, "hidden": 2},
}


def both(models, batch, sampler, **options):
    fast = find_surrogates(models, batch, sampler, **options)
    plain = find_surrogates(models, batch, sampler, accelerate=False, **options)
    return fast, plain


def assert_same(fast, plain, atol):
    assert torch.equal(fast.ids, plain.ids)
    assert torch.equal(fast.index, plain.index)
    for name in ("score", "clean_score", "attention", "clean_attention"):
        ours, theirs = getattr(fast, name), getattr(plain, name)
        assert ours.dtype == theirs.dtype
        torch.testing.assert_close(ours, theirs, rtol=atol, atol=atol, msg=lambda text, name=name: f"{name}: {text}")


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize("score", ["logit", "probability", "log_odds"])
@pytest.mark.parametrize("config", KINDS.values(), ids=KINDS)
def test_same_surrogates_as_the_plain_path(config, score, dtype):
    batch = random_sentences(40, seed=3, classes=5)
    model = text_model(1, classes=5, dtype=dtype, **config)
    fast, plain = both(model, batch, Pairs(), score=score)
    assert_same(fast, plain, 1e-5 if dtype is torch.float32 else 1e-12)
    assert (fast.index > 0).any()


@pytest.mark.parametrize("selector", ["best", "importance", "ridge"])
@pytest.mark.parametrize(
    "sampler", [Pairs(), Singles(), RandomMasks(20, seed=4), HideWindows(2)], ids=lambda s: type(s).__name__
)
def test_any_sampler_and_selector(sampler, selector):
    batch = random_sentences(30, seed=5)
    model = text_model(2, hops=2, dtype=torch.float64)
    assert_same(*both(model, batch, sampler, selector=selector), 1e-10)


def test_several_teachers():
    teachers = [text_model(seed, hops=1 + seed, dtype=torch.float64) for seed in range(3)]
    assert_same(*both(teachers, random_sentences(30, seed=6), Pairs(), score="probability"), 1e-12)


def test_every_score_of_every_variant():
    batch, teachers = random_sentences(12, seed=7), [text_model(3, hops=2, dtype=torch.float64).eval()]
    found = {}
    for kind in (Scorer, PrefixScorer):
        scorer = kind(teachers, batch, Pairs(), TokenRegions(), "logit")
        scores = {}
        with torch.inference_mode():
            for rows, indices in scorer.plan(7):
                chunk = scorer(rows, indices)
                maps = chunk.attention(torch.arange(len(rows)))
                scores |= {
                    (row, index): torch.cat([score[None], torch.nn.functional.pad(one, (0, 9 - len(one)))])
                    for row, index, score, one in zip(rows.tolist(), indices.tolist(), chunk.score, maps, strict=True)
                }
        found[kind] = scores
    assert found[Scorer].keys() == found[PrefixScorer].keys()
    assert len(found[Scorer]) == int((batch.lengths * (batch.lengths - 1) // 2).sum())
    for key, expected in found[Scorer].items():
        torch.testing.assert_close(found[PrefixScorer][key], expected)


@pytest.mark.parametrize("size", [1, 5, 64])
def test_same_whatever_the_chunk(size):
    batch, model = random_sentences(8, seed=8), text_model(4, hops=2, dtype=torch.float64)
    whole = find_surrogates(model, batch, Pairs())
    assert_same(find_surrogates(model, batch, Pairs(), perturbations_per_eval=size), whole, 1e-12)


def test_one_word_sentences_have_the_clean_variant_only():
    batch = sentences([[5], [6], [0]])
    fast, plain = both(text_model(5, dtype=torch.float64), batch, Pairs())
    assert_same(fast, plain, 1e-12)
    assert fast.index.tolist() == [0, 0, 0]
    assert torch.equal(fast.attention, torch.ones(3, 1, dtype=torch.float64))


def test_ties_go_to_the_lowest_index_where_words_are_unknown_or_equal():
    # Hiding an unknown word changes nothing: pairs of unknown words tie with the clean input, others with one another.
    batch = sentences([[0, 0, 0, 0], [0, 7, 0, 7], [7, 7, 7, 0]])
    for dtype in (torch.float32, torch.float64):
        fast, plain = both(text_model(6, dtype=dtype), batch, Pairs())
        assert torch.equal(fast.index, plain.index)
        assert fast.index[0] == 0


def test_weights_too_large_for_exponentials():
    model = text_model(7, hops=2, dtype=torch.float64)
    with torch.no_grad():
        model.attention_in.weight.mul_(100)
    batch = random_sentences(20, seed=9)
    assert_same(*both(model, batch, Pairs()), 1e-10)


@pytest.mark.parametrize("bound", [0.0, 1e9], ids=["tanh", "exponentials"])
def test_both_ways_to_the_tanh_agree(bound, monkeypatch):
    model, batch = text_model(8, dtype=torch.float64), random_sentences(20, seed=10)
    usual = find_surrogates(model, batch, Pairs())
    monkeypatch.setattr("ssan.accel.prefix_lstm.EXPONENT_BOUND", bound)
    assert_same(find_surrogates(model, batch, Pairs()), usual, 1e-11)


def test_long_sentences_in_bounded_chunks():
    batch = sentences([torch.randint(2, 20, (60,), generator=torch.Generator().manual_seed(0)).tolist()])
    model = text_model(9)
    scorer = PrefixScorer([model], batch, Pairs(), TokenRegions(), "logit")
    chunks = list(scorer.plan())
    assert sum(len(rows) for rows, _ in chunks) == 1770
    assert max(len(rows) for rows, _ in chunks) * 60 <= CHUNK_WORDS
    assert_same(*both(model, batch, Pairs()), 1e-5)


def test_the_model_and_the_random_state_are_left_alone():
    model, batch = text_model(10, dropout=0.5), random_sentences(5)
    model.train()
    before, state = {k: v.clone() for k, v in model.state_dict().items()}, torch.get_rng_state()
    find_surrogates(model, batch, Pairs())
    assert model.training
    assert torch.equal(state, torch.get_rng_state())
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())


def test_when_it_is_used():
    class Other(SelfAttentiveLSTM):
        pass

    model = text_model(11)
    other = text_model(11)
    other.__class__ = Other
    assert fast_scorer([model, text_model(12, hops=3)], TokenRegions()) is PrefixScorer
    assert fast_scorer([other], TokenRegions()) is None
    assert fast_scorer([model, other], TokenRegions()) is None
    assert fast_scorer([additive()], TokenRegions()) is None
    assert fast_scorer([model], ImageGrid()) is None
    # Padded to whatever is longest in the batch, the model's own output depends on its company.
    assert fast_scorer([text_model(13, padding_attends=True)], TokenRegions()) is None
    assert fast_scorer([model, text_model(14, fixed_length=12)], TokenRegions()) is None


def test_errors_are_those_of_the_plain_path():
    model, batch = text_model(15), random_sentences(10)
    with pytest.raises(ValueError, match="labels run from"):
        find_surrogates(model, batch.replace(label=batch.label + 9), Pairs())
    with torch.no_grad():
        model.classifier[0].weight.fill_(torch.nan)
    with pytest.raises(ValueError, match="logits hold NaN"):
        find_surrogates(model, batch, Pairs())
    with pytest.raises(ValueError, match="fixed to 3"):
        find_surrogates(text_model(16, fixed_length=3), batch, Pairs())
