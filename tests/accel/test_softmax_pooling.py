"""Scores as ratios of sums against a forward pass per variant."""

import pytest
import torch
from torch import nn

from ssan.accel.softmax_pooling import PoolingScorer, Table
from ssan.models.attention import Output
from ssan.models.pooling import PoolingTerms
from ssan.regions import FeatureGrid, ImageGrid
from ssan.samplers import HideWindows, KeepK, KeepWindows, Pairs, RandomMasks, Rise, Singles
from ssan.search import fast_scorer, find_surrogates
from tests.helpers import PatchModel, generator, random_images

GRID = (2, 3)
SAMPLERS = [
    Pairs(),
    Singles(),
    HideWindows((1, 2), grid=GRID),
    KeepWindows((1, 2), grid=GRID),
    RandomMasks(30, seed=1),
    KeepK(20, k=2, seed=2),
    Rise(20, cells=2, seed=3, grid=GRID),
]


class Linear(PatchModel):
    """One hop, linear classes: the values are what each cell adds to the classes."""

    def pooling_terms(self, encoded):
        scores = encoded.features @ self.query + encoded.context
        return PoolingTerms(scores[:, None], (encoded.features @ self.classes)[:, None], lambda pooled, _: pooled[:, 0])


class Heads(PatchModel):
    """Three heads side by side, the context in the scores and behind a hidden layer with a ReLU."""

    def __init__(self, seed=0):
        super().__init__(GRID, seed)
        g = generator(seed + 100)
        self.queries = nn.Parameter(torch.randn(4, 3, generator=g, dtype=torch.float64) * 3)
        self.hidden = nn.Parameter(torch.randn(13, 8, generator=g, dtype=torch.float64))
        self.out = nn.Parameter(torch.randn(8, 3, generator=g, dtype=torch.float64))

    def _scores(self, encoded):
        return torch.tanh(encoded.features @ self.queries + encoded.context[:, None]).transpose(1, 2) * 3

    def _classes(self, pooled, context):
        return torch.relu(torch.cat([pooled.flatten(1), context], 1) @ self.hidden) @ self.out

    def attend(self, encoded):
        attention = torch.softmax(self._scores(encoded), -1)
        return Output(self._classes(attention @ encoded.features, encoded.context), attention)

    def pooling_terms(self, encoded):
        values = encoded.features[:, None].expand(-1, 3, -1, -1)
        return PoolingTerms(
            self._scores(encoded), values, lambda pooled, rows: self._classes(pooled, encoded.context[rows])
        )


def assert_same(fast, plain, atol=1e-12):
    assert torch.equal(fast.index, plain.index)
    for name in ("score", "clean_score", "attention", "clean_attention"):
        torch.testing.assert_close(getattr(fast, name), getattr(plain, name), rtol=atol, atol=atol)


def both(models, batch, sampler, **options):
    fast = find_surrogates(models, batch, sampler, **options)
    return fast, find_surrogates(models, batch, sampler, accelerate=False, **options)


@pytest.mark.parametrize("fill", ["zero", "mean"])
@pytest.mark.parametrize("sampler", SAMPLERS, ids=lambda sampler: type(sampler).__name__)
@pytest.mark.parametrize("model", [Linear(GRID, seed=1), Heads(seed=2)], ids=["linear", "heads"])
def test_same_surrogates_as_the_plain_path(model, sampler, fill):
    fast, plain = both(model, random_images(9, seed=4), sampler, regions=FeatureGrid(GRID, fill))
    assert_same(fast, plain)
    assert (fast.index > 0).any()


@pytest.mark.parametrize("selector", ["importance", "ridge"])
@pytest.mark.parametrize("score", ["probability", "log_odds"])
def test_selectors_and_scores_with_several_teachers(selector, score):
    teachers = [Linear(GRID, seed=1), Heads(seed=2), Heads(seed=3)]
    options = {"regions": FeatureGrid(GRID), "selector": selector, "score": score}
    assert_same(*both(teachers, random_images(9, seed=5), RandomMasks(40, seed=1), **options), 1e-9)


def test_single_precision():
    model = Heads(seed=4).float()
    batch = random_images(9, seed=6)
    fast, plain = both(model, batch.replace(image=batch.image.float()), Pairs(), regions=FeatureGrid(GRID))
    assert fast.score.dtype == torch.float32
    assert_same(fast, plain, 1e-5)


@pytest.mark.parametrize("size", [1, 4, 15, 16, 1000])
def test_same_whatever_the_chunk(size):
    model, batch, regions = Heads(seed=5), random_images(7, seed=7), FeatureGrid(GRID)
    whole = find_surrogates(model, batch, Pairs(), regions=regions)
    assert_same(find_surrogates(model, batch, Pairs(), regions=regions, perturbations_per_eval=size), whole)


def test_images_are_encoded_once_and_only_clean_inputs_attended_to():
    model = Linear(GRID, seed=6)
    seen, attend = [], model.attend
    model.attend = lambda encoded: (seen.append(len(encoded.features)), attend(encoded))[1]
    find_surrogates(model, random_images(5, seed=8), Pairs(), regions=FeatureGrid(GRID))
    assert model.encoded == 5
    assert sum(seen) == 5


def test_where_only_cells_far_below_the_largest_are_kept(monkeypatch):
    # exp(-200) is nothing in float32, yet a softmax over such cells alone is as good as any.
    model = Linear(GRID, seed=7).float()
    with torch.no_grad():
        model.query.mul_(200)
    batch = random_images(9, seed=9)
    batch = batch.replace(image=batch.image.float())
    teacher, regions = [model.eval()], FeatureGrid(GRID, "zero")
    with torch.inference_mode():
        scorer = PoolingScorer(teacher, batch, KeepWindows((1, 1), grid=GRID), regions, "logit")
        rows, indices = next(iter(scorer.plan()))
        fast, plain = scorer(rows, indices), super(PoolingScorer, scorer).__call__(rows, indices)
        everyone = torch.arange(len(rows)).flip(0)
        torch.testing.assert_close(fast.score, plain.score)
        torch.testing.assert_close(fast.attention(everyone), plain.attention(everyone))
        # The test is about something: by sums of terms alone some of these scores are lost.
        monkeypatch.setattr("ssan.accel.softmax_pooling.SMALLEST_SUM", -1)
        with pytest.raises(ValueError, match="NaN or infinity on masked inputs"):
            scorer(rows, indices)


def test_a_sum_of_terms_by_hand():
    # Two cells with weights 1 and 3, values 10 and 2, and a fill of weight 3 and value 0.
    scores = torch.tensor([[[0.0, 3.0, 3.0]]]).where(torch.tensor([True, False, False]), torch.tensor(3.0).log())
    table = Table(PoolingTerms(scores, torch.tensor([[[[10.0], [2.0], [0.0]]]]), lambda pooled, _: pooled[:, 0]))
    cells = torch.tensor([[1.0, 1, 0], [1, 0, 1], [0, 1, 1], [0, 0, 2]])
    total, pooled = table.pooled(torch.zeros(4, dtype=torch.long), cells)
    torch.testing.assert_close(3 * total, torch.tensor([[4.0], [4], [6], [6]]))
    torch.testing.assert_close(pooled[:, 0, 0], torch.tensor([16 / 4, 10 / 4, 6 / 6, 0]))
    kept = torch.tensor([[True, True], [True, False]])
    torch.testing.assert_close(
        table.attention(torch.zeros(2, dtype=torch.long), kept, total[:2])[:, 0],
        torch.tensor([[0.25, 0.75], [0.25, 0.75]]),
    )


def test_when_it_is_used():
    linear, silent = Linear(GRID), PatchModel(GRID)
    assert fast_scorer([linear, Heads()], FeatureGrid(GRID)) is PoolingScorer
    assert fast_scorer([linear, silent], FeatureGrid(GRID)) is None
    assert fast_scorer([linear], ImageGrid(GRID)) is None
