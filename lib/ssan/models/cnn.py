"""What all image models start with: a checked image and a small convolutional network that keeps a grid."""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor, nn

from ssan.batch import Batch


def checked_image(batch: Batch, channels: int, size: tuple[int, int]) -> Tensor:
    """The images of `batch`, after making sure that a model built for `channels` and `size` can read them.

    Raises:
        ValueError: if there are none, they have another shape or are not floats, or a pixel is NaN or infinite.
    """
    image = batch.image
    if image is None:
        raise ValueError("this model needs a batch with images, this one has none")
    if image.shape[1:] != (channels, *size):
        found = "x".join(map(str, image.shape[1:]))
        raise ValueError(f"the model was built for {channels}x{size[0]}x{size[1]} images, the batch has {found}")
    if not image.is_floating_point():
        raise ValueError(f"images must be floats, got {image.dtype}: scale bytes as ssan.data.pixels.as_float does")
    # The sum is NaN or infinite whenever a pixel is, and costs far less than a look at every pixel.
    if not torch.isfinite(image.detach().sum()):
        bad = ~torch.isfinite(image).flatten(1).all(1)
        if bad.any():
            raise ValueError(f"images hold NaN or infinite pixels (example ids {batch.ids[bad][:5].tolist()})")
    return image


def halvings(size: tuple[int, int], grid: tuple[int, int]) -> int:
    """How often an image must be halved to become the grid.

    Raises:
        ValueError: if the grid does not divide the image by the same power of two in both directions.
    """
    factor = size[0] // grid[0]
    if factor < 1 or (grid[0] * factor, grid[1] * factor) != tuple(size) or factor & (factor - 1):
        raise ValueError(
            f"a {grid[0]}x{grid[1]} grid cannot be made from {size[0]}x{size[1]} images: "
            "the image must be the grid times 1, 2, 4, 8, …"
        )
    return factor.bit_length() - 1


def convolution(inputs: int, outputs: int, stride: int = 1, kernel: int = 3) -> nn.Sequential:
    """Convolution that keeps the size (divided by `stride`), batch normalisation, ReLU."""
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, bias=False), nn.BatchNorm2d(outputs), nn.ReLU()
    )


class GridCNN(nn.Module):
    """Image (B, channels, H, W) -> features (B, width, rows, columns).

    One strided convolution per halving, widths doubling up to `width`, and one more that mixes neighbouring cells.

    Args:
        channels: of the image.
        size: (height, width) of the image.
        grid: (rows, columns) of the features; the image must be the grid times a power of two.
        width: number of features per cell.
    """

    def __init__(self, channels: int, size: tuple[int, int], grid: tuple[int, int] = (8, 8), width: int = 64) -> None:
        super().__init__()
        self.channels, self.size, self.grid, self.width = channels, tuple(size), tuple(grid), width
        n = halvings(size, grid)
        widths = [channels, *(max(8, width >> (n - 1 - i)) for i in range(n))]
        layers = [convolution(a, b, stride=2) for a, b in pairwise(widths)]
        self.layers = nn.Sequential(*layers, convolution(widths[-1], width))

    def forward(self, image: Tensor) -> Tensor:
        return self.layers(image)


def cells(features: Tensor) -> Tensor:
    """Features (B, D, rows, columns) -> (B, rows * columns, D), a vector per region, row by row."""
    return features.flatten(2).transpose(1, 2)


def as_grid(features: Tensor, grid: tuple[int, int]) -> Tensor:
    """The way back from `cells`: (B, rows * columns, D) -> (B, D, rows, columns)."""
    return features.transpose(1, 2).unflatten(2, grid)


def mass_on_grid(maps: Tensor, grid: tuple[int, int]) -> Tensor:
    """Bring finer attention maps to `grid`: (B, h, w) -> (B, rows * columns), a cell gets the sum of what lies in it.

    This is the stated rule by which maps of several scales become hops over the same regions: a distribution stays
    one. Our design.

    Raises:
        ValueError: if the grid does not divide the maps.
    """
    height, width = maps.shape[-2:]
    if height % grid[0] or width % grid[1]:
        raise ValueError(f"maps of {height}x{width} cells cannot be summed into a grid of {grid[0]}x{grid[1]}")
    blocks = maps.unflatten(2, (grid[1], width // grid[1])).unflatten(1, (grid[0], height // grid[0]))
    return blocks.sum((2, 4)).flatten(1)


class ResidualUnit(nn.Module):
    """Pre-activation residual unit (He et al. 2016): x + two 3x3 convolutions of it, each after BN and ReLU."""

    def __init__(self, inputs: int, outputs: int, stride: int = 1) -> None:
        super().__init__()
        self.norm_1, self.norm_2 = nn.BatchNorm2d(inputs), nn.BatchNorm2d(outputs)
        self.conv_1 = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
        self.conv_2 = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False)
        same = inputs == outputs and stride == 1
        self.stride = stride
        self.shortcut = nn.Identity() if same else nn.Conv2d(inputs, outputs, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        active = torch.relu(self.norm_1(x))
        # A strided 1x1 convolution reads these places alone. Said this way, since the backward pass of the other writes
        # past its memory on processors with AVX-512 (torch 2.14.1; 8 channels of 64x64, channels last).
        places = active[..., :: self.stride, :: self.stride]
        shortcut = x if isinstance(self.shortcut, nn.Identity) else self.shortcut(places)
        return shortcut + self.conv_2(torch.relu(self.norm_2(self.conv_1(active))))
