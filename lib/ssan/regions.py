"""How an input is divided into regions, and how a mask hides a region."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from ssan.accel.fused_masks import masked_variants, serves
from ssan.accel.painting import enlarge, paint
from ssan.batch import Batch


@dataclass(frozen=True)
class Encoded:
    """A batch after `model.encode`: what `model.attend` needs, so that feature masks rerun only the attention part.

    Attributes:
        features: (B, R, D), one vector per region.
        context: (B, Q), what the attention is conditioned on (the question), or None.
    """

    features: Tensor
    context: Tensor | None = None

    def select(self, rows: Tensor) -> Encoded:
        """The examples at `rows`."""
        return Encoded(self.features[rows], None if self.context is None else self.context[rows])


class Regions(Protocol):
    """A way of dividing an input. `on_features` says whether masks act on the batch or on what `encode` made of it."""

    on_features: bool

    def count(self, batch: Batch) -> Tensor:
        """(B,) int64: how many regions each example has."""

    def variants(self, source, batch: Batch, rows: Tensor, indices: Tensor, sampler):
        """The variants `indices` of the examples `rows`: (source with masks applied, kept (N, R))."""


def _check_grid(grid: tuple[int, int]) -> None:
    if len(grid) != 2 or min(grid) < 1:
        raise ValueError(f"grid must be (rows, columns), both at least 1, got {grid}")


def _masks(regions: Regions, batch: Batch, rows: Tensor, indices: Tensor, sampler, width: int) -> Tensor:
    return sampler.masks(regions.count(batch)[rows], indices, batch.ids[rows], width=width)


@dataclass(frozen=True)
class TokenRegions:
    """Every real token is a region; hiding it replaces its id, as the released code does (by id 0, `<unk>`).

    Args:
        hidden_id: the word id that stands for a hidden token.
    """

    hidden_id: int = 0
    on_features: bool = False

    def count(self, batch: Batch) -> Tensor:
        """(B,) int64: the sentence lengths."""
        if batch.lengths is None:
            raise ValueError("TokenRegions needs a batch with tokens and lengths, this one has none")
        return batch.lengths

    def hide(self, batch: Batch, masks: Tensor) -> Batch:
        """`batch` with the tokens hidden where `masks` (B, T) is False; padding stays what it is."""
        exists = torch.arange(masks.shape[1], device=masks.device) < batch.lengths[:, None]
        return batch.replace(tokens=torch.where(masks | ~exists, batch.tokens, self.hidden_id))

    def variants(self, source: Batch, batch: Batch, rows: Tensor, indices: Tensor, sampler) -> tuple[Batch, Tensor]:
        """Variants `indices` (N,) of the examples `rows` (N,), and their masks (N, T), T the longest of them."""
        chosen = source.select(rows)
        masks = _masks(self, batch, rows, indices, sampler, chosen.tokens.shape[1])
        return self.hide(chosen, masks), masks


@dataclass(frozen=True)
class ImageGrid:
    """Every cell of a grid laid over the image is a region; hiding it paints it over. Our design.

    Args:
        grid: (rows, columns); must divide the image's height and width.
        fill: `mean` (the image's own mean colour), `zero`, `blur` (the image, strongly blurred) or a colour: one
            number per channel, in the scale of the image tensor.

    Raises:
        ValueError: on an unknown fill, or when the grid does not divide the image.
    """

    grid: tuple[int, int] = (8, 8)
    fill: str | tuple[float, ...] = "mean"
    on_features: bool = False

    def __post_init__(self) -> None:
        if isinstance(self.fill, str) and self.fill not in ("mean", "zero", "blur"):
            raise ValueError(f"unknown fill {self.fill!r}: expected 'mean', 'zero', 'blur' or one number per channel")
        _check_grid(self.grid)

    def count(self, batch: Batch) -> Tensor:
        """(B,) int64: rows x columns for every example."""
        self._check(batch)
        return torch.full((len(batch),), self.grid[0] * self.grid[1], dtype=torch.long, device=batch.device)

    def _check(self, batch: Batch) -> None:
        if batch.image is None:
            raise ValueError("ImageGrid needs a batch with images, this one has none")
        height, width = batch.image.shape[-2:]
        if height % self.grid[0] or width % self.grid[1]:
            raise ValueError(f"a grid of {self.grid[0]}x{self.grid[1]} cells does not divide {height}x{width} images")

    def filling(self, image: Tensor) -> Tensor:
        """What hidden cells of `image` (B, channels, H, W) show; broadcastable to it."""
        if self.fill == "zero":
            return image.new_zeros(1)
        if self.fill == "mean":
            return image.mean((-2, -1), keepdim=True)
        if self.fill == "blur":
            # Imported where it is used: it takes as long to import as all the rest.
            from torchvision.transforms.v2.functional import gaussian_blur

            # A kernel of half the image with sigma an eighth of it: colours survive, shapes do not.
            kernel = [2 * (side // 4) + 1 for side in image.shape[-1:-3:-1]]
            return gaussian_blur(image, kernel, [max(side / 8, 1e-3) for side in image.shape[-1:-3:-1]])
        colour = torch.tensor(self.fill, dtype=image.dtype, device=image.device)
        if colour.numel() not in (1, image.shape[1]):
            raise ValueError(f"fill has {colour.numel()} numbers, the images have {image.shape[1]} channels")
        return colour.view(1, -1, 1, 1)

    def hide(self, batch: Batch, masks: Tensor) -> Batch:
        """`batch` painted over where `masks` is False: (B, R) cells, or (B, H, W) in [0, 1] for smooth masks."""
        height, width = batch.image.shape[-2:]
        if masks.dim() == 2:
            cells = masks.view(-1, 1, *self.grid).to(batch.image.dtype)
            pixels = cells.repeat_interleave(height // self.grid[0], 2).repeat_interleave(width // self.grid[1], 3)
            image = torch.where(pixels > 0, batch.image, self.filling(batch.image))
        else:
            pixels = masks[:, None]
            mixed = pixels * batch.image + (1 - pixels) * self.filling(batch.image)
            image = mixed.to(batch.image.dtype)
        return batch.replace(image=image)

    def variants(self, source: Batch, batch: Batch, rows: Tensor, indices: Tensor, sampler) -> tuple[Batch, Tensor]:
        """Variants `indices` (N,) of the examples `rows` (N,), and how much of each cell is kept: (N, R).

        That is bool, or for samplers that shade pixels (`pixel_masks`, `cell_means`: RISE) the mean of the mask over
        the cell.
        """
        # Images are filled once, however many variants of them there are.
        own, places = rows.unique(return_inverse=True)
        image, names, size = source.image[own], batch.ids[rows], tuple(source.image.shape[-2:])
        fill, smooth = self.filling(image), hasattr(sampler, "pixel_masks")
        pixels = None
        if not smooth:
            masks = _masks(self, batch, rows, indices, sampler, self.grid[0] * self.grid[1])
        elif image.is_cuda and serves(sampler):
            masks = sampler.cell_means(size, self.grid, indices, names)
        else:
            pixels, masks = sampler.shades(size, self.grid, indices, names)
        if image.is_cuda and serves(sampler):  # the kernel draws masks faster than memory holds them
            painted = masked_variants(image, fill, places, indices, batch.ids[own], sampler, self.grid)
        else:
            painted = paint(image, fill, places, enlarge(masks, self.grid, size) if pixels is None else pixels)
        return source.replace(image=None).select(rows).replace(image=painted), masks


@dataclass(frozen=True)
class FeatureGrid:
    """Every cell of the CNN feature map is a region; hiding it replaces its feature vector. Our design.

    The model must expose `encode(batch) -> Encoded` and `attend(encoded) -> Output`.

    Args:
        grid: (rows, columns) of the feature map.
        fill: `zero`, or `mean` (the example's own mean feature).

    Raises:
        ValueError: on an unknown fill, or (from `hide`) features of another number of regions.
    """

    grid: tuple[int, int] = (8, 8)
    fill: str = "zero"
    on_features: bool = True

    def __post_init__(self) -> None:
        if self.fill not in ("zero", "mean"):
            raise ValueError(f"unknown fill {self.fill!r}: expected 'zero' or 'mean'")
        _check_grid(self.grid)

    def count(self, batch: Batch) -> Tensor:
        """(B,) int64: rows x columns for every example."""
        return torch.full((len(batch),), self.grid[0] * self.grid[1], dtype=torch.long, device=batch.device)

    def hide(self, encoded: Encoded, masks: Tensor) -> Encoded:
        """`encoded` with the feature vectors replaced where `masks` (B, R) is False."""
        features = encoded.features
        if features.shape[1] != self.grid[0] * self.grid[1]:
            raise ValueError(f"FeatureGrid {self.grid} does not fit features of {features.shape[1]} regions")
        fill = features.mean(1, keepdim=True) if self.fill == "mean" else features.new_zeros(1)
        return Encoded(torch.where(masks[..., None], features, fill), encoded.context)

    def variants(self, source: Encoded, batch: Batch, rows: Tensor, indices: Tensor, sampler) -> tuple[Encoded, Tensor]:
        """Variants `indices` (N,) of the examples `rows` (N,), and their masks (N, R)."""
        masks = _masks(self, batch, rows, indices, sampler, self.grid[0] * self.grid[1])
        return self.hide(source.select(rows), masks), masks


def default_regions(batch: Batch) -> Regions:
    """Tokens for text, an 8x8 image grid for anything with an image."""
    return TokenRegions() if batch.image is None else ImageGrid()
