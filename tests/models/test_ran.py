"""Residual Attention Network: residual masks, and how they become maps."""

import pytest
import torch

from ssan.models.ran import AttentionModule, Hourglass, ResidualAttentionNetwork
from ssan.seeding import seeded
from tests.helpers import generator
from tests.models.grids import CLASSES, GRID, SIZE, pictures


def features(n=3, width=6, side=8):
    return torch.randn(n, width, side, side, generator=generator(0))


@pytest.mark.parametrize(("depth", "side"), [(1, 8), (2, 8), (3, 8), (2, 5)])
def test_an_hourglass_keeps_the_shape(depth, side):
    x = features(side=side)
    assert Hourglass(6, depth, r=1)(x).shape == x.shape


def test_an_hourglass_sees_further_than_a_unit():
    """One changed corner reaches the opposite one."""
    with seeded(0):
        deep = Hourglass(6, 3, r=1).eval()
    x = features()
    changed = x.clone()
    changed[:, :, 0, 0] += 5
    assert (deep(x) - deep(changed)).abs()[:, :, -1, -1].max() > 0


def test_masks_act_by_one_plus_themselves():
    with seeded(0):
        module = AttentionModule(6, 1, p=0, t=1, r=1).eval()
    x = features()
    with torch.no_grad():
        out, mean = module(x)
        mask = module.to_mask(module.hourglass(x))
        torch.testing.assert_close(out, module.trunk(x) * (1 + mask))
        torch.testing.assert_close(mean, mask.mean(1))
    assert mask.min() > 0
    assert mask.max() < 1


def test_units_are_counted():
    module = AttentionModule(6, 1, p=2, t=3, r=1)
    assert (len(module.before), len(module.trunk), len(module.after), len(module.hourglass.down)) == (2, 3, 2, 1)


def test_maps_by_the_stated_rule():
    with seeded(0):
        model = ResidualAttentionNetwork(3, SIZE, CLASSES, grid=GRID, width=16)
        for k in range(5):
            model.train()(pictures(16, seed=k))
    model.eval()
    batch = pictures()
    with torch.no_grad():
        x, fine = model.fine(model.stem(batch.image))
        _, coarse = model.coarse(model.between(x))
        attention = model(batch).attention
    assert fine.shape[1:] == (8, 8)
    for b in range(len(batch)):
        blocks = fine[b].view(4, 2, 4, 2).sum((1, 3)).flatten() / fine[b].sum()
        torch.testing.assert_close(attention[b, 0], blocks)
        torch.testing.assert_close(attention[b, 1], coarse[b].flatten() / coarse[b].sum())


def test_the_grid_must_leave_room():
    with pytest.raises(ValueError, match="no room for a stage at twice its resolution"):
        ResidualAttentionNetwork(3, SIZE, CLASSES, grid=SIZE)
