"""Residual Attention Network."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ssan.batch import Batch
from ssan.models.attention import Output, as_distribution
from ssan.models.cnn import ResidualUnit, as_grid, cells, checked_image, halvings, mass_on_grid
from ssan.regions import Encoded


def _units(width: int, n: int) -> nn.Sequential:
    return nn.Sequential(*(ResidualUnit(width, width) for _ in range(n)))


class Hourglass(nn.Module):
    """Down and up again: (B, width, h, w) -> the same shape, each output seeing a wide part of the input.

    Args:
        width: number of channels.
        depth: how often the map is halved.
        r: residual units between two halvings.
    """

    def __init__(self, width: int, depth: int, r: int) -> None:
        super().__init__()
        self.down, self.up = _units(width, r), _units(width, r)
        self.inner = Hourglass(width, depth - 1, r) if depth > 1 else None
        self.skip = ResidualUnit(width, width) if depth > 1 else None

    def forward(self, x: Tensor) -> Tensor:
        small = self.down(F.max_pool2d(x, 3, stride=2, padding=1))
        if self.inner is not None:
            small = self.skip(small) + self.inner(small)
        return F.interpolate(self.up(small), size=x.shape[-2:], mode="bilinear", align_corners=False)


class AttentionModule(nn.Module):
    """H = (1 + M) * T with a trunk T and a mask M in [0, 1] per channel and cell (attention residual learning).

    Args:
        width: number of channels.
        depth: halvings in the mask branch.
        p: residual units before the branches part and after they meet.
        t: residual units in the trunk.
        r: residual units between halvings in the mask branch.
    """

    def __init__(self, width: int, depth: int, p: int, t: int, r: int) -> None:
        super().__init__()
        self.before, self.trunk, self.after = _units(width, p), _units(width, t), _units(width, p)
        self.hourglass = Hourglass(width, depth, r)
        point = [layer for _ in range(2) for layer in (nn.BatchNorm2d(width), nn.ReLU(), nn.Conv2d(width, width, 1))]
        self.to_mask = nn.Sequential(*point, nn.Sigmoid())

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """(B, width, h, w) -> features of the same shape, and the mask averaged over channels, (B, h, w)."""
        x = self.before(x)
        mask = self.to_mask(self.hourglass(x))
        return self.after((1 + mask) * self.trunk(x)), mask.mean(1)


class ResidualAttentionNetwork(nn.Module):
    """A small residual attention network (Wang et al. 2017): one attention module at twice the grid, one at the grid.

    Like Attention-56 it has one module per stage, but two stages instead of three. Its masks are neither distributions
    nor single maps; the stated rule: average over channels, `as_distribution`, then `mass_on_grid`. The two modules
    are the two hops of the `Output`, supervised by their mean.

    Args:
        channels: of the image.
        size: (height, width) of the image.
        n_classes: number of classes.
        grid: (rows, columns) of the attention; the image must be the grid times a power of two, 2 or more.
        width: channels of the second stage; the first has half as many.
        p, t, r: see `AttentionModule`; the paper's defaults.
    """

    def __init__(
        self,
        channels: int,
        size: tuple[int, int],
        n_classes: int,
        *,
        grid: tuple[int, int] = (8, 8),
        width: int = 32,
        p: int = 1,
        t: int = 2,
        r: int = 1,
    ) -> None:
        super().__init__()
        self.channels, self.size, self.grid = channels, tuple(size), tuple(grid)
        n = halvings(size, grid)
        if n < 1:
            raise ValueError(f"a {grid[0]}x{grid[1]} grid leaves no room for a stage at twice its resolution in {size}")
        half = width // 2
        stem = [nn.Conv2d(channels, half, 3, padding=1, bias=False)]
        stem += [ResidualUnit(half, half, stride=2) for _ in range(n - 1)]
        self.stem = nn.Sequential(*stem)
        self.fine, self.coarse = AttentionModule(half, 2, p, t, r), AttentionModule(width, 1, p, t, r)
        self.between = ResidualUnit(half, width, stride=2)
        self.last = nn.Sequential(ResidualUnit(width, width), nn.BatchNorm2d(width), nn.ReLU())
        self.classifier = nn.Linear(width, n_classes)

    def encode(self, batch: Batch) -> Encoded:
        """Features (B, R, 2 * width) before the first attention module: what four fine cells hold, side by side."""
        stem = self.stem(checked_image(batch, self.channels, self.size))
        return Encoded(cells(F.pixel_unshuffle(stem, 2)))

    def attend(self, encoded: Encoded) -> Output:
        """Logits (B, C), attention (B, 2, R)."""
        x, fine = self.fine(F.pixel_shuffle(as_grid(encoded.features, self.grid), 2))
        x, coarse = self.coarse(self.between(x))
        hops = [mass_on_grid(as_distribution(mask.flatten(1)).view_as(mask), self.grid) for mask in (fine, coarse)]
        return Output(self.classifier(self.last(x).mean((2, 3))), torch.stack(hops, dim=1))

    def forward(self, batch: Batch) -> Output:
        return self.attend(self.encode(batch))
