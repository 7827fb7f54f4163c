"""Controls: targets that carry no information stay what they say they are."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ssan.study import targets
from tests.helpers import random_maps

LENGTHS = torch.tensor([5, 1, 3, 2, 5, 4])
EXISTS = torch.arange(5) < LENGTHS[:, None]
WHOLE = torch.ones(6, 5, dtype=torch.bool)
seeds = st.integers(0, 10**6)


def assert_distributions(maps, exists=EXISTS):
    assert (maps >= 0).all()
    assert (maps[~exists] == 0).all()
    torch.testing.assert_close(maps.sum(-1), torch.ones(len(maps), dtype=maps.dtype))


@settings(max_examples=40)
@given(seed=seeds, n=st.integers(2, 9))
def test_shuffled_gives_everyone_the_whole_map_of_somebody_else(seed, n):
    exists, state = torch.ones(n, 4, dtype=torch.bool), torch.get_rng_state()
    target = random_maps(exists, seed, torch.float64)
    dealt = targets.shuffled(target, exists, seed)
    source = [[int(torch.isclose(row, other).all()) for other in target].index(1) for row in dealt]
    assert sorted(source) == list(range(n))
    assert all(giver != receiver for receiver, giver in enumerate(source))
    assert torch.equal(targets.shuffled(target, exists, seed), dealt)
    assert torch.equal(torch.get_rng_state(), state)
    assert_distributions(targets.shuffled(random_maps(EXISTS, seed, torch.float64), EXISTS, seed))


def test_shuffled_and_inverted_by_hand():
    """What is left is normalised again, nothing left is uniform, one alone keeps its own; seeds deal differently."""
    target, exists = torch.tensor([[0.0, 0.0, 1.0], [1.0, 0.0, 0.0]]), torch.tensor([[True] * 3, [True, True, False]])
    assert targets.shuffled(target, exists, 0).tolist() == [[1, 0, 0], [0.5, 0.5, 0]]
    assert torch.equal(targets.shuffled(target[:1], exists[:1], 3), target[:1])
    many = random_maps(WHOLE, 0, torch.float64)
    assert len({targets.shuffled(many, WHOLE, seed).numpy().tobytes() for seed in range(5)}) > 1
    maps = targets.inverted(torch.tensor([[0.5, 0.3, 0.2], [0.5, 0.5, 0.0]]), exists)
    torch.testing.assert_close(maps, torch.tensor([[0, 0.4, 0.6], [0.5, 0.5, 0]]))
    assert torch.equal(targets.inverted(many, WHOLE).argsort(-1), many.argsort(-1, descending=True))
    assert_distributions(targets.inverted(random_maps(EXISTS), EXISTS))


@settings(max_examples=25)
@given(seed=seeds, eps=st.sampled_from([0.0, 1e-4, 0.1]))
def test_product_by_hand(seed, eps):
    first, second = (random_maps(EXISTS, seed + k, torch.float64) for k in range(2))
    maps = targets.product(first, second, EXISTS, eps)
    assert_distributions(maps)
    for row, n in enumerate(LENGTHS.tolist()):
        weights = (first[row, :n] + eps) * (second[row, :n] + eps)
        torch.testing.assert_close(maps[row, :n], weights / weights.sum())


@settings(max_examples=25)
@given(seed=st.integers(-(2**63), 2**63 - 1), n=st.integers(1, 10**6))
def test_random_variants_exist_and_depend_on_seed_and_id_alone(seed, n):
    ids, order = torch.arange(50) - 25 + 2**40, torch.randperm(50)
    index = targets.random_variant(torch.full((50,), n), ids, seed)
    assert index.dtype == torch.int64
    assert 0 <= int(index.min()) <= int(index.max()) < n
    assert torch.equal(targets.random_variant(torch.full((50,), n), ids[order], seed), index[order])


def test_average_is_one_map_for_all_of_one_length():
    maps = targets.average(random_maps(EXISTS, 0, torch.float64), EXISTS)
    assert_distributions(maps)
    assert torch.equal(maps[0], maps[4])
    assert targets.average(torch.tensor([[1.0, 0], [0.5, 0.5]]), torch.ones(2, 2) > 0).tolist() == [[0.75, 0.25]] * 2


@pytest.mark.parametrize("by", [(0, 0), (1, 0), (0, -1), (0.5, 0), (-0.5, 1.0), (0.25, -2), (9, 0)])
def test_shifted_equals_a_loop(by):
    grid = _, columns = 3, 4
    target, moved = random_maps(torch.ones(2, 12) > 0, 1, torch.float64), torch.zeros(2, 12, dtype=torch.float64)
    for cell in range(12):
        for place in range(12):  # where the tent over the cell's new centre reaches
            x, y = (place % columns - cell % columns - by[0], place // columns - cell // columns - by[1])
            moved[:, place] += target[:, cell] * max(0, 1 - abs(x)) * max(0, 1 - abs(y))
    total = moved.sum(1, keepdim=True)
    expected = moved / total if total.all() else torch.full_like(moved, 1 / 12)  # all of it left the grid
    torch.testing.assert_close(targets.shifted(target, grid, by), expected)


@pytest.mark.parametrize("by", [(0, 0), (1, 0.5), (-0.5, -1), (0.5, 0.5)])
def test_aligned_takes_a_shift_back(by):
    grid, peaks = (6, 7), torch.zeros(9, 6, 7, dtype=torch.float64)
    peaks[torch.arange(9), torch.arange(9) % 3 + 1, torch.arange(9) // 3 + 2] = (
        1  # off the border, where weight is lost
    )
    peaks = peaks.flatten(1)
    away = targets.shifted(peaks, grid, by)
    back = targets.shifted(away, grid, (-by[0], -by[1]))
    assert torch.equal(targets.aligned(away, peaks + 0.01, grid), back)
    assert torch.equal(targets.aligned(away, away, grid), away)


def test_centre():
    assert targets.centre((2, 3)).tolist() == [0, 0.5, 0, 0, 0.5, 0]
    assert targets.centre((4, 4)).view(4, 4)[1:3, 1:3].tolist() == [[0.25] * 2] * 2
    assert targets.centre((3, 3)).tolist() == [0, 0, 0, 0, 1, 0, 0, 0, 0]


def test_random_variants_are_drawn_evenly():
    counts = torch.bincount(targets.random_variant(torch.full((8000,), 4), torch.arange(8000), seed=1), minlength=4)
    assert ((counts - 2000).abs() < 5 * (8000 * 3 / 16) ** 0.5).all()  # five standard deviations
