import numpy as np
import pytest
import scipy.optimize
import scipy.stats
import torch

from ssan.metrics import earth_movers_distance


def maps(seed: int, n: int, r: int) -> tuple[torch.Tensor, torch.Tensor]:
    rng = np.random.default_rng(seed)
    return torch.from_numpy(rng.dirichlet(np.ones(r), n)), torch.from_numpy(rng.dirichlet(np.full(r, 0.1), n))


def by_linear_program(a: np.ndarray, b: np.ndarray, grid: tuple[int, int]) -> float:
    """The transport problem written out and given to a general solver."""
    cells = [(i // grid[1], i % grid[1]) for i in range(len(a))]
    cost = [np.hypot(p[0] - q[0], p[1] - q[1]) for p in cells for q in cells]
    rows = np.kron(np.eye(len(a)), np.ones(len(a)))
    columns = np.kron(np.ones(len(a)), np.eye(len(a)))
    return scipy.optimize.linprog(cost, A_eq=np.vstack([rows, columns]), b_eq=np.concatenate([a, b])).fun


def test_grid_equals_a_linear_program():
    a, b = maps(0, 5, 12)
    found = earth_movers_distance(a, b, grid=(3, 4))
    for i in range(5):
        assert found[i].item() == pytest.approx(by_linear_program(a[i].numpy(), b[i].numpy(), (3, 4)), abs=1e-8)


def test_text_equals_scipy():
    a, b = maps(1, 20, 9)
    a[:, 7:] = 0
    found = earth_movers_distance(a, b)
    x = np.arange(9)
    for i in range(20):
        assert found[i].item() == pytest.approx(scipy.stats.wasserstein_distance(x, x, a[i], b[i]), abs=1e-12)


def test_text_is_a_grid_of_one_row():
    a, b = maps(2, 6, 7)
    assert torch.allclose(earth_movers_distance(a, b), earth_movers_distance(a, b, grid=(1, 7)), atol=1e-10)


def test_by_hand():
    a = torch.tensor([[1.0, 0, 0, 0, 0, 0], [0.5, 0.5, 0, 0, 0, 0]])
    b = torch.tensor([[0, 0, 0, 0, 0, 1.0], [0.5, 0, 0, 0, 0.5, 0]])
    assert earth_movers_distance(a, b, grid=(2, 3)).tolist() == pytest.approx([5**0.5, 0.5])
    assert earth_movers_distance(a, b).tolist() == pytest.approx([5, 1.5])


def test_zero_for_equal_maps_symmetric_and_blind_to_scale():
    a, b = maps(3, 4, 12)
    for grid in (None, (3, 4)):
        assert earth_movers_distance(a, a, grid=grid).tolist() == pytest.approx([0] * 4, abs=1e-12)
        there, back = (earth_movers_distance(x, y, grid=grid) for x, y in ((a, b), (b, a)))
        assert torch.allclose(there, back, atol=1e-10)
        assert torch.allclose(there, earth_movers_distance(7 * a, b / 3, grid=grid), atol=1e-10)


def test_single_precision_maps_and_empty_batch():
    """Sums of float32 maps differ from 1 by rounding; POT must not stumble over it."""
    a, b = (torch.softmax(torch.randn(3, 196, generator=torch.Generator().manual_seed(s)), 1) for s in (0, 1))
    assert (earth_movers_distance(a, b, grid=(14, 14)) > 0).all()
    for grid in (None, (14, 14)):
        assert earth_movers_distance(a[:0], b[:0], grid=grid).shape == (0,)


@pytest.mark.parametrize(
    ("a", "b", "grid", "message"),
    [
        (torch.ones(2, 4), torch.ones(2, 5), None, r"a \(2, 4\), b \(2, 5\)"),
        (torch.ones(2, 4), torch.ones(2, 4), (2, 3), "grid of 2x3 cells does not fit maps of 4"),
        (-torch.ones(1, 4), torch.ones(1, 4), None, "a must be non-negative"),
        (torch.ones(1, 4), torch.zeros(1, 4), None, "b has no weight"),
        (torch.full((1, 4), torch.nan), torch.ones(1, 4), None, "a holds NaN"),
    ],
)
def test_bad_input(a, b, grid, message):
    with pytest.raises(ValueError, match=message):
        earth_movers_distance(a, b, grid=grid)
