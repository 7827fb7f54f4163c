"""What all image models start with: a checked image and a small convolutional network that keeps a grid."""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor, nn

from ssan.task import Batch


def checked_image(batch: Batch, channels: int, size: tuple[int, int]) -> Tensor:
    """The images of `batch`, after making sure that a model built for `channels` and `size` can read them.

    A ValueError if there are none, they have another shape or are not floats, or a pixel is NaN or infinite.
    """
    image = batch.image
    if image is None:
        raise ValueError("this model needs a batch with images, this one has none")
    if image.shape[1:] != (channels, *size):
        given = "x".join(map(str, image.shape[1:]))
        raise ValueError(f"the model was built for {channels}x{size[0]}x{size[1]} images, the batch has {given}")
    # The sum is NaN or infinite whenever a pixel is, and costs far less than a look at every pixel.
    if not torch.isfinite(image.detach().sum()):
        bad = ~torch.isfinite(image).flatten(1).all(1)
        if bad.any():
            raise ValueError(f"images hold NaN or infinite pixels (example ids {batch.ids[bad][:5].tolist()})")
    return image


def halvings(size: tuple[int, int], grid: tuple[int, int]) -> int:
    """How often an image is halved to become the grid; a ValueError unless both sides are the same power of two."""
    factor = size[0] // grid[0]
    if factor < 1 or (grid[0] * factor, grid[1] * factor) != tuple(size) or factor & (factor - 1):
        raise ValueError(
            f"a {grid[0]}x{grid[1]} grid cannot be made from {size[0]}x{size[1]} images: "
            "the image must be the grid times 1, 2, 4, 8, …"
        )
    return factor.bit_length() - 1


def convolution(inputs: int, outputs: int, stride: int = 1, kernel: int = 3) -> nn.Sequential:
    """Convolution that keeps the size (divided by `stride`), batch normalisation, ReLU."""
    layer = nn.Conv2d(inputs, outputs, kernel, stride, 1, bias=False)
    return nn.Sequential(layer, nn.BatchNorm2d(outputs), nn.ReLU())


class GridCNN(nn.Module):
    """Image (B, channels, H, W) -> features (B, width, rows, columns).

    One strided convolution per halving, widths doubling up to `width`, and one more that mixes neighbouring cells.

    Args:
        channels: of the image.
        size: (height, width) of the image.
        grid: (rows, columns) of the features; the image must be the grid times a power of two.
        width: number of features per cell.
        kernel: of the strided convolutions. 4 centres what a cell sees on the cell that is drawn; 3, as in
            ResNet, centres it half a cell (less half a pixel) further up and left. Any other is a ValueError.
    """

    def __init__(
        self, channels: int, size: tuple[int, int], grid: tuple[int, int] = (8, 8), width: int = 64, *, kernel: int = 4
    ) -> None:
        super().__init__()
        if kernel not in (3, 4):
            raise ValueError(f"kernel must be 4 (registered) or 3 (half a cell aside), got {kernel!r}")
        self.channels, self.size, self.grid, self.width = channels, tuple(size), tuple(grid), width
        n = halvings(size, grid)
        widths = [channels, *(max(8, width >> (n - 1 - i)) for i in range(n))]
        layers = [convolution(a, b, 2, kernel) for a, b in pairwise(widths)]
        self.layers = nn.Sequential(*layers, convolution(widths[-1], width))

    def forward(self, image: Tensor) -> Tensor:
        return self.layers(image)


def cells(features: Tensor) -> Tensor:
    """Features (B, D, rows, columns) -> (B, rows * columns, D), a vector per region, row by row."""
    return features.flatten(2).transpose(1, 2)
