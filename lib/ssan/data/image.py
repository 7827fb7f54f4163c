"""Cluttered Fashion-MNIST: small items somewhere on a canvas among fragments of other items, each with its box."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor
from torchvision.datasets import FashionMNIST

from ssan.data.fetching import fetch
from ssan.data.pixels import ImageSplit, check_grid
from ssan.regions import ImageGrid
from ssan.task import Task

FASHION = ("T-shirt", "trouser", "pullover", "dress", "coat", "sandal", "shirt", "sneaker", "bag", "ankle boot")

# How many items fragments are cut from: the same ones however many images are made.
_POOL = 5000
# Canvases are drawn in chunks, each from its own stream, so that n canvases are the first n of any larger number.
CHUNK = 250


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
    """Fashion-MNIST items, small and somewhere among fragments of other items, in the manner of cluttered MNIST.

    Images are (1, size, size) floats in [0, 1] on a black ground, so that the default fill 0 is the ground itself. Test
    items and their fragments come from Fashion-MNIST's test split, validation ones from training items set aside for
    it. Example ids are places in a random order of the source split, the same in every subset. `others` of the splits
    are the boxes of the fragments, which are cuts rather than whole objects and may lie over each other.

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
        ValueError: if a file is damaged, a number is out of range, or the grid does not divide the image.
    """
    check_grid(grid, (size, size))
    if seed < 0:
        raise ValueError(f"seed must not be negative, got {seed}")
    root = fetch("fashion_mnist") if root is None else root
    try:
        sources = {train: FashionMNIST(root, train=train) for train in (True, False)}
    except RuntimeError as error:
        raise FileNotFoundError(f"no Fashion-MNIST under {root}: expected FashionMNIST/raw/*-ubyte there") from error
    except Exception as error:  # torchvision meets damage with errors of many kinds
        raise ValueError(
            f"the files of Fashion-MNIST under {root} are damaged ({error!r}): fetch them again"
        ) from error
    if any(each.data.dim() != 3 or each.targets.shape != each.data.shape[:1] for each in sources.values()):
        raise ValueError(f"images and labels of Fashion-MNIST under {root} do not fit each other: fetch them again")
    order = {}
    for train, source in sources.items():
        order[train] = torch.from_numpy(np.random.default_rng([seed, 3 + train]).permutation(len(source)))
    most = len(order[True]) - n_valid

    def split(name: str, stream: int, train: bool, start: int, end: int, n: int) -> ImageSplit:
        limit = most if train else len(order[False])
        if not 1 <= n <= limit:
            raise ValueError(f"{name} must be in [1, {limit}], got {n}")
        chosen = order[train][start:end]
        items = shrink(sources[train].data[chosen[: max(n, _POOL)]], item).numpy()
        geometry = {"size": size, "n_fragments": n_fragments, "fragment": fragment}
        places = np.where(np.arange(n) < _POOL, np.arange(n), -1)
        images, boxes, others = scatter(items[:n], items[:_POOL], places, seed=seed, stream=stream, **geometry)
        return ImageSplit(
            ids=torch.arange(start, start + n),
            label=sources[train].targets[chosen[:n]],
            images=torch.from_numpy(images),
            image_of=torch.arange(n),
            boxes=torch.from_numpy(boxes).float(),
            others=torch.from_numpy(others).float(),
        )

    return Task(
        name="cluttered_fashion",
        train=split("n_train", 0, True, 0, most, n_train),
        valid=split("n_valid", 1, True, most, most + n_valid, n_valid),
        test=split("n_test", 2, False, 0, len(order[False]), n_test),
        class_names=FASHION,
        regions=ImageGrid(grid, fill),
    )


def shrink(items: Tensor, side: int) -> Tensor:
    """(M, H, W) uint8 -> (M, side, side) uint8, bilinear with antialiasing."""
    small = F.interpolate(items[:, None].float(), size=(side, side), mode="bilinear", antialias=True)
    return small.squeeze(1).round().clamp(0, 255).to(torch.uint8)


def scatter(
    items: np.ndarray,
    pool: np.ndarray,
    places: np.ndarray,
    *,
    seed: int,
    stream: int,
    size: int = 64,
    n_fragments: int = 16,
    fragment: int = 8,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Put each item at a random place of its own canvas, among fragments of other items.

    Fragments are square cuts of whole items, from random places; they keep off the item's box and, where they meet
    each other, the brighter pixel shows.

    Args:
        items: (N, side, side) uint8, the items.
        pool: (M, side, side) uint8, what fragments are cut from.
        places: (N,) the place of each item in the pool, so that none is cluttered by itself; -1 if it is not in there.
        seed, stream: name the data set and the split; canvases of different streams are drawn independently.
        size, n_fragments, fragment: see `cluttered_fashion_task`.

    Returns:
        canvases (N, 1, size, size) uint8, boxes (N, 1, 4) int64: (x0, y0, x1, y1) of the items, x1 and y1 exclusive,
        and those of the fragments (N, n_fragments, 4). Canvas i depends on (seed, stream, i), item i and the pool.

    A ValueError if item and fragments do not fit on the canvas beside each other, or the pool is too small.
    """
    side = items.shape[-1]
    if not 1 <= fragment <= side or side + 2 * fragment > size or n_fragments < 0:
        raise ValueError(
            f"items of {side} and {n_fragments} fragments of {fragment} pixels do not fit a canvas of {size}: "
            "expected 1 <= fragment <= item and item + 2 fragments <= canvas"
        )
    if len(pool) < 2:
        raise ValueError(f"fragments come from other items: the pool needs at least 2, it has {len(pool)}")
    images = np.zeros((len(items), size, size), dtype=np.uint8)
    corners = np.empty((len(items), 1, 2), dtype=np.int64)
    others = np.empty((len(items), n_fragments, 2), dtype=np.int64)
    for start in range(0, len(items), CHUNK):
        generator = np.random.default_rng([seed, stream, start // CHUNK])
        here, n = slice(start, start + CHUNK), len(items) - start
        # Numbers are always drawn for a whole chunk, so that a shorter last one repeats the beginning of a full one.
        corner = generator.integers(size - side + 1, size=(CHUNK, 2))
        corners[here, 0] = corner[:n]
        for k in range(n_fragments):
            inside = places[here] >= 0
            source = (generator.random(CHUNK)[:n] * (len(pool) - inside)).astype(np.int64)
            source += inside & (source >= places[here])  # passes over the item itself
            cut = generator.integers(side - fragment + 1, size=(CHUNK, 2))[:n]
            place = _beside(generator, corner, side, fragment, size)[:n]
            others[here, k] = place
            _brighten(images[here], place, pool[source[:, None, None], *_window(cut, fragment)])
        _brighten(images[here], corners[here, 0], items[here])
    boxes = (np.concatenate([at, at + width], axis=2) for at, width in ((corners, side), (others, fragment)))
    return images[:, None], *boxes


def _beside(generator: np.random.Generator, item: np.ndarray, side: int, fragment: int, size: int) -> np.ndarray:
    """(CHUNK, 2) corners (x, y), uniform among the places where a fragment does not touch the item's box."""
    place = np.empty_like(item)
    sought = np.ones(len(item), dtype=bool)
    while sought.any():
        proposed = generator.integers(size - fragment + 1, size=item.shape)
        place[sought] = proposed[sought]
        sought &= ((place > item - fragment) & (place < item + side)).all(1)
    return place


def _window(corner: np.ndarray, side: int) -> tuple[np.ndarray, np.ndarray]:
    """Rows and columns of the pixels of squares at corners (n, 2), (x, y): together an index (n, side, side)."""
    step = np.arange(side)
    return corner[:, 1, None, None] + step[:, None], corner[:, 0, None, None] + step


def _brighten(canvas: np.ndarray, corner: np.ndarray, patch: np.ndarray) -> None:
    """Write patches (n, side, side) at corners (x, y) into canvases (n, size, size), in place, the brighter wins."""
    at = (np.arange(len(canvas))[:, None, None], *_window(corner, patch.shape[-1]))
    canvas[at] = np.maximum(canvas[at], patch)
