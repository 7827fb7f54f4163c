"""Earth mover's distances as losses: against scipy along a line, against POT's exact solver on grids."""

import math

import ot
import pytest
import scipy.stats
import torch
from hypothesis import given, settings

from ssan.losses import GridEMD, emd
from tests.helpers import generator, random_maps
from tests.losses.maps import EXISTS, LENGTHS, pair, seeds


@settings(deadline=None, max_examples=25)
@given(seed=seeds)
def test_along_a_line_it_is_the_wasserstein_distance_of_scipy(seed):
    attention, target = pair(seed)
    value = emd(attention, target, EXISTS)
    for row, n in enumerate(LENGTHS):
        expected = scipy.stats.wasserstein_distance(
            range(n), range(n), attention[row, :n].numpy(), target[row, :n].numpy()
        )
        assert float(value[row]) == pytest.approx(expected, rel=1e-9, abs=1e-14)


def test_along_a_line_between_single_regions_it_is_how_far_they_are_apart():
    places = torch.eye(9)
    for i in range(9):
        for j in range(9):
            assert float(emd(places[i : i + 1], places[j : j + 1])) == abs(i - j)


# --- on a grid -------------------------------------------------------------------------------------------------------

GRIDS = pytest.mark.parametrize("grid", [(8, 8), (3, 5), (1, 6)])


def exact(attention, target, grid):
    """By linear programming, example by example."""
    cells = [(float(r), float(c)) for r in range(grid[0]) for c in range(grid[1])]
    distances = torch.tensor([[math.dist(p, q) for q in cells] for p in cells]).double().numpy()
    costs = [ot.emd2(a, t, distances) for a, t in zip(attention.numpy(), target.numpy(), strict=True)]
    return torch.tensor(costs, dtype=torch.float64)


def maps_on(grid, sharpness, seed, n=12):
    g = generator(seed)
    scores = [torch.randn(n, grid[0] * grid[1], generator=g, dtype=torch.float64) for _ in range(2)]
    return [torch.softmax(sharpness * one, -1) for one in scores]


@GRIDS
@pytest.mark.parametrize("sharpness", [1.0, 5.0, 30.0])
def test_it_falls_short_of_the_exact_distance_by_no_more_than_one_and_a_half_epsilon(grid, sharpness):
    attention, target = maps_on(grid, sharpness, seed=int(sharpness))
    distance = exact(attention, target, grid)
    for epsilon, iterations in ((0.2, 100), (0.1, 600)):
        short = distance - GridEMD(grid, epsilon, iterations)(attention, target)
        assert short.max() < 1.5 * epsilon
        assert short.min() > -0.01
    # So it is not that small distances are all that is compared.
    assert distance.max() > 0.5


@pytest.mark.parametrize("sharpness", [1.0, 5.0])
def test_it_orders_maps_as_the_exact_distance_does(sharpness):
    attention, target = maps_on((8, 8), sharpness, seed=3, n=40)
    smooth = GridEMD((8, 8))(attention, target)
    assert scipy.stats.spearmanr(smooth, exact(attention, target, (8, 8))).statistic > 0.97


@GRIDS
def test_between_single_cells_it_is_how_far_they_are_apart(grid):
    n = grid[0] * grid[1]
    places = torch.eye(n, dtype=torch.float64)
    first, second = torch.cartesian_prod(torch.arange(n), torch.arange(n)).T
    value = GridEMD(grid)(places[first], places[second])
    expected = (
        torch.stack([first // grid[1] - second // grid[1], first % grid[1] - second % grid[1]]).double().norm(dim=0)
    )
    torch.testing.assert_close(value, expected, atol=1e-9, rtol=0)


@pytest.mark.parametrize("sharpness", [1.0, 5.0, 30.0])
def test_equal_maps_have_none(sharpness):
    attention, target = maps_on((8, 8), sharpness, seed=1)
    loss = GridEMD((8, 8))
    assert loss(attention, attention.clone()).abs().max() < 2e-4  # what a hundred iterations leave
    assert (loss(attention, target) > 0.1).all()


def test_gradients():
    """Of the potentials, which stand for differentiating through the iterations, once these have come to rest."""
    loss = GridEMD((2, 3), epsilon=0.5, iterations=400)
    _, target = maps_on((2, 3), 1.0, seed=0, n=3)
    scores = torch.randn(3, 6, generator=generator(4), dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda s: loss(torch.softmax(s, -1), target), scores)
    (gradient,) = torch.autograd.grad(loss(torch.softmax(scores, -1), target).sum(), scores)
    assert gradient.abs().max() > 1e-2


def test_descending_it_carries_attention_to_the_target():
    loss, target = GridEMD((4, 4)), torch.eye(16)[[0, 5]].double() * 0.9 + 0.1 / 16
    scores = torch.zeros(2, 16, dtype=torch.float64).requires_grad_()
    optimizer = torch.optim.Adam([scores], 0.1)
    values = []
    for _ in range(150):
        optimizer.zero_grad()
        value = loss(torch.softmax(scores, -1), target).sum()
        value.backward()
        optimizer.step()
        values.append(float(value.detach()))
    assert values[-1] < 0.05 * values[0]
    torch.testing.assert_close(torch.softmax(scores, -1).detach(), target, atol=0.05, rtol=0)


@settings(deadline=None, max_examples=10)
@given(seed=seeds)
def test_each_map_is_compared_with_its_own_target(seed):
    loss = GridEMD((3, 5))
    attention, target = maps_on((3, 5), 2.0, seed, n=5)
    value = loss(attention, target)
    order = torch.tensor([3, 1, 4, 0, 2])
    torch.testing.assert_close(loss(attention[order], target[order]), value[order])
    for row in range(5):
        torch.testing.assert_close(loss(attention[row : row + 1], target[row : row + 1])[0], value[row])
    assert not torch.allclose(loss(attention, target.roll(1, 0)), value, rtol=1e-3)


def test_cells_that_do_not_exist_are_left_out():
    exists = torch.arange(15) < torch.tensor([15, 10])[:, None]
    attention, target = (random_maps(exists, k, torch.float64) for k in range(2))
    value = GridEMD((3, 5))(attention, target, exists)
    noisy = GridEMD((3, 5))(attention + 0.3 * ~exists, target + 0.1 * ~exists, exists)
    torch.testing.assert_close(noisy, value)
    # The first ten cells of three rows of five are a grid of their own.
    torch.testing.assert_close(GridEMD((2, 5))(attention[1:, :10], target[1:, :10])[0], value[1])


def test_single_precision_in_and_out():
    attention, target = maps_on((8, 8), 3.0, seed=2)
    value = GridEMD((8, 8))(attention.float().requires_grad_(), target.float())
    assert value.dtype == torch.float32
    torch.testing.assert_close(value.detach().double(), GridEMD((8, 8))(attention, target), rtol=1e-4, atol=1e-5)
    (value.sum()).backward()


def test_one_hot_maps_on_the_largest_grid_have_finite_values_and_gradients():
    loss = GridEMD((30, 30), epsilon=0.2, iterations=5)
    attention = torch.eye(900, dtype=torch.float64)[[0, 899]].requires_grad_()
    value = loss(attention, torch.eye(900, dtype=torch.float64)[[899, 450]])
    value.sum().backward()
    assert value[0].detach() == pytest.approx(math.dist((0, 0), (29, 29)))
    assert torch.isfinite(attention.grad).all()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"grid": (0, 3)}, r"grid must be \(rows, columns\)"),
        ({"grid": (3,)}, r"grid must be \(rows, columns\)"),
        ({"grid": (2, 2), "epsilon": 0.0}, "epsilon must be above 0"),
        ({"grid": (2, 2), "iterations": 0}, "iterations at least 1"),
        ({"grid": (8, 8), "epsilon": 0.01}, "epsilon 0.01 is too small for a 8x8 grid: use 0.033 or more"),
    ],
)
def test_bad_settings(options, message):
    with pytest.raises(ValueError, match=message):
        GridEMD(**options)


def test_maps_that_do_not_fit_the_grid():
    with pytest.raises(ValueError, match="a grid of 2x3 cells does not fit maps of 7 regions"):
        GridEMD((2, 3))(*pair())
