"""The contract of samplers: how the variants of an input are numbered, and how their masks are asked for."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

import torch
from torch import Tensor

Grid = tuple[int, int]


def whole(name: str, value, at_least: int) -> None:
    """Raise a ValueError unless `value` is a whole number of at least `at_least`, and below 2**32."""
    if isinstance(value, bool) or not isinstance(value, int) or not at_least <= value < 2**32:
        raise ValueError(f"{name} must be a whole number of at least {at_least} and below 2**32, got {value!r}")


def pair(name: str, value, at_least: int = 1) -> None:
    """Raise a ValueError unless `value` is (rows, columns), both whole numbers of at least `at_least`."""
    if not isinstance(value, tuple) or len(value) != 2:
        raise ValueError(f"{name} must be (rows, columns), got {value!r}")
    for side in value:
        whole(name, side, at_least)


def _integers(name: str, value, device: torch.device | None = None) -> Tensor:
    try:
        tensor = value if isinstance(value, Tensor) else torch.as_tensor(value, device=device)
    except (OverflowError, RuntimeError) as error:
        raise ValueError(f"{name} must be an int, a list of ints or an integer tensor, got {value!r}") from error
    if tensor.dim() > 1 or (tensor.numel() and (tensor.is_floating_point() or tensor.dtype == torch.bool)):
        shape = tuple(tensor.shape)
        raise ValueError(f"{name} must be an int, a list of ints or an integer tensor (M,), got {tensor.dtype} {shape}")
    return tensor.to(device, torch.long)


@dataclass(frozen=True)
class Variants:
    """The variants of one call: (M,) int64 each on one device, the number of columns asked for, and the grid if any."""

    n: Tensor
    index: Tensor
    example_id: Tensor
    width: int
    grid: Grid | None

    @property
    def region(self) -> Tensor:
        """(width,) int64: 0, 1, 2, …"""
        return torch.arange(self.width, device=self.index.device)

    @property
    def beyond(self) -> Tensor:
        """(M, width) bool: where there is no region."""
        return self.region >= self.n[:, None]


class Sampler(ABC):
    """Numbers the variants of an input; variant 0 is always the clean input. Two methods to write.

    Whether regions stand in a line or on a grid is said by the regions, which hand their grid to every call.
    """

    @abstractmethod
    def n_variants(self, n: int | Tensor, grid: Grid | None) -> int | Tensor:
        """How many variants an input of `n` regions has, without the clean one."""

    @abstractmethod
    def kept(self, variants: Variants) -> Tensor:
        """(M, width) bool for indices >= 1; what it says of index 0 and of regions that do not exist is ignored."""

    def count(self, n_regions: int | Tensor, grid: Grid | None = None) -> int | Tensor:
        """How many variants an input of `n_regions` regions has, the clean one included.

        Args:
            n_regions: an int, or an int64 tensor of any shape, >= 1.
            grid: (rows, columns) of the regions, or None where they stand in a line.

        Returns:
            An int, or an int64 tensor of the same shape.

        A ValueError if there is no region, or another number than the grid has cells; or the sampler needs a grid and
        there is none, or does not fit it.
        """
        if grid is not None:
            pair("grid", tuple(grid))
        wrong = n_regions < 1 if grid is None else n_regions != grid[0] * grid[1]
        if wrong.any() if isinstance(wrong, Tensor) else wrong:
            bad = int(n_regions[wrong][0]) if isinstance(n_regions, Tensor) else n_regions
            expected = "at least 1" if grid is None else f"{grid[0] * grid[1]}, the cells of the {grid} grid"
            raise ValueError(f"n_regions must be {expected}, got {bad}")
        return self.n_variants(n_regions, grid) + 1

    def masks(
        self,
        n_regions: int | Tensor,
        indices: Tensor | list[int] | int,
        example_id: int | Tensor,
        *,
        grid: Grid | None = None,
        width: int | None = None,
    ) -> Tensor:
        """The masks of variants `indices`: one call may mix examples of different sizes.

        Args:
            n_regions, grid: as in `count`; an int or (M,) int64, of each variant's example.
            indices: (M,) int64, a list or an int; 0 <= index < count(n_regions, grid). Their device is the result's.
            example_id: an int or (M,) int64: which example each variant is of; any int64.
            width: R; by default the largest of `n_regions`.

        Returns:
            (M, R) bool, True = kept. Row of index 0: all True. Columns at or beyond n_regions: True.

        A ValueError on an index that does not exist, a `width` smaller than `n_regions`, or as `count`.
        """
        index, n, ids = self.arguments(n_regions, indices, example_id, grid)
        largest = int(n.max()) if n.numel() else 0
        if width is None:
            width = largest
        elif width < largest:
            raise ValueError(f"width {width} is less than the {largest} regions of the largest example")
        variants = Variants(n, index, ids, width, grid)
        return self.kept(variants) | variants.beyond | (index == 0)[:, None]

    def arguments(self, n_regions, indices, example_id, grid: Grid | None) -> tuple[Tensor, Tensor, Tensor]:
        """Indices, numbers of regions and example ids as (M,) int64 of one device, checked."""
        index = torch.atleast_1d(_integers("indices", indices))
        n = _integers("n_regions", n_regions, index.device)
        ids = _integers("example_id", example_id, index.device)
        for name, value in (("n_regions", n), ("example_id", ids)):
            if value.dim() and value.shape != index.shape:
                raise ValueError(f"{name} has {value.shape[0]} entries for {index.shape[0]} indices")
        n, ids = n.expand(index.shape), ids.expand(index.shape)
        wrong = (index < 0) | (index >= self.count(n, grid))
        if bool(wrong.any()):
            example = int(n[wrong][0])
            raise ValueError(
                f"there is no variant {int(index[wrong][0])}: {self} has variants 0 to "
                f"{self.count(example, grid) - 1} of an input of {example} regions"
            )
        return index, n, ids
