"""Folded layers against the layers themselves."""

import pytest
import torch
from torch import nn

from ssan.accel.folding import folded
from ssan.accel.reach import leaves
from ssan.models.cnn import GridCNN
from tests.accel.test_patterns import stack

STACKS = {
    "grid": lambda: stack(GridCNN(3, (16, 16), width=8).layers),
    "bias": lambda: stack(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU()),
    "no weights of its own": lambda: stack(nn.Conv2d(3, 4, 3, bias=False), nn.BatchNorm2d(4, affine=False), nn.Tanh()),
    "normalisation first and twice": lambda: stack(nn.BatchNorm2d(3), nn.Conv2d(3, 2, 1), *[nn.BatchNorm2d(2)] * 2),
    "relu first": lambda: stack(nn.ReLU(), nn.Conv2d(3, 4, 3, groups=1), nn.ReLU(), nn.ReLU(), nn.MaxPool2d(2)),
    "groups": lambda: stack(nn.Conv2d(3, 6, 3, groups=3), nn.BatchNorm2d(6), nn.ReLU()),
}


@pytest.mark.parametrize("make", STACKS.values(), ids=STACKS)
def test_same_as_the_layers(make):
    layers = make()
    image = torch.randn(5, 3, 16, 16, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    given, before = image.clone(), {name: value.clone() for name, value in layers.state_dict().items()}
    short = folded(leaves(layers))
    with torch.no_grad():
        torch.testing.assert_close(nn.Sequential(*short)(image), layers(given), atol=1e-12, rtol=1e-12)
    assert torch.equal(image, given)
    assert all(torch.equal(before[name], value) for name, value in layers.state_dict().items())


def test_there_is_less_to_do():
    layers = GridCNN(3, (64, 64)).eval().layers
    assert [type(layer) for layer in folded(leaves(layers))] == [nn.Conv2d, nn.ReLU] * 4


def test_normalisation_by_the_batch_stays():
    layers = [nn.Conv2d(3, 4, 3).eval(), nn.BatchNorm2d(4).train()]
    assert folded(layers)[1] is layers[1]
    layers[1] = nn.BatchNorm2d(4, track_running_stats=False).eval()
    assert folded(layers)[1] is layers[1]
