"""Measures against true boxes: by hand, by painting pictures, by loops."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ssan.metrics import box_distribution, box_map, mass_in_box, offset, pointing, rank_correlation, selection
from ssan.metrics import boxes as module


def random_boxes(seed: int, n: int, k: int, size: tuple[int, int], step: float = 1.0) -> torch.Tensor:
    """Boxes with edges at multiples of `step` pixels; overlaps are common, some slots are unused."""
    rng = np.random.default_rng(seed)
    boxes = np.zeros((n, k, 4))
    for i in range(n):
        for j in range(rng.integers(0, k + 1)):
            x = np.sort(rng.choice(np.arange(0, size[1] + step / 2, step), 2, replace=False))
            y = np.sort(rng.choice(np.arange(0, size[0] + step / 2, step), 2, replace=False))
            boxes[i, j] = x[0], y[0], x[1], y[1]
    return torch.from_numpy(boxes)


def painted(boxes: torch.Tensor, size: tuple[int, int], grid: tuple[int, int], fine: int) -> torch.Tensor:
    """The same by painting a picture `fine` times as fine and counting: exact if all edges fall on its pixels."""
    height, width = size[0] * fine, size[1] * fine
    out = []
    for example in boxes.numpy():
        canvas = np.zeros((height, width))
        for x0, y0, x1, y1 in np.rint(example * fine).astype(int):
            canvas[y0:y1, x0:x1] = 1
        rows = np.split(canvas, grid[0])
        out.append([[cell.mean() for cell in np.split(row, grid[1], axis=1)] for row in rows])
    return torch.tensor(out, dtype=torch.float64).flatten(1)


@settings(max_examples=30)
@given(
    seed=st.integers(0, 10**6),
    k=st.integers(0, 4),
    cell=st.tuples(st.integers(1, 4), st.integers(1, 4)),
    grid=st.tuples(st.integers(1, 4), st.integers(1, 4)),
    fine=st.sampled_from([1, 2, 4]),
)
def test_box_map_equals_painting(seed, k, cell, grid, fine):
    size = (cell[0] * grid[0], cell[1] * grid[1])
    boxes = random_boxes(seed, 3, k, size, 1 / fine)
    assert torch.allclose(box_map(boxes, size, grid), painted(boxes, size, grid, fine), atol=1e-12)


def test_box_map_where_the_grid_does_not_divide_the_image(monkeypatch):
    boxes = random_boxes(1, 20, 3, (6, 9))
    cover = box_map(boxes, (6, 9), (4, 5))
    assert torch.allclose(cover, painted(boxes, (6, 9), (4, 5), 20), atol=1e-12)
    monkeypatch.setattr(module, "GROUP", 3)  # does not depend on how examples are grouped
    assert torch.equal(box_map(boxes, (6, 9), (4, 5)), cover)


def test_box_map_by_hand():
    """Two boxes on a 4x4 image with 2x2 cells: overlapping by one pixel, one of them over an inner edge."""
    boxes = torch.tensor([[[0.0, 0, 2, 2], [1, 1, 3, 3], [0, 0, 0, 0]]])
    assert box_map(boxes, (4, 4), (2, 2)).tolist() == [[1.0, 0.25, 0.25, 0.25]]
    once = torch.tensor([[[1.0, 0, 3, 3]]])  # overlaps do not count twice
    assert torch.equal(box_map(once, (4, 4), (2, 2)), box_map(once.repeat(1, 3, 1), (4, 4), (2, 2)))
    whole = torch.tensor([[[0.0, 0, 7, 5], [0, 0, 3, 5]]])  # covered everywhere is exactly 1
    assert torch.equal(box_map(whole, (5, 7), (3, 3)), torch.ones(1, 9))


def test_box_map_types_and_empties():
    assert box_map(torch.zeros(2, 3, 4), (8, 8), (2, 2)).dtype == torch.float32
    assert box_map(torch.zeros(2, 3, 4, dtype=torch.float64), (8, 8), (2, 2)).dtype == torch.float64
    assert torch.equal(box_map(torch.tensor([[[0, 0, 4, 4]]]), (8, 8), (2, 2)), torch.tensor([[1.0, 0, 0, 0]]))
    assert box_map(torch.zeros(2, 0, 4), (8, 8), (2, 2)).tolist() == [[0] * 4] * 2
    assert box_map(torch.zeros(0, 3, 4), (8, 8), (2, 2)).shape == (0, 4)


def test_box_distribution():
    boxes = torch.tensor([[[0.0, 0, 4, 2], [0, 0, 0, 0]], [[0, 0, 0, 0], [0, 0, 0, 0]]])
    assert box_distribution(boxes, (4, 4), (2, 2)).tolist() == [[0.5, 0.5, 0, 0], [0.25] * 4]


def test_mass_in_box_by_hand_and_of_uniform_attention():
    attention = torch.tensor([[0.1, 0.2, 0.3, 0.4], [1.0, 2, 3, 4]])
    assert mass_in_box(attention, torch.tensor([[1.0, 0.5, 0, 0]] * 2)).tolist() == pytest.approx([0.2, 0.2])
    cover = box_map(random_boxes(3, 30, 2, (8, 8)), (8, 8), (4, 4))
    used = cover.sum(1) > 0
    mass = mass_in_box(torch.full((30, 16), 1 / 16), cover)
    assert torch.allclose(mass[used], cover.mean(1)[used])
    assert mass[~used].isnan().all()
    assert (~used).any()


def point(cell: int, n: int = 16) -> torch.Tensor:
    return torch.nn.functional.one_hot(torch.tensor([cell]), n).float()


@pytest.mark.parametrize(
    ("cell", "near", "far"),
    [
        (5, None, 0.0),  # centre (6, 6), inside
        (6, 0.0, 0.5),  # centre (10, 6): on the exclusive right edge
        (7, 3.9, 4.0),  # centre (14, 6): 4 to the right
        (0, 2.8, 2.9),  # centre (2, 2): 2 to the left and 2 above, 2.83 from the corner; the unused slot is no box
    ],
)
def test_pointing_by_hand(cell, near, far):
    boxes = torch.tensor([[[0.0, 0, 0, 0], [4, 4, 10, 8]]])
    assert pointing(point(cell), boxes, (16, 16), (4, 4), tolerance=far).item() == 1
    assert near is None or pointing(point(cell), boxes, (16, 16), (4, 4), tolerance=near).item() == 0
    half = pointing(point(cell), boxes, (16, 16), (4, 4), tolerance=2.0)  # half a cell, of the shorter side
    assert torch.equal(pointing(point(cell), boxes, (16, 16), (4, 4)), half)
    wide = boxes * torch.tensor([3, 1, 3, 1])
    assert torch.equal(
        pointing(point(cell), wide, (16, 48), (4, 4)), pointing(point(cell), wide, (16, 48), (4, 4), tolerance=2)
    )


def test_pointing_takes_the_lowest_of_equal_maxima():
    boxes = torch.tensor([[[0.0, 0, 4, 4]], [[12, 12, 16, 16]]])
    assert pointing(torch.ones(2, 16), boxes, (16, 16), (4, 4)).tolist() == [1, 0]


@settings(max_examples=40)
@given(seed=st.integers(0, 10**6), tolerance=st.sampled_from([0.0, 1.0, 2.5]))
def test_pointing_equals_a_loop(seed, tolerance):
    size, grid = (12, 18), (4, 3)
    boxes = random_boxes(seed, 5, 3, size)
    attention = torch.rand(5, 12, generator=torch.Generator().manual_seed(seed))
    hits = pointing(attention, boxes, size, grid, tolerance=tolerance)
    for i in range(5):
        best = max(range(12), key=lambda r: (attention[i, r], -r))
        y, x = (best // 3 + 0.5) * 3, (best % 3 + 0.5) * 6
        used = [box for box in boxes[i].tolist() if any(box)]
        if not used:
            assert hits[i].isnan()
            continue
        if tolerance:
            distances = [math.dist((x, y), (min(max(x, b[0]), b[2]), min(max(y, b[1]), b[3]))) for b in used]
            expected = min(distances) <= tolerance
        else:
            expected = any(b[0] <= x < b[2] and b[1] <= y < b[3] for b in used)
        assert hits[i].item() == expected


@settings(max_examples=40)
@given(seed=st.integers(0, 10**6), k=st.integers(0, 3), j=st.integers(0, 3))
def test_selection_and_offset_equal_a_loop(seed, k, j):
    """Right objects and others; where the map points, the nearest of both decides, and how far beside it that is."""
    size, grid = (24, 36), (4, 3)  # cells of 6 x 12
    boxes, others = random_boxes(seed, 5, k, size), random_boxes(seed + 1, 5, j, size)
    attention = torch.rand(5, 12, generator=torch.Generator().manual_seed(seed))
    selected, beside = selection(attention, boxes, others, size, grid), offset(attention, boxes, size, grid)
    for i in range(5):
        best = max(range(12), key=lambda r: (attention[i, r], -r))
        y, x = (best // 3 + 0.5) * 6, (best % 3 + 0.5) * 12
        right, wrong = ([box for box in some[i].tolist() if any(box)] for some in (boxes, others))

        def aside(box, x=x, y=y):
            return max(box[0] - x, x - box[2], 0), max(box[1] - y, y - box[3], 0)

        def distance(box):
            return math.hypot(*aside(box))

        if right and wrong:
            assert selected[i].item() == (min(map(distance, right)) <= min(map(distance, wrong)))
        else:
            assert selected[i].isnan()
        nearest = min(right, key=distance, default=None)
        if nearest is None or aside(nearest)[0] > 12 or aside(nearest)[1] > 6:
            assert beside[i].isnan().all()
        else:
            centre = (nearest[0] + nearest[2]) / 2, (nearest[1] + nearest[3]) / 2
            assert beside[i].tolist() == pytest.approx([x - centre[0], y - centre[1]])


def test_mass_and_rank_can_move_in_opposite_directions():
    """The reason to report both: a sharp map that misorders the rest against a flat one in the right order."""
    cover = torch.tensor([[1.0, 0.5, 0.25, 0, 0, 0]])
    sharp = torch.tensor([[0.9, 0.0, 0.01, 0.03, 0.03, 0.03]])
    diffuse = torch.tensor([[0.19, 0.18, 0.17, 0.16, 0.15, 0.15]])
    assert mass_in_box(sharp, cover) > mass_in_box(diffuse, cover)
    assert rank_correlation(sharp, cover) < rank_correlation(diffuse, cover)


@pytest.mark.parametrize(
    ("boxes", "message"),
    [
        (torch.zeros(2, 4), r"\(N, K, 4\)"),
        (torch.zeros(2, 1, 5), r"\(N, K, 4\)"),
        (torch.tensor([[[0.0, 0, 9, 4]]]), "of example 0 does not lie in its 8x16 image"),
        (torch.tensor([[[0.0, 0, 8, 17]]]), "does not lie"),
        (torch.tensor([[[-1.0, 0, 8, 4]]]), "does not lie"),
        (torch.tensor([[[1.0, 1, 2, 2], [4, 4, 2, 6]]]), r"\[4.0, 4.0, 2.0, 6.0\] of example 0"),
        (torch.tensor([[[1.0, 1, 2, torch.nan]]]), "boxes holds NaN"),
    ],
)
def test_bad_boxes(boxes, message):
    for call in (
        lambda: box_map(boxes, (16, 8), (2, 2)),
        lambda: box_distribution(boxes, (16, 8), (2, 2)),
        lambda: pointing(torch.ones(1, 4), boxes, (16, 8), (2, 2)),
        lambda: offset(torch.ones(1, 4), boxes, (16, 8), (2, 2)),
        lambda: selection(torch.ones(1, 4), torch.zeros(1, 1, 4), boxes, (16, 8), (2, 2)),
    ):
        with pytest.raises(ValueError, match=message):
            call()


@pytest.mark.parametrize(
    ("attention", "cover", "message"),
    [
        (torch.ones(2, 4), torch.ones(2, 5), r"attention \(2, 4\), box_map \(2, 5\)"),
        (torch.ones(2, 2, 4), torch.ones(2, 2, 4), "reduce_hops"),
        (torch.tensor([[1.0, -1.0]]), torch.ones(1, 2), "non-negative"),
        (torch.tensor([[1.0, torch.inf]]), torch.ones(1, 2), "attention holds NaN or infinity"),
        (torch.zeros(1, 2), torch.ones(1, 2), "as_distribution"),
        (torch.ones(1, 2), torch.tensor([[2.0, 0.0]]), r"in \[0, 1\]"),
        (torch.ones(1, 2), torch.tensor([[torch.nan, 0.0]]), "box_map holds NaN"),
    ],
)
def test_bad_maps(attention, cover, message):
    with pytest.raises(ValueError, match=message):
        mass_in_box(attention, cover)


def test_bad_sizes_and_pointing():
    for size, grid in (((0, 8), (2, 2)), ((8, 8), (0, 2)), ((8,), (2, 2))):
        with pytest.raises(ValueError, match="two numbers of at least 1"):
            box_map(torch.zeros(1, 1, 4), size, grid)
    boxes = torch.tensor([[[0.0, 0, 4, 4]]])
    for maps in (torch.ones(1, 9), torch.ones(2, 16)):
        with pytest.raises(ValueError, match="attention has shape"):
            pointing(maps, boxes, (16, 16), (4, 4))
    for tolerance in (-1.0, math.nan):
        with pytest.raises(ValueError, match="tolerance"):
            pointing(torch.ones(1, 16), boxes, (16, 16), (4, 4), tolerance=tolerance)
    with pytest.raises(ValueError, match=r"expected \(2, 16\)"):
        selection(torch.ones(1, 16), boxes, boxes.repeat(2, 1, 1), (16, 16), (4, 4))
    with pytest.raises(ValueError, match="non-negative"):
        pointing(-torch.ones(1, 16), boxes, (16, 16), (4, 4))
