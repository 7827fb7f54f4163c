"""Blocks of cells against a loop over cells, for every sampler they may carry."""

import pytest
import torch

from ssan.samplers import HideWindows, KeepK, Pairs, RandomMasks, Rise, Singles
from ssan.widgets.blocks import Blocks

INNER = [Pairs(), Singles(), HideWindows((1, 2), (2, 3)), RandomMasks(20, 0.4, 3), KeepK(7, 2), Rise(9, 2, grid=(2, 3))]


@pytest.mark.parametrize("inner", INNER, ids=lambda one: type(one).__name__)
def test_every_cell_is_kept_where_its_block_is(inner):
    sampler, n = Blocks(inner, grid=(4, 9), blocks=(2, 3)), inner.count(6)
    assert sampler.count(36) == n
    ids = torch.arange(n) % 3
    found = sampler.masks(36, torch.arange(n), ids).view(n, 4, 9)
    coarse = inner.masks(6, torch.arange(n), ids).view(n, 2, 3)
    for row in range(4):
        for column in range(9):
            assert torch.equal(found[:, row, column], coarse[:, row // 2, column // 3])


def test_blocks_of_one_cell_change_nothing():
    plain = RandomMasks(30, 0.5, 1)
    index = torch.arange(31)
    assert torch.equal(Blocks(plain, (4, 4), (4, 4)).masks(16, index, 9), plain.masks(16, index, 9))


def test_the_clean_variant_comes_first_and_room_behind_the_cells_is_kept():
    masks = Blocks(Singles(), (2, 2), (1, 1)).masks(4, [0, 1], 0, width=6)
    assert masks.tolist() == [[True] * 6, [False] * 4 + [True] * 2]


def test_blocks_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match=r"grid of \(4, 4\) cells cannot be cut into \(3, 2\)"):
        Blocks(Pairs(), (4, 4), (3, 2))
    with pytest.raises(ValueError, match="the cells of the"):
        Blocks(HideWindows(2, (4, 4)), (8, 8), (2, 2))
    with pytest.raises(ValueError, match="n_regions must be 16"):
        Blocks(Pairs(), (4, 4), (2, 2)).count(9)
