import numpy as np
import pytest
import scipy.stats
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ssan.metrics import rank_correlation, vqa_hat_correlation


def spearman(x, y) -> float:
    """scipy's value; NaN, without its warning, where there is no order."""
    x, y = np.asarray(x), np.asarray(y)
    if len(x) < 2 or np.ptp(x) == 0 or np.ptp(y) == 0:
        return np.nan
    return scipy.stats.spearmanr(x, y).statistic


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 10**6), n=st.integers(1, 30), levels=st.sampled_from([2, 4, 1000]))
def test_equals_scipy_with_ties_and_missing_regions(seed, n, levels):
    rng = np.random.default_rng(seed)
    a, b = (torch.from_numpy(rng.integers(0, levels, (6, n)) / levels) for _ in range(2))
    exists = torch.from_numpy(rng.random((6, n)) < 0.7)
    found, every = rank_correlation(a, b, exists), rank_correlation(a, b)
    for i in range(6):
        kept = exists[i]
        assert found[i].item() == pytest.approx(spearman(a[i][kept], b[i][kept]), abs=1e-12, nan_ok=True)
        assert every[i].item() == pytest.approx(spearman(a[i], b[i]), abs=1e-12, nan_ok=True)


def test_by_hand():
    a = torch.tensor([[1.0, 2, 3, 4], [1, 2, 3, 4], [1, 2, 2, 3], [-5, 0, 1, 9]])
    b = torch.tensor([[10.0, 20, 30, 99], [4, 3, 2, 1], [1, 2, 3, 4], [1, 3, 2, 4]])
    # Third: ranks 1, 2.5, 2.5, 4 and 1, 2, 3, 4: covariance 4.5, variances 4.5 and 5.
    assert rank_correlation(a, b).tolist() == pytest.approx([1, -1, 4.5 / (4.5 * 5) ** 0.5, 0.8])


def test_blind_to_increasing_functions():
    a, b = (torch.randn(8, 20, generator=torch.Generator().manual_seed(seed)).double() for seed in (0, 1))
    assert torch.equal(rank_correlation(a, b), rank_correlation(torch.exp(a), b**3))


def test_constant_maps_are_nan():
    a = torch.tensor([[1 / 3] * 3, [0.2, 0.3, 0.5], [0.1, 0.1, 0.8]])
    b = torch.tensor([[0.1, 0.2, 0.7]] * 2 + [[0.3, 0.4, 0.3]])
    exists = torch.tensor([[True] * 3, [True] * 3, [True, True, False]])
    found = rank_correlation(a, b, exists)
    assert found.isnan().tolist() == [True, False, True]
    assert found.nanmean().item() == pytest.approx(1)


def test_what_does_not_exist_is_never_read():
    a, b = torch.rand(2, 4, 6, generator=torch.Generator().manual_seed(0))
    exists = torch.arange(6) < torch.tensor([2, 3, 4, 6])[:, None]
    expected = rank_correlation(a.masked_fill(~exists, 0), b.masked_fill(~exists, 5), exists)
    assert not expected.isnan().any()
    assert torch.equal(rank_correlation(a.masked_fill(~exists, torch.nan), b, exists), expected)


def test_single_precision_keeps_ties_and_negative_zero():
    a = torch.tensor([[0.0, -0.0, 1.0, 2.0]])
    assert rank_correlation(a, torch.tensor([[5.0, 5.0, 6.0, 7.0]])).item() == pytest.approx(1)


def test_empty_batch():
    assert rank_correlation(torch.zeros(0, 4), torch.zeros(0, 4)).shape == (0,)


@pytest.mark.parametrize(
    ("a", "b", "exists", "message"),
    [
        (torch.ones(2, 3), torch.ones(2, 4), None, r"a \(2, 3\), b \(2, 4\)"),
        (torch.ones(3), torch.ones(3), None, r"one shape \(B, R\)"),
        (torch.ones(1, 3), torch.ones(1, 3), torch.ones(1, 2, dtype=torch.bool), "exists must be bool"),
        (torch.tensor([[1.0, torch.nan]]), torch.ones(1, 2), None, "a holds NaN"),
        (torch.ones(1, 2), torch.tensor([[1.0, torch.inf]]), None, "b holds NaN"),
    ],
)
def test_bad_input(a, b, exists, message):
    with pytest.raises(ValueError, match=message):
        rank_correlation(a, b, exists)


def test_hat_recipe_step_by_step():
    """448x448 human maps against a 14x14 model map, one pair at a time in numpy."""
    rng = np.random.default_rng(0)
    human = rng.random((3, 2, 448, 448))
    ours = rng.random((3, 196))
    human[1, 0] = 0.7  # constant: dropped
    human[2, 1, :, :200] = 0  # many ties
    found = vqa_hat_correlation(torch.from_numpy(ours), torch.from_numpy(human))
    pairs = []
    for i in range(3):
        for k in range(2):
            pooled = human[i, k].reshape(14, 32, 14, 32).mean((1, 3)).flatten()
            if (i, k) == (1, 0):
                assert found[i, k].isnan()
                continue
            pairs.append(spearman(ours[i], pooled / pooled.sum()))
            assert found[i, k].item() == pytest.approx(pairs[-1], abs=1e-12)
    assert found.nanmean().item() == pytest.approx(np.mean(pairs))


def test_hat_accepts_the_model_map_as_a_grid():
    ours = torch.rand(2, 14, 14, generator=torch.Generator().manual_seed(0))
    human = torch.rand(2, 1, 448, 448, generator=torch.Generator().manual_seed(1))
    assert torch.equal(vqa_hat_correlation(ours, human), vqa_hat_correlation(ours.flatten(1), human))


def test_hat_resizes_human_maps():
    """A map enlarged by repetition is the same map: pooled back it orders the cells alike."""
    human = torch.rand(2, 1, 14, 14, generator=torch.Generator().manual_seed(1))
    ours = human[:, 0].flatten(1)
    large = human.repeat_interleave(64, 2).repeat_interleave(64, 3)
    assert vqa_hat_correlation(ours, large).min() > 0.999
    assert vqa_hat_correlation(ours, large.transpose(2, 3)).max() < 0.5


def test_hat_uses_every_pixel_of_a_large_human_map():
    """Shrinking by 4 must average, not sample: the pooled map of pixel noise is that of the full picture."""
    human = torch.rand(1, 1, 1792, 1792, generator=torch.Generator().manual_seed(0))
    ours = torch.nn.functional.avg_pool2d(human[:, 0], 128)
    assert vqa_hat_correlation(ours, human).item() > 0.9


def test_hat_keeps_ties_of_flat_areas_through_resizing():
    """In a flat map with one bright patch, resizing must not invent an order among the equal cells."""
    human = torch.full((1, 1, 480, 640), 0.37, dtype=torch.float64)
    human[..., :60, :60] = 0.9
    ours = torch.rand(1, 196, generator=torch.Generator().manual_seed(0))
    pooled = torch.nn.functional.avg_pool2d(
        torch.nn.functional.interpolate(human, (448, 448), mode="bilinear", antialias=True), 32
    ).flatten()
    assert len(pooled.unique()) > len((pooled * 1e9).round().unique())  # there are rounding errors to be taken out
    expected = spearman(ours[0], (pooled * 1e9).round())
    assert vqa_hat_correlation(ours, human).item() == pytest.approx(expected, abs=1e-12)


def test_hat_constant_maps_of_any_size_are_dropped():
    ours = torch.rand(1, 8, 8, generator=torch.Generator().manual_seed(0))
    human = torch.rand(1, 3, 60, 80, generator=torch.Generator().manual_seed(0))
    human[0, 1] = 1 / 3
    human[0, 2] = 0
    assert vqa_hat_correlation(ours, human).isnan().tolist() == [[False, True, True]]
    assert vqa_hat_correlation(torch.full((1, 8, 8), 1 / 64), human).isnan().all()


@pytest.mark.parametrize(
    ("ours", "human", "message"),
    [
        (torch.ones(1, 64), torch.ones(1, 1, 448, 448), r"\(B, 196\) or \(B, h, w\)"),
        (torch.ones(2, 196), torch.ones(1, 1, 448, 448), "human_maps"),
        (torch.ones(1, 196), torch.ones(1, 448, 448), "human_maps"),
        (torch.full((1, 196), torch.nan), torch.ones(1, 1, 448, 448), "model_map holds NaN"),
        (torch.ones(1, 196), -torch.ones(1, 1, 448, 448), "human_maps must be non-negative"),
    ],
)
def test_hat_bad_input(ours, human, message):
    with pytest.raises(ValueError, match=message):
        vqa_hat_correlation(ours, human)
