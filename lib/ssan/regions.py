"""What can be hidden, and how: a kind of `Regions` counts the regions of every example and hides those a mask names."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor

if TYPE_CHECKING:
    from ssan.samplers import Sampler
    from ssan.task import Batch

# Device type -> masked images in one pass over memory, put here by `ssan.kernels.fused_masks`.
FUSED: dict[str, Callable[..., Tensor | None]] = {}


class Regions(ABC):
    """A way of dividing an input into regions. Two methods to write; everything else asks these two.

    Example:
        >>> class Bigrams(Regions):                          # two words at a time
        ...     def count(self, batch):
        ...         return (batch.lengths + 1) // 2
        ...     def hide(self, batch, masks):                # `masks` (B, R): False is hidden
        ...         kept = masks.repeat_interleave(2, 1)[:, : batch.tokens.shape[1]]
        ...         return batch.replace(tokens=batch.tokens.where(kept, 0))

    Attributes:
        grid: (rows, columns) where the regions are cells of a grid, row by row, of which every example has all; None
            where they stand in a line. Samplers and losses that know of grids take it from here.
    """

    grid: tuple[int, int] | None = None

    @abstractmethod
    def count(self, batch: Batch) -> Tensor:
        """(B,) int64: how many regions each example has, at least 1."""

    @abstractmethod
    def hide(self, batch: Batch, masks: Tensor) -> Batch:
        """`batch` without the regions where `masks` (B, R) bool is False.

        R is the largest count in the batch; where an example has fewer regions, its masks are True behind them.
        """

    def __repr__(self) -> str:  # goes into what a search on disk is checked against: no addresses
        return f"{type(self).__qualname__}({', '.join(f'{name}={value!r}' for name, value in vars(self).items())})"

    def exists(self, batch: Batch, width: int | None = None) -> Tensor:
        """(B, width) bool: which regions the examples have; `width` is by default the largest count."""
        n = self.count(batch)
        return torch.arange(int(n.max()) if width is None else width, device=n.device) < n[:, None]

    def variants(
        self, batch: Batch, n_regions: Tensor, rows: Tensor, indices: Tensor, sampler: Sampler
    ) -> tuple[Batch, Tensor]:
        """Variants `indices` (N,) of the examples `rows` (N,) of `batch`, and how much of each region they keep (N, R).

        Override it only to be faster. `n_regions` (B,) is `count(batch)`.
        """
        n = n_regions[rows]
        masks = sampler.masks(n, indices, batch.ids[rows], grid=self.grid, width=int(n.max()))
        return self.hide(batch.select(rows), masks), masks


@dataclass(frozen=True)
class TokenRegions(Regions):
    """Every real token is a region; hiding it replaces its id, as the released code does (by id 0, `<unk>`).

    Args:
        hidden_id: the word id that stands for a hidden token.
    """

    hidden_id: int = 0

    def count(self, batch: Batch) -> Tensor:
        """(B,) int64: the sentence lengths."""
        if batch.lengths is None:
            raise ValueError("TokenRegions needs a batch with tokens and lengths, this one has none")
        return batch.lengths

    def hide(self, batch: Batch, masks: Tensor) -> Batch:
        """`batch` with the tokens hidden where `masks` (B, T) is False; padding stays what it is."""
        masks = F.pad(masks, (0, batch.tokens.shape[1] - masks.shape[1]), value=True)
        exists = self.exists(batch, masks.shape[1])
        return batch.replace(tokens=torch.where(masks | ~exists, batch.tokens, self.hidden_id))


@dataclass(frozen=True)
class ImageGrid(Regions):
    """Every cell of a grid laid over the image is a region; hiding it paints it over. Our design.

    Args:
        grid: (rows, columns); must divide the image's height and width.
        fill: `mean` (the image's own mean colour), `zero`, `blur` (the image, strongly blurred) or a colour: one
            number per channel, in the scale of the image tensor.

    A ValueError on an unknown fill, or when the grid does not divide the image.
    """

    grid: tuple[int, int] = (8, 8)
    fill: str | tuple[float, ...] = "mean"

    def __post_init__(self) -> None:
        words = ("mean", "zero", "blur")
        if self.fill not in words and (isinstance(self.fill, str) or not torch.tensor(self.fill).isfinite().all()):
            raise ValueError(f"unknown fill {self.fill!r}: expected {', '.join(words)} or a finite number per channel")
        if len(self.grid) != 2 or min(self.grid) < 1:
            raise ValueError(f"grid must be (rows, columns), both at least 1, got {self.grid}")

    def count(self, batch: Batch) -> Tensor:
        """(B,) int64: rows x columns for every example."""
        if batch.image is None and batch.features is None:
            raise ValueError("ImageGrid needs a batch with images, this one has none")
        if batch.image is not None:  # features made of images beforehand are counted, never hidden
            height, width = batch.image.shape[-2:]
            if height % self.grid[0] or width % self.grid[1]:
                raise ValueError(
                    f"a grid of {self.grid[0]}x{self.grid[1]} cells does not divide {height}x{width} images"
                )
        return torch.full((len(batch),), self.grid[0] * self.grid[1], dtype=torch.long, device=batch.device)

    def filling(self, image: Tensor) -> Tensor:
        """What hidden cells of `image` (B, channels, H, W) show; broadcastable to it."""
        if self.fill == "zero":
            return image.new_zeros(1)
        if self.fill == "mean":
            return image.mean((-2, -1), keepdim=True)
        if self.fill == "blur":
            return _blurred(image)
        colour = torch.tensor(self.fill, dtype=image.dtype, device=image.device)
        if colour.numel() not in (1, image.shape[1]):
            raise ValueError(f"fill has {colour.numel()} numbers, the images have {image.shape[1]} channels")
        return colour.view(1, -1, 1, 1)

    def hide(self, batch: Batch, masks: Tensor) -> Batch:
        """`batch` painted over where `masks` is False: (B, R) cells, or (B, H, W) in [0, 1] for smooth masks."""
        if masks.dim() == 2:
            masks = enlarge(masks > 0, self.grid, tuple(batch.image.shape[-2:]))
        return batch.replace(image=_mixed(batch.image, self.filling(batch.image), masks[:, None]))

    def variants(
        self, batch: Batch, n_regions: Tensor, rows: Tensor, indices: Tensor, sampler: Sampler
    ) -> tuple[Batch, Tensor]:
        """As in `Regions`; samplers that shade pixels (`shades`: RISE) keep the mean of their mask over each cell."""
        # Images are filled once, however many variants of them there are.
        images, places = rows.unique(return_inverse=True)
        image, size = batch.image[images], tuple(batch.image.shape[-2:])
        fill, fused = self.filling(image), FUSED.get(image.device.type)
        painted = fused and fused(image, fill, places, indices, batch.ids[images], sampler, self.grid)
        pixels = None
        if not hasattr(sampler, "shades"):
            n = n_regions[rows]
            masks = sampler.masks(n, indices, batch.ids[rows], grid=self.grid, width=self.grid[0] * self.grid[1])
        elif painted is not None:
            masks = sampler.cell_means(size, self.grid, indices, batch.ids[rows])
        else:
            pixels, masks = sampler.shades(size, self.grid, indices, batch.ids[rows])
        if painted is None:
            painted = paint(image, fill, places, enlarge(masks, self.grid, size) if pixels is None else pixels)
        return batch.replace(image=None).select(rows).replace(image=painted), masks


def default_regions(batch: Batch) -> Regions:
    """Tokens for text, an 8x8 image grid for anything with an image."""
    return TokenRegions() if batch.image is None and batch.features is None else ImageGrid()


def paint(image: Tensor, fill: Tensor, rows: Tensor, pixels: Tensor) -> Tensor:
    """Variants of images: what the mask keeps is the image's, the rest the fill's.

    Args:
        image: (B, channels, H, W) float.
        fill: what hidden pixels show; of the same type, broadcastable to the images.
        rows: (N,) int64 in [0, B), which image each variant is of.
        pixels: (N, H, W) bool, True = kept; or float32 m in [0, 1]: then m * image + (1 - m) * fill, computed in
            float32 (float64 for float64 images) and rounded once to the type of the image.

    Returns:
        (N, channels, H, W) of the type of the image.
    """
    fill = fill.expand(image.shape)
    if rows.device.type != "cpu":  # one kernel for everything; looking at the rows would wait for the device
        return _mixed(image[rows], fill[rows], pixels[:, None])
    # Variants of one image are painted from that image where it lies, instead of from copies of it.
    out = image.new_empty(len(rows), *image.shape[1:])
    images, counts = torch.unique_consecutive(rows, return_counts=True)
    stops = counts.cumsum(0).tolist()
    for row, start, stop in zip(images.tolist(), [0, *stops], stops, strict=False):
        out[start:stop] = _mixed(image[row], fill[row], pixels[start:stop, None])
    return out


def _mixed(image: Tensor, fill: Tensor, mask: Tensor) -> Tensor:
    if mask.dtype == torch.bool:
        return torch.where(mask, image, fill)
    wide = torch.promote_types(image.dtype, torch.float32)
    return (mask * image.to(wide) + (1 - mask) * fill.to(wide)).to(image.dtype)


def enlarge(cells: Tensor, grid: tuple[int, int], size: tuple[int, int]) -> Tensor:
    """Masks (N, rows x columns) of the cells of `grid` as masks (N, H, W) of the pixels of `size`."""
    tall, wide = size[0] // grid[0], size[1] // grid[1]
    return cells.unflatten(1, tuple(grid)).repeat_interleave(tall, 1).repeat_interleave(wide, 2)


def _blurred(image: Tensor) -> Tensor:
    """Gaussian blur over half the image, sigma an eighth of it: colours survive, shapes do not."""
    for axis in (-1, -2):
        side = image.shape[axis]
        place = torch.arange(-(side // 4), side // 4 + 1, dtype=torch.float64, device=image.device)
        weight = torch.exp(-((place / max(side / 8, 1e-3)) ** 2) / 2)
        weight = (weight / weight.sum()).to(image.dtype).view(1, 1, -1)
        lines = image.movedim(axis, -1)
        edges = F.pad(lines.flatten(0, -2)[:, None], (side // 4, side // 4), mode="reflect")
        image = F.conv1d(edges, weight)[:, 0].view(lines.shape).movedim(-1, axis)
    return image
