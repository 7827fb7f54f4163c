"""Registered eyes: every cell of our image models sees the pixels it is drawn over."""

import pytest
import torch

import ssan
from ssan.metrics import registration_offset
from ssan.models.check import _registration
from ssan.models.cnn import GridCNN
from ssan.models.image import AttentionPoolingCNN
from ssan.models.vqa import MODELS
from ssan.regions import ImageGrid
from ssan.runtime import seeded
from ssan.task import Batch
from tests.helpers import generator


def made(name, size, grid, kernel, seed=0):
    with seeded(seed):
        if name == "pooling":
            model = AttentionPoolingCNN(3, size, 4, grid=grid, width=32, kernel=kernel)
        else:
            model = MODELS[name](GridCNN(3, size, grid, 32, kernel=kernel), 9, 4)
        model.cnn.train()(torch.rand(16, 3, *size))  # so that the normalisation knows what features are like
    return model.eval()


def field_offset(cnn, image):
    """(cells, 2): y and x of the inner cells' centres minus the centroids of their mean absolute input gradients."""
    image, (height, width), offsets = image.requires_grad_(), cnn.size, []
    tall, wide = height / cnn.grid[0], width / cnn.grid[1]
    features = cnn(image)
    for row in range(2, cnn.grid[0] - 2):
        for column in range(2, cnn.grid[1] - 2):
            seen = sum(
                torch.autograd.grad(features[:, k, row, column].sum(), image, retain_graph=True)[0].abs().sum((0, 1))
                for k in range(0, cnn.width, 8)
            )
            y = (seen.sum(1) @ (torch.arange(height) + 0.5)) / seen.sum()
            x = (seen.sum(0) @ (torch.arange(width) + 0.5)) / seen.sum()
            offsets.append(torch.stack([(row + 0.5) * tall - y, (column + 0.5) * wide - x]))
    return torch.stack(offsets)


@pytest.mark.parametrize("name", [*MODELS, "pooling"])
@pytest.mark.parametrize(("size", "grid"), [((64, 64), (8, 8)), ((24, 40), (6, 10))])
def test_cells_are_centred_on_what_they_see_but_not_with_the_old_kernel(name, size, grid):
    half = size[0] / grid[0] / 2
    for kernel, expected in ((4, 0), (3, half - 0.5)):
        offset = field_offset(made(name, size, grid, kernel).cnn, torch.rand(2, 3, *size, generator=generator(1)))
        assert (offset.mean(0) - expected).abs().max() < 0.15 * half  # weights are random, so no field is even
        assert (offset - expected).abs().max() < 0.3 * half
    with pytest.raises(ValueError, match=r"kernel must be 4 \(registered\) or 3 \(half a cell aside\), got 5"):
        made(name, size, grid, 5)


@pytest.mark.parametrize(("kernel", "expected"), [(4, 0.0), (3, 3.5)])
def test_occlusion_says_the_same_and_check_prints_it(kernel, expected, capsys):
    model, image = made("pooling", (64, 64), (8, 8), kernel), torch.rand(3, 3, 64, 64, generator=generator(2))
    batch = Batch(torch.arange(3), torch.arange(3), image=image)
    x, y = registration_offset(model, batch)
    assert max(abs(x - expected), abs(y - expected)) < 1.2
    ssan.check(model, batch)
    line = f"registration: cells lie {x:+.1f}, {y:+.1f} px beside the pixels they speak of (half a cell is 4 px)\n"
    assert line in capsys.readouterr().out
    assert _registration(model, batch, ImageGrid(), 1.0) == "would take 256 s, see ssan.metrics.registration_offset"
    assert "not measured: expected images and a grid of at least 3x3" in _registration(
        model, batch, ImageGrid((2, 2)), 0.0001
    )
