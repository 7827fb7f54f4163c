"""Splits with images: kept as bytes, made into float batches when selected."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

import torch
from torch import Tensor

from ssan.task import Batch

_PER_EXAMPLE = ("tokens", "lengths", "boxes", "others", "kind")
_PER_IMAGE = ("presence", "features")


@dataclass(frozen=True)
class ImageSplit:
    """Examples that each look at one image; several examples (questions) may share an image. A `Split`.

    Bytes take a quarter of the memory of floats, and images shared by several questions are held once.

    Attributes:
        ids: (N,) int64, names of the examples.
        label: (N,) int64.
        images: (M, channels, H, W) uint8, 1 or 3 channels.
        image_of: (N,) int64, which image each example looks at.
        tokens: (N, T) int64 word ids, or None.
        lengths: (N,) int64 number of real tokens, or None.
        boxes: (N, K, 4), (x0, y0, x1, y1) in pixels, x1 and y1 exclusive; unused slots all zero. Or None.
        others: (N, J, 4), the same of other objects in the image, which the label does not depend on. Or None.
        kind: (N,) int64, or None.
        presence: (M, P) float, what is to be seen somewhere in each image: 1 yes, 0 no, NaN unknown. Labels of whole
            images, without positions; a CNN may be pretrained on them. Or None.
        mean, std: per channel, or one number: batches hold (pixel / 255 - mean) / std.
        features: (M, R, D), what a frozen network makes of each image; batches hold it in place of the images. Or None.

    A ValueError if images are not bytes of 1 or 3 channels, a box leaves its image or is turned inside out, or the
    fields do not fit each other.
    """

    ids: Tensor
    label: Tensor
    images: Tensor
    image_of: Tensor
    tokens: Tensor | None = None
    lengths: Tensor | None = None
    boxes: Tensor | None = None
    kind: Tensor | None = None
    presence: Tensor | None = None
    mean: tuple[float, ...] = (0.0,)
    std: tuple[float, ...] = (1.0,)
    features: Tensor | None = None
    others: Tensor | None = None

    def __post_init__(self) -> None:
        if self.images.dim() != 4 or self.images.shape[1] not in (1, 3):
            raise ValueError(f"images must be (M, 1 or 3, H, W), got shape {tuple(self.images.shape)}")
        if self.images.dtype != torch.uint8:
            raise ValueError(f"images must be uint8 in [0, 255], got {self.images.dtype}: convert and round them first")
        per_example = (*_PER_EXAMPLE, "label", "image_of")
        for names, count, thing in ((per_example, len(self.ids), "examples"), (_PER_IMAGE, len(self.images), "images")):
            for name in names:
                value = getattr(self, name)
                if value is not None and len(value) != count:
                    raise ValueError(f"{name} describes {len(value)} {thing}, there are {count}")
        if self.image_of.dtype != torch.int64:
            raise ValueError(f"image_of must be int64, got {self.image_of.dtype}")
        low, high = (int(end) for end in self.image_of.aminmax()) if len(self) else (0, 0)
        if len(self) and not 0 <= low <= high < len(self.images):
            raise ValueError(f"image_of runs from {low} to {high}, but there are {len(self.images)} images")
        for name in ("mean", "std"):
            if len(getattr(self, name)) not in (1, self.images.shape[1]):
                raise ValueError(f"{name} has {len(getattr(self, name))} numbers for {self.images.shape[1]} channels")
        for boxes in (self.boxes, self.others):
            if boxes is not None:
                check_boxes(boxes, self.images.shape[-2], self.images.shape[-1], self.ids)

    def __len__(self) -> int:
        return len(self.ids)

    def select(self, rows: Tensor | slice | list[int]) -> Batch:
        """The examples at `rows` (indices, a slice or a bool mask) with float images, as a batch in memory."""
        if isinstance(rows, list):
            rows = torch.tensor(rows, dtype=torch.long)
        fields = {name: getattr(self, name)[rows] for name in _PER_EXAMPLE if getattr(self, name) is not None}
        if "tokens" in fields and fields["lengths"].numel():
            fields["tokens"] = fields["tokens"][:, : int(fields["lengths"].max())]
        shown = self.image_of[rows]
        if self.features is not None:
            fields["features"] = self.features[shown]
        else:
            fields["image"] = as_float(self.images[shown], self.mean, self.std)
        return Batch(ids=self.ids[rows], label=self.label[rows], **fields)

    def part(self, rows: Tensor) -> ImageSplit:
        """A split of the examples at `rows` (indices) alone, with the images they look at."""
        used, image_of = self.image_of[rows].unique(return_inverse=True)
        places = dict.fromkeys(("ids", "label", *_PER_EXAMPLE), rows) | dict.fromkeys(("images", *_PER_IMAGE), used)
        fields = {name: getattr(self, name)[at] for name, at in places.items() if getattr(self, name) is not None}
        return dataclasses.replace(self, image_of=image_of, **fields)


def as_float(images: Tensor, mean: tuple[float, ...] = (0.0,), std: tuple[float, ...] = (1.0,)) -> Tensor:
    """(pixel / 255 - mean) / std: (B, channels, H, W) bytes -> float."""
    image = images.float() / 255
    if mean == (0.0,) and std == (1.0,):
        return image
    return (image - torch.tensor(mean).view(1, -1, 1, 1)) / torch.tensor(std).view(1, -1, 1, 1)


def check_boxes(boxes: Tensor, height: int, width: int, ids: Tensor) -> None:
    """Raise a ValueError that names the first example of (N, K, 4) `boxes` with one that does not lie in its image."""
    if boxes.dim() != 3 or boxes.shape[-1] != 4:
        raise ValueError(f"boxes must be (N, K, 4): x0, y0, x1, y1; got shape {tuple(boxes.shape)}")
    x0, y0, x1, y1 = boxes.unbind(-1)
    good = (x0 >= 0) & (y0 >= 0) & (x1 <= width) & (y1 <= height) & (x0 < x1) & (y0 < y1)
    bad = ~(good | (boxes == 0).all(-1))
    if bad.any():
        row, slot = bad.nonzero()[0].tolist()
        raise ValueError(
            f"box {boxes[row, slot].tolist()} of example {int(ids[row])} does not lie in its {width}x{height} image: "
            "expected 0 <= x0 < x1 <= width and 0 <= y0 < y1 <= height, or all zero for an unused slot"
        )


def check_grid(grid: tuple[int, int], size: tuple[int, int]) -> None:
    """Raise ValueError unless `grid` (rows, columns) divides images of `size` (height, width)."""
    if min(grid) < 1 or size[0] % grid[0] or size[1] % grid[1]:
        raise ValueError(f"a grid of {grid[0]}x{grid[1]} cells does not divide {size[0]}x{size[1]} images")
