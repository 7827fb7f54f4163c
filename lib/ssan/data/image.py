"""Image classification as tasks: cluttered Fashion-MNIST (with boxes), CIFAR-10 and CIFAR-100."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torchvision.datasets import CIFAR10, CIFAR100, FashionMNIST

from ssan.batch import Batch
from ssan.data.clutter import scatter, shrink
from ssan.data.pixels import ImageSplit, check_grid
from ssan.data.task import Task
from ssan.regions import ImageGrid

FASHION = ("T-shirt", "trouser", "pullover", "dress", "coat", "sandal", "shirt", "sneaker", "bag", "ankle boot")

# How many items fragments are cut from: the same ones however many images are made.
_POOL = 5000


def cluttered_fashion_task(
    n_train: int = 1000,
    *,
    n_valid: int = 1000,
    n_test: int = 2000,
    seed: int = 0,
    root: str | Path | None = None,
    item: int = 16,
    n_fragments: int = 16,
    fragment: int = 8,
    size: int = 64,
    grid: tuple[int, int] = (8, 8),
    fill: str = "zero",
) -> Task:
    """Fashion-MNIST items, small and somewhere among fragments of other items, each with the box of the item.

    Images are (1, size, size) floats in [0, 1] on a black ground, so that the default fill 0 is the ground itself. Test
    items and their fragments come from Fashion-MNIST's test split, validation ones from training items set aside for
    it. Example ids are places in a random order of the source split, the same in every subset.

    Args:
        n_train: number of training images; smaller training sets of one seed are the beginnings of larger ones.
        n_valid, n_test: numbers of images.
        seed: names the data set.
        root: folder that holds `FashionMNIST/raw`; None fetches it.
        item: side of the shrunk item in pixels. At Fashion-MNIST's own 28 the item is found without any help.
        n_fragments, fragment: how many fragments, and their side in pixels.
        size: side of the image in pixels.
        grid, fill: of the regions that masks hide by default, see `ssan.regions.ImageGrid`.

    Raises:
        FileNotFoundError: if the folder does not hold the data set.
        ValueError: if a number is out of range, or the grid does not divide the image.
    """
    check_grid(grid, (size, size))
    if seed < 0:
        raise ValueError(f"seed must not be negative, got {seed}")
    if root is None:
        from ssan.data.fetching import fetch

        root = fetch("fashion_mnist")
    try:
        sources = {train: FashionMNIST(root, train=train) for train in (True, False)}
    except RuntimeError as error:
        raise FileNotFoundError(
            f"no Fashion-MNIST under {root}: expected FashionMNIST/raw/*-ubyte there; leave root out to fetch it"
        ) from error
    order = {
        train: np.random.default_rng([seed, 3 + train]).permutation(len(source)) for train, source in sources.items()
    }
    most, n_items = len(order[True]) - n_valid, len(order[False])
    for name, n, limit in (
        ("n_train", n_train, most),
        ("n_valid", n_valid, most),
        ("n_test", n_test, n_items),
    ):
        if not 1 <= n <= limit:
            raise ValueError(f"{name} must be in [1, {limit}], got {n}")

    def split(stream: int, train: bool, start: int, end: int, n: int) -> ImageSplit:
        chosen = torch.from_numpy(order[train][start:end])
        pool = shrink(sources[train].data[chosen[:_POOL]], item).numpy()
        place = np.arange(n)
        canvases = scatter(
            shrink(sources[train].data[chosen[:n]], item).numpy(),
            pool,
            np.where(place < len(pool), place, -1),
            seed=seed,
            stream=stream,
            size=size,
            n_fragments=n_fragments,
            fragment=fragment,
        )
        return ImageSplit(
            ids=torch.arange(start, start + n),
            label=sources[train].targets[chosen[:n]],
            images=torch.from_numpy(canvases.images),
            image_of=torch.arange(n),
            boxes=torch.from_numpy(canvases.boxes).float(),
        )

    return Task(
        name="cluttered_fashion",
        train=split(0, True, 0, most, n_train),
        valid=split(1, True, most, most + n_valid, n_valid),
        test=split(2, False, 0, n_items, n_test),
        class_names=FASHION,
        regions=ImageGrid(grid, fill),
    )


@dataclass(frozen=True)
class CropFlip:
    """Pad, cut back to size at a random place, mirror half of the images: the augmentation of CIFAR recipes.

    Called with a batch and a generator, as `Task.augment` is; what it does is a pure function of the two.

    Attributes:
        pad: pixels on every side.
        fill: what the padding shows, one number per channel in the scale of the images.
        flip: mirror left and right with probability one half.
    """

    pad: int = 4
    fill: tuple[float, ...] = (0.0,)
    flip: bool = True

    def __call__(self, batch: Batch, generator: torch.Generator) -> Batch:
        """The augmented batch.

        Raises:
            ValueError: if the batch has no images, or has boxes, which would no longer fit.
        """
        if batch.image is None or batch.boxes is not None:
            raise ValueError("CropFlip needs a batch with images and without boxes, which it would not move along")
        n, channels, height, width = batch.image.shape
        # Drawn on the CPU: the generator of the batch order lives there whatever the images' device.
        top, left = torch.randint(2 * self.pad + 1, (2, n), generator=generator).to(batch.device)
        mirrored = (torch.rand(n, generator=generator) < 0.5).to(batch.device) & self.flip
        fill = batch.image.new_tensor(self.fill).view(1, -1, 1, 1)
        padded = fill.expand(n, channels, height + 2 * self.pad, width + 2 * self.pad).clone()
        padded[:, :, self.pad : self.pad + height, self.pad : self.pad + width] = batch.image
        column = torch.arange(width, device=batch.device)
        column = left[:, None] + torch.where(mirrored[:, None], column.flip(0), column)
        row = top[:, None] + torch.arange(height, device=batch.device)
        example = torch.arange(n, device=batch.device)[:, None, None]
        cropped = padded.permute(0, 2, 3, 1)[example, row[:, :, None], column[:, None, :]]
        return batch.replace(image=cropped.permute(0, 3, 1, 2).contiguous())


_CIFAR = {
    # Mean and standard deviation of the training pixels per channel, as published recipes use them.
    "cifar10": (CIFAR10, (0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616)),
    "cifar100": (CIFAR100, (0.5071, 0.4865, 0.4409), (0.2673, 0.2564, 0.2762)),
}


def cifar_task(
    name: str,
    root: str | Path,
    *,
    n_train: int | None = None,
    n_valid: int = 5000,
    seed: int = 0,
    grid: tuple[int, int] = (8, 8),
    download: bool = False,
) -> Task:
    """CIFAR-10 or CIFAR-100 through torchvision, augmented in training by padding 4, cropping and mirroring.

    Images are (3, 32, 32) floats, (pixel / 255 - mean) / std with the data set's own mean and std per channel; padding
    shows black, as it does where recipes normalise after cropping.

    Args:
        name: `cifar10` or `cifar100`.
        root: folder that holds, or shall hold, torchvision's copy.
        n_train: number of training images, nested for one seed; None takes all that validation leaves.
        n_valid: images of the training split set aside for validation.
        seed: decides which images these are.
        grid: of the regions that masks hide by default; must divide 32x32.
        download: let torchvision fetch what is missing.

    Raises:
        FileNotFoundError: if the data set is not there, or torchvision finds it damaged.
        ValueError: on an unknown name, a number out of range, or a grid that does not divide the image.
    """
    if name not in _CIFAR:
        raise ValueError(f"unknown data set {name!r}: expected one of {tuple(_CIFAR)}")
    check_grid(grid, (32, 32))
    source, mean, std = _CIFAR[name]
    try:
        sources = {train: source(root, train=train, download=download) for train in (True, False)}
    except RuntimeError as error:
        raise FileNotFoundError(f"no intact {name} under {root} ({error}); pass download=True to fetch it") from error
    order = torch.randperm(len(sources[True]), generator=torch.Generator().manual_seed(seed))
    most = len(order) - n_valid
    n_train = most if n_train is None else n_train
    if n_valid < 1 or not 1 <= n_train <= most:
        raise ValueError(
            f"n_train must be in [1, {most}] beside n_valid={n_valid} of {len(order)} images, got {n_train}"
        )

    def split(train: bool, chosen: Tensor) -> ImageSplit:
        return ImageSplit(
            ids=chosen,
            label=torch.tensor(sources[train].targets)[chosen],
            images=torch.from_numpy(sources[train].data).permute(0, 3, 1, 2)[chosen].contiguous(),
            image_of=torch.arange(len(chosen)),
            mean=mean,
            std=std,
        )

    return Task(
        name=name,
        train=split(True, order[:n_train].sort().values),
        valid=split(True, order[most:].sort().values),
        test=split(False, torch.arange(len(sources[False]))),
        class_names=tuple(sources[True].classes),
        regions=ImageGrid(grid, "mean"),
        augment=CropFlip(fill=tuple(-m / s for m, s in zip(mean, std, strict=True))),
    )
