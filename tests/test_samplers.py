"""The samplers: against double loops and itertools, against binomial bounds, and independent of how they are asked."""

import dataclasses
import itertools
import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ssan import rng
from ssan.samplers import HideWindows, KeepK, KeepWindows, Pairs, RandomMasks, Rise, Singles

LINE = [
    Pairs(),
    Singles(),
    RandomMasks(9, keep=0.3, seed=4),
    KeepWindows(3),
    HideWindows(2, stride=2),
    Rise(9, cells=3, seed=1),
    KeepK(9, 2, seed=-5),
]
GRID = [
    KeepWindows((2, 3), grid=(4, 5)),
    HideWindows(2, grid=(4, 5), stride=2),
    Rise(12, cells=2, grid=(4, 5), seed=2**63 - 1),
    RandomMasks(12, seed=-(2**63)),
    Pairs(),
]
int64 = st.integers(-(2**63), 2**63 - 1)
SEEDED = [RandomMasks(50, seed=1), KeepK(50, 4, seed=1), Rise(50, cells=4, seed=1)]


def name(sampler):
    return f"{type(sampler).__name__}-{'grid' if getattr(sampler, 'grid', None) else 'line'}"


def hidden(mask):
    return [i for i, kept in enumerate(mask.tolist()) if not kept]


def every_mask(sampler, n, example_id=0):
    return sampler.masks(n, torch.arange(sampler.count(n)), example_id)


# --- against brute force ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("n", range(1, 12))
def test_pairs_are_the_released_double_loop(n):
    expected = [[]]
    for i in range(n):
        for j in range(i + 1, n):
            expected.append([i, j])
    assert [hidden(m) for m in every_mask(Pairs(), n)] == expected
    assert Pairs().count(n) == len(expected)


def test_pairs_are_combinations():
    assert [tuple(hidden(m)) for m in every_mask(Pairs(), 40)][1:] == list(itertools.combinations(range(40), 2))


@pytest.mark.parametrize("n", [2, 3, 1000, 99_999, 100_000, 1_000_000])
def test_pairs_are_exact_for_long_inputs(n):
    # First and last pair of every row i: the places where a rounded square root would slip into the next row.
    i = torch.arange(n - 1)
    first = 1 + i * n - i * (i + 1) // 2
    last = first + (n - 2 - i)
    assert last[-1] == Pairs().count(n) - 1
    size = torch.tensor(n)
    for index, j in ((first, i + 1), (last, torch.full_like(i, n - 1))):
        got_i, got_j = Pairs.pair(size, index)
        assert torch.equal(got_i, i)
        assert torch.equal(got_j, j)


@settings(deadline=None, max_examples=200)
@given(st.integers(2, 100_000), st.data())
def test_pairs_invert_their_own_numbering(n, data):
    index = data.draw(st.integers(1, Pairs().count(n) - 1))
    i, j = (int(x) for x in Pairs.pair(torch.tensor(n), torch.tensor(index)))
    assert 0 <= i < j < n
    assert 1 + i * n - i * (i + 1) // 2 + (j - i - 1) == index


@pytest.mark.parametrize("n", range(1, 8))
def test_singles_hide_one_region(n):
    assert [hidden(m) for m in every_mask(Singles(), n)] == [[], *([i] for i in range(n))]


def places(n, window, stride):
    """Window starts along a line: every stride-th place that fits, and the last that fits."""
    fits = range(n - window + 1)
    return [start for start in fits if start % stride == 0 or start == n - window]


@settings(deadline=None, max_examples=60)
@given(st.integers(1, 12), st.integers(1, 14), st.integers(1, 5))
def test_windows_on_a_line(n, window, stride):
    starts = places(n, window, stride) if window < n else []
    inside = [list(range(s, s + window)) for s in starts]
    hide, keep = HideWindows(window, stride=stride), KeepWindows(window, stride=stride)
    assert [hidden(m) for m in every_mask(hide, n)] == [[], *inside]
    assert [hidden(m) for m in every_mask(keep, n)] == [[], *([r for r in range(n) if r not in w] for w in inside)]
    if stride <= window < n:
        assert set(itertools.chain(*inside)) == set(range(n))


@settings(deadline=None, max_examples=60)
@given(st.integers(1, 6), st.integers(1, 6), st.integers(1, 6), st.integers(1, 6), st.integers(1, 4))
def test_windows_on_a_grid(rows, columns, height, width, stride):
    if height > rows or width > columns or (height, width) == (rows, columns):
        with pytest.raises(ValueError, match="window of"):
            HideWindows((height, width), grid=(rows, columns), stride=stride)
        return
    expected = []
    for top in places(rows, height, stride):
        for left in places(columns, width, stride):
            mask = np.zeros((rows, columns), bool)
            mask[top : top + height, left : left + width] = True
            expected.append(mask.ravel().tolist())
    n = rows * columns
    keep = KeepWindows((height, width), grid=(rows, columns), stride=stride)
    hide = HideWindows((height, width), grid=(rows, columns), stride=stride)
    assert every_mask(keep, n)[1:].tolist() == expected
    assert (~every_mask(hide, n)[1:]).tolist() == expected


def test_a_number_is_a_square_window():
    assert torch.equal(
        every_mask(HideWindows(2, grid=(4, 5)), 20),
        every_mask(HideWindows((2, 2), grid=(4, 5)), 20),
    )


def test_random_masks_are_the_uniform_numbers():
    sampler = RandomMasks(30, keep=0.25, seed=11)
    index = torch.arange(1, 31)
    uniform = rng.uniform(11, torch.full((30,), 6), index, 17)
    assert torch.equal(sampler.masks(17, index, 6), uniform < 0.25)


def test_keep_k_keeps_the_k_lowest_words():
    sampler, index = KeepK(40, 3, seed=9), torch.arange(1, 41)
    words = rng.words(9, torch.full((40,), 2), index, 8).tolist()
    expected = [sorted(sorted(range(8), key=lambda r, row=row: (row[r], r))[:3]) for row in words]
    kept = [[r for r, k in enumerate(m) if k] for m in sampler.masks(8, index, 2).tolist()]
    assert kept == expected


def loop_rise(sampler, size, index, example_id):
    """RISE's mask by four nested loops over nodes and pixels, in exact fractions of Python floats."""
    side = sampler.cells + 2
    draws = rng.words(sampler.seed, torch.tensor([example_id]), torch.tensor([index]), 4 + side * side)[0].tolist()
    shift = [math.floor(w / 2**32 * 1024) / 1024 for w in draws[:2]]
    node = [[draws[4 + r * side + c] / 2**32 < sampler.keep for c in range(side)] for r in range(side)]
    mask = np.zeros(size)
    for y, x in itertools.product(*map(range, size)):
        at = [
            math.floor((p + 0.5) * sampler.cells / n * 1024) / 1024 + s
            for p, n, s in zip((y, x), size, shift, strict=True)
        ]
        for r, c in itertools.product(range(side), repeat=2):
            mask[y, x] += node[r][c] * max(0, 1 - abs(at[0] - r)) * max(0, 1 - abs(at[1] - c))
    return mask


@pytest.mark.parametrize(("cells", "size"), [(3, (8, 8)), (1, (5, 3)), (7, (4, 16))])
def test_rise_is_bilinear_interpolation(cells, size):
    sampler = Rise(3, cells=cells, keep=0.4, seed=3)
    got = sampler.pixel_masks(size, [0, 1, 2, 3], -7)
    assert got.dtype == torch.float32
    assert got.shape == (4, *size)
    assert (got[0] == 1).all()
    for index in (1, 2, 3):
        assert np.array_equal(got[index].numpy(), loop_rise(sampler, size, index, -7))


def test_rise_masks_are_the_field_at_region_centres():
    sampler, index = Rise(40, cells=3, grid=(4, 5)), torch.arange(41)
    field = sampler.pixel_masks((4, 5), index, 8)
    assert torch.equal(sampler.masks(20, index, 8), field.flatten(1) >= 0.5)
    # The centre of a region is the centre pixel of an odd block of pixels: the same field, finer.
    fine = sampler.pixel_masks((12, 15), index, 8)
    assert torch.equal(fine[:, 1::3, 1::3], field)


@pytest.mark.parametrize(("size", "grid"), [((8, 8), (8, 8)), ((12, 20), (3, 5)), ((64, 48), (1, 16))])
def test_rise_cell_means_are_means_of_pixels(size, grid):
    sampler, index = Rise(40, cells=5, seed=2), torch.arange(41)
    cells = sampler.cell_means(size, grid, index, 8)
    pixels = sampler.pixel_masks(size, index, 8).double()
    pooled = torch.nn.functional.adaptive_avg_pool2d(pixels[:, None], grid).flatten(1)
    assert cells.dtype == torch.float32
    assert torch.allclose(cells.double(), pooled, rtol=0, atol=2e-7)
    assert (cells[0] == 1).all()
    both = sampler.shades(size, grid, index, 8)
    assert torch.equal(both[0].double(), pixels)
    assert torch.equal(both[1], cells)


def test_rise_on_a_line_is_linear_interpolation():
    sampler = Rise(20, cells=3, seed=5)
    for n in (1, 2, 7, 30):
        got = sampler.masks(n, torch.arange(1, 21), 4).tolist()
        draws = rng.words(5, torch.full((20,), 4), torch.arange(1, 21), 9).tolist()
        for mask, row in zip(got, draws, strict=True):
            at = [
                math.floor((r + 0.5) * 3 / n * 1024) / 1024 + math.floor(row[0] / 2**32 * 1024) / 1024 for r in range(n)
            ]
            nodes = [w / 2**32 < 0.5 for w in row[4:]]
            value = [sum(kept * max(0, 1 - abs(a - k)) for k, kept in enumerate(nodes)) for a in at]
            assert mask == [v >= 0.5 for v in value]


# --- the contract ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("sampler", LINE, ids=name)
def test_index_0_is_clean_and_the_rest_is_counted(sampler):
    sizes = torch.tensor([[1, 2, 3], [4, 9, 30]])
    counts = sampler.count(sizes)
    assert counts.shape == sizes.shape
    assert counts.dtype == torch.int64
    for n, count in zip(sizes.flatten().tolist(), counts.flatten().tolist(), strict=True):
        assert sampler.count(n) == count
        assert type(sampler.count(n)) is int
        masks = every_mask(sampler, n)
        assert masks.shape == (count, n)
        assert masks.dtype == torch.bool
        assert masks[0].all()
        with pytest.raises(ValueError, match=f"variants 0 to {count - 1} of an input of {n} regions"):
            sampler.masks(n, [0, count], 0)


@pytest.mark.parametrize("sampler", LINE, ids=name)
def test_most_hidden_is_the_most_that_is_hidden(sampler):
    for n in (2, 3, 7):
        most = int((~sampler.masks(n, list(range(sampler.count(n))), 5)).sum(1).max())
        assert sampler.most_hidden in (None, most)
    assert (Pairs().most_hidden, Singles().most_hidden, RandomMasks(3).most_hidden) == (2, 1, None)


@pytest.mark.parametrize("sampler", [Pairs(), KeepWindows(1), HideWindows(1), HideWindows(4)], ids=name)
def test_one_token_has_only_the_clean_variant(sampler):
    assert sampler.count(1) == 1
    assert sampler.masks(1, 0, 3).tolist() == [[True]]


@settings(deadline=None, max_examples=40)
@given(st.sampled_from(LINE), st.lists(st.tuples(st.integers(1, 12), int64), max_size=8), st.data())
def test_masks_do_not_depend_on_the_company(sampler, examples, data):
    index = torch.tensor([data.draw(st.integers(0, sampler.count(n) - 1)) for n, _ in examples], dtype=torch.long)
    n, ids = (torch.tensor([e[k] for e in examples], dtype=torch.long) for k in (0, 1))
    together = sampler.masks(n, index, ids, width=15)
    assert together.shape == (len(examples), 15)
    for row, (size, example) in enumerate(examples):
        alone = sampler.masks(size, index[row], example)
        assert torch.equal(together[row, :size], alone[0])
        assert together[row, size:].all()
    order = torch.randperm(len(examples), generator=torch.Generator().manual_seed(0))
    assert torch.equal(sampler.masks(n[order], index[order], ids[order], width=15), together[order])


@pytest.mark.parametrize("sampler", GRID, ids=name)
def test_masks_on_a_grid_do_not_depend_on_the_company(sampler):
    index = torch.tensor([3, 0, 2, 3, 1])
    ids = torch.tensor([5, 5, -1, 2**40, 5])
    together = sampler.masks(20, index, ids, width=23)
    assert together[:, 20:].all()
    for row in range(5):
        assert torch.equal(sampler.masks(20, int(index[row]), int(ids[row]))[0], together[row, :20])


def test_pixel_masks_do_not_depend_on_the_company():
    sampler, index, ids = Rise(9, cells=4), torch.tensor([3, 0, 9]), torch.tensor([7, 7, -7])
    together = sampler.pixel_masks((6, 10), index, ids)
    for row in range(3):
        assert torch.equal(sampler.pixel_masks((6, 10), int(index[row]), int(ids[row]))[0], together[row])


@pytest.mark.parametrize("sampler", SEEDED, ids=name)
def test_seed_example_and_index_all_matter(sampler):
    base = sampler.masks(30, torch.arange(1, 51), 0)
    assert len({tuple(m) for m in base.tolist()}) > 40
    assert not torch.equal(base, sampler.masks(30, torch.arange(1, 51), 1))
    # The high word of an example id counts as well.
    assert not torch.equal(base, sampler.masks(30, torch.arange(1, 51), 2**32))
    assert not torch.equal(base, dataclasses.replace(sampler, seed=2).masks(30, torch.arange(1, 51), 0))
    assert not torch.equal(base, dataclasses.replace(sampler, seed=1 + 2**32).masks(30, torch.arange(1, 51), 0))
    assert torch.equal(base, dataclasses.replace(sampler).masks(30, torch.arange(1, 51), 0))


@pytest.mark.parametrize("sampler", [*LINE, Rise(9, cells=2, grid=(2, 3))], ids=name)
def test_no_indices_give_no_masks(sampler):
    assert sampler.masks(6, [], 0, width=6).shape == (0, 6)
    assert sampler.masks(torch.tensor([], dtype=torch.long), torch.tensor([], dtype=torch.long), 0).shape == (0, 0)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("sampler", [*LINE, Rise(9, cells=2, grid=(2, 3))], ids=name)
def test_cuda_gives_the_same_masks(sampler):
    index, ids = torch.arange(sampler.count(6)), torch.arange(sampler.count(6)) - 4
    masks = sampler.masks(6, index.cuda(), ids.cuda())
    assert masks.is_cuda
    assert torch.equal(masks.cpu(), sampler.masks(6, index, ids))
    if isinstance(sampler, Rise):
        assert torch.equal(sampler.pixel_masks((9, 9), index.cuda(), 3).cpu(), sampler.pixel_masks((9, 9), index, 3))


@pytest.mark.parametrize("sampler", [*LINE, Rise(9, cells=2, grid=(2, 3))], ids=name)
def test_the_device_is_that_of_the_indices(sampler):
    index = torch.arange(sampler.count(6))
    expected = sampler.masks(6, index, 2)
    # Whatever is made here without saying where ends up on the meta device, and mixing it with the rest fails.
    with torch.device("meta"):
        assert torch.equal(sampler.masks(6, index, 2), expected)
        if isinstance(sampler, Rise):
            assert sampler.pixel_masks((4, 4), index, 2).device.type == "cpu"


# --- statistics ------------------------------------------------------------------------------------------------------


def within(count, trials, probability, errors=5.0):
    """Whether `count` of `trials` is within some standard errors of what the probability says."""
    return abs(count - trials * probability) <= errors * math.sqrt(trials * probability * (1 - probability))


@pytest.mark.parametrize("keep", [0.1, 0.5, 0.8])
def test_random_masks_keep_the_stated_share(keep):
    masks = RandomMasks(4000, keep=keep, seed=3).masks(12, torch.arange(1, 4001), 0)
    assert all(within(int(c), 4000, keep) for c in masks.sum(0))
    both = (masks[:, :-1] & masks[:, 1:]).sum(0)
    assert all(within(int(c), 4000, keep * keep) for c in both)
    again = (masks[:-1] & masks[1:]).sum()
    assert within(int(again), masks[1:].numel(), keep * keep)


@settings(deadline=None, max_examples=30)
@given(st.integers(1, 15), st.integers(1, 20), int64)
def test_keep_k_keeps_k(n, k, seed):
    masks = KeepK(8, k, seed=seed).masks(n, torch.arange(9), 3, width=n + 2)
    assert (masks[1:, :n].sum(1) == min(n, k)).all()


def test_keep_k_sets_are_equally_likely():
    masks = KeepK(6000, 2, seed=0).masks(4, torch.arange(1, 6001), 0)
    sets = [tuple(m) for m in masks.tolist()]
    assert len(set(sets)) == 6
    assert all(within(sets.count(s), 6000, 1 / 6) for s in set(sets))


@pytest.mark.parametrize("keep", [0.3, 0.5])
def test_rise_has_the_same_mean_everywhere(keep):
    masks = Rise(4000, cells=3, keep=keep, seed=1).pixel_masks((10, 10), torch.arange(1, 4001), 0)
    assert masks.min() >= 0
    assert masks.max() <= 1
    # The variance of an interpolated value is at most that of a node.
    assert (masks.mean(0) - keep).abs().max() < 5 * math.sqrt(keep * (1 - keep) / 4000)


def test_rise_shifts_by_less_than_a_cell():
    sampler = Rise(3000, cells=2, keep=0.5, seed=6)
    shift, _ = sampler._lattice(torch.zeros(3000, dtype=torch.long), torch.arange(3000), 16)
    assert shift.min() >= 0
    assert shift.max() < 1024
    for axis in (0, 1):
        assert all(within(int((shift[:, axis] < cut).sum()), 3000, cut / 1024) for cut in (256, 512, 768))


# --- bad input -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: RandomMasks(0), "n_masks must be a whole number of at least 1, got 0"),
        (lambda: RandomMasks(2.0), "n_masks must be a whole number"),
        (lambda: RandomMasks(2**32), "below"),
        (lambda: RandomMasks(3, keep=0.0), "between 0 and 1, got 0.0"),
        (lambda: RandomMasks(3, keep=1), "between 0 and 1"),
        (lambda: RandomMasks(3, keep=float("nan")), "between 0 and 1"),
        (lambda: RandomMasks(3, seed=2**63), "64 signed bits"),
        (lambda: KeepK(3, 0), "k must be a whole number of at least 1"),
        (lambda: KeepK(0, 1), "n_masks"),
        (lambda: Rise(0), "n_masks"),
        (lambda: Rise(3, cells=0), "cells"),
        (lambda: Rise(3, keep=1.5), "between 0 and 1"),
        (lambda: Rise(3, grid=(0, 4)), "grid"),
        (lambda: Rise(3, grid=8), r"grid must be \(rows, columns\)"),
        (lambda: KeepWindows(0), "window"),
        (lambda: KeepWindows((2, 2)), r"window \(without a grid\)"),
        (lambda: KeepWindows(2, stride=0), "stride"),
        (lambda: KeepWindows(5, grid=(4, 8)), "does not fit into the grid"),
        (lambda: HideWindows((1, 9), grid=(4, 8)), "does not fit into the grid"),
        (lambda: HideWindows((4, 8), grid=(4, 8)), "is all of the grid"),
        (lambda: HideWindows((1, 2, 3), grid=(4, 8)), r"window \(on a grid\)"),
    ],
)
def test_bad_samplers(make, message):
    with pytest.raises(ValueError, match=message):
        make()


@pytest.mark.parametrize(
    ("ask", "message"),
    [
        (lambda: Pairs().masks(3, -1, 0), "no variant -1: .* variants 0 to 3 of an input of 3"),
        (lambda: Pairs().masks(torch.tensor([3, 2]), [3, 2], 0), "no variant 2: .* variants 0 to 1 of an input of 2"),
        (lambda: Singles().masks(0, 0, 0), "n_regions must be at least 1, got 0"),
        (lambda: Singles().count(torch.tensor([3, -2])), "n_regions must be at least 1, got -2"),
        (lambda: Singles().count(0), "n_regions"),
        (lambda: Singles().masks(5, [1], 0, width=4), "width 4 is less than the 5 regions"),
        (lambda: Singles().masks(5, [0.5], 0), "indices must be"),
        (lambda: Singles().masks(5, torch.tensor([True]), 0), "indices must be"),
        (lambda: Singles().masks(5, [[1]], 0), "indices must be"),
        (lambda: Singles().masks(torch.tensor([5, 5]), [1], 0), "n_regions has 2 entries for 1 indices"),
        (lambda: Singles().masks(5, [1, 2], torch.tensor([0])), "example_id has 1 entries for 2 indices"),
        (lambda: KeepWindows(2, grid=(4, 4)).masks(15, 1, 0), "n_regions must be 16, the cells of the"),
        (lambda: Rise(2, grid=(4, 4)).count(torch.tensor([16, 17])), "n_regions must be 16.*got 17"),
        (lambda: Rise(2).pixel_masks((4, 4), 3, 0), "no variant 3"),
        (lambda: Rise(2).pixel_masks((0, 4), 1, 0), "size"),
        (lambda: Rise(2).cell_means((8, 8), (2, 3), 1, 0), "does not divide a 8x8 image"),
        (lambda: Rise(2).cell_means((8, 8), (0, 3), 1, 0), "grid"),
        (lambda: Rise(2).cell_means((8, 8), (2, 2), 5, 0), "no variant 5"),
    ],
)
def test_bad_questions(ask, message):
    with pytest.raises(ValueError, match=message):
        ask()


@pytest.mark.parametrize("sampler", [*LINE, *GRID], ids=name)
def test_samplers_are_values(sampler):
    assert sampler == dataclasses.replace(sampler)
    assert hash(sampler) == hash(dataclasses.replace(sampler))
    with pytest.raises(dataclasses.FrozenInstanceError):
        sampler.grid = (1, 1)
