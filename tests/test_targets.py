"""Controls: targets that carry no information stay what they say they are."""

import pytest
import scipy.stats
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ssan import targets
from ssan.losses import reverse_kl
from ssan.models.attention import as_distribution
from ssan.samplers import Pairs, RandomMasks
from tests.helpers import random_maps

WHOLE = torch.ones(6, 5, dtype=torch.bool)
LENGTHS = torch.tensor([5, 1, 3, 2, 5, 4])
EXISTS = torch.arange(5) < LENGTHS[:, None]
seeds = st.integers(0, 10**6)


def assert_distributions(maps, exists=EXISTS):
    assert (maps >= 0).all()
    assert (maps[~exists] == 0).all()
    torch.testing.assert_close(maps.sum(-1), torch.ones(len(maps), dtype=maps.dtype))


@settings(deadline=None, max_examples=40)
@given(seed=seeds, n=st.integers(2, 9))
def test_shuffled_gives_everyone_the_whole_map_of_somebody_else(seed, n):
    exists = torch.ones(n, 4, dtype=torch.bool)
    target = random_maps(exists, seed, torch.float64)
    dealt = targets.shuffled(target, exists, seed)
    given_to = [[int(torch.isclose(row, other).all()) for other in target].index(1) for row in dealt]
    assert sorted(given_to) == list(range(n))
    assert all(source != row for row, source in enumerate(given_to))


def test_shuffled_depends_on_the_seed_and_on_nothing_else():
    target = random_maps(WHOLE)
    state = torch.get_rng_state()
    assert torch.equal(targets.shuffled(target, WHOLE, 4), targets.shuffled(target, WHOLE, 4))
    assert any(
        not torch.equal(targets.shuffled(target, WHOLE, 4), targets.shuffled(target, WHOLE, s)) for s in range(5)
    )
    assert torch.equal(torch.get_rng_state(), state)


@settings(deadline=None, max_examples=25)
@given(seed=seeds)
def test_shuffled_maps_are_cut_to_who_gets_them(seed):
    target = random_maps(EXISTS, seed, torch.float64)
    assert_distributions(targets.shuffled(target, EXISTS, seed))


def test_shuffled_where_nothing_is_left_is_uniform():
    target = torch.tensor([[0.0, 0.0, 1.0], [1.0, 0.0, 0.0]])
    exists = torch.tensor([[True, True, True], [True, True, False]])
    assert targets.shuffled(target, exists, 0).tolist() == [[1, 0, 0], [0.5, 0.5, 0]]


def test_shuffled_alone_keeps_its_own():
    target = torch.tensor([[0.25, 0.75]])
    assert torch.equal(targets.shuffled(target, torch.ones(1, 2, dtype=torch.bool), 3), target)


def test_uniform():
    maps = targets.uniform(EXISTS)
    assert_distributions(maps)
    for row, n in enumerate(LENGTHS.tolist()):
        assert maps[row, :n].tolist() == pytest.approx([1 / n] * n)


def test_inverted_by_hand():
    target = torch.tensor([[0.5, 0.3, 0.2, 0.0], [0.5, 0.5, 0.0, 0.0]], dtype=torch.float64)
    exists = torch.tensor([[True, True, True, False], [True, True, False, False]])
    expected = [[0, 0.4, 0.6, 0], [0.5, 0.5, 0, 0]]
    torch.testing.assert_close(targets.inverted(target, exists), torch.tensor(expected, dtype=torch.float64))


@settings(deadline=None, max_examples=25)
@given(seed=seeds)
def test_inverted_turns_the_ranking_around(seed):
    target = random_maps(WHOLE, seed, torch.float64)
    maps = targets.inverted(target, WHOLE)
    assert_distributions(maps, WHOLE)
    assert torch.equal(maps.argsort(-1), target.argsort(-1, descending=True))
    assert_distributions(targets.inverted(random_maps(EXISTS, seed), EXISTS))


@settings(deadline=None, max_examples=25)
@given(seed=seeds, eps=st.sampled_from([0.0, 1e-4, 0.1]))
def test_product_by_hand(seed, eps):
    first, second = (random_maps(EXISTS, seed + k, torch.float64) for k in range(2))
    maps = targets.product(first, second, EXISTS, eps)
    assert_distributions(maps)
    for row, n in enumerate(LENGTHS.tolist()):
        weights = [(float(a) + eps) * (float(b) + eps) for a, b in zip(first[row, :n], second[row, :n], strict=True)]
        assert maps[row, :n].tolist() == pytest.approx([w / sum(weights) for w in weights])


@settings(deadline=None, max_examples=25)
@given(seed=seeds, n=st.integers(1, 5), eps=st.sampled_from([0.0, 1e-4, 0.1]))
def test_geometric_mean_is_that_of_scipy(seed, n, eps):
    maps = [random_maps(EXISTS, seed + k, torch.float64) for k in range(n)]
    mean = targets.geometric_mean(maps, EXISTS, eps)
    assert_distributions(mean)
    for row, length in enumerate(LENGTHS.tolist()):
        weights = scipy.stats.gmean([one[row, :length].numpy() + eps for one in maps])
        assert mean[row, :length].tolist() == pytest.approx(weights / weights.sum())


@settings(deadline=None, max_examples=25)
@given(seed=seeds)
def test_geometric_mean_and_product(seed):
    first, second = (random_maps(EXISTS, seed + k, torch.float64) for k in range(2))
    product = targets.product(first, second, EXISTS)
    softened = as_distribution(product.sqrt(), EXISTS)
    torch.testing.assert_close(targets.geometric_mean([first, second], EXISTS), softened)
    torch.testing.assert_close(targets.geometric_mean([first] * 3, EXISTS, eps=0.0), first)


@settings(deadline=None, max_examples=15)
@given(seed=seeds)
def test_geometric_mean_is_nearest_to_all_maps(seed):
    """In mean KL(itself || map): any step away from it, to another map, makes that worse."""
    maps = [random_maps(WHOLE, seed + k, torch.float64) for k in range(3)]
    mean = targets.geometric_mean(maps, WHOLE, eps=0.0)

    def far(of):
        return torch.stack([reverse_kl(of, one) for one in maps]).mean(0)

    for k in range(3):
        away = 0.9 * mean + 0.1 * random_maps(WHOLE, seed + 10 + k, torch.float64)
        assert (far(away) > far(mean)).all()


def test_geometric_mean_extremes():
    half, none = torch.tensor([[0.5, 0.5, 0.0]]), torch.tensor([[0.0, 0.0, 1.0]])
    exists = torch.tensor([[True, True, True]])
    assert targets.geometric_mean([half, torch.tensor([[0.0, 0.9, 0.1]])], exists, eps=0.0).tolist() == [[0, 1, 0]]
    # They rule out each other's regions: nothing is left to prefer.
    assert targets.geometric_mean([half, none], exists, eps=0.0).tolist() == [[pytest.approx(1 / 3)] * 3]
    assert (targets.geometric_mean([half, none], exists) > 0).all()
    tiny = torch.tensor([[1e-30, 3e-30, 0.0]])
    mean = targets.geometric_mean([tiny, tiny], exists, eps=0.0)
    assert mean[0].tolist() == pytest.approx([0.25, 0.75, 0], rel=1e-5)
    with pytest.raises(ValueError, match="a geometric mean needs at least one map, got none"):
        targets.geometric_mean([], exists)


# --- random variants -------------------------------------------------------------------------------------------------


@settings(deadline=None, max_examples=25)
@given(seed=st.integers(-(2**63), 2**63 - 1), n=st.integers(1, 10**6))
def test_random_variants_exist(seed, n):
    ids = torch.arange(50) - 25 + 2**40
    index = targets.random_variant(torch.full((50,), n), ids, seed)
    assert index.dtype == torch.int64
    assert 0 <= int(index.min()) <= int(index.max()) < n


def test_random_variants_are_drawn_evenly():
    n = 8000
    index = targets.random_variant(torch.full((n,), 4), torch.arange(n), seed=1)
    counts = torch.bincount(index, minlength=4).double()
    assert ((counts - n / 4).abs() < 5 * (n * 3 / 16) ** 0.5).all()  # five standard deviations


def test_random_variants_depend_on_seed_and_id_alone():
    ids = torch.tensor([5, 9, 2, 7])
    n = torch.full((4,), 1000)
    index = targets.random_variant(n, ids, 3)
    order = torch.tensor([2, 0, 3, 1])
    assert torch.equal(targets.random_variant(n, ids[order], 3), index[order])
    assert not torch.equal(targets.random_variant(n, ids, 4), index)


def test_random_variants_of_samplers():
    lengths = torch.tensor([1, 2, 9])
    for sampler in (Pairs(), RandomMasks(7)):
        n = sampler.count(lengths)
        index = targets.random_variant(n, torch.tensor([3, 4, 5]), 0)
        assert sampler.masks(lengths, index, torch.tensor([3, 4, 5])).shape == (3, 9)
    assert int(targets.random_variant(Pairs().count(lengths), torch.tensor([3, 4, 5]), 0)[0]) == 0
