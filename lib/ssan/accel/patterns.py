"""Maps of all variants of an image from its maps under a few patterns of masks.

The first layers of a CNN look at small neighbourhoods: a place of their output depends on two cells along each axis at
most (`ssan.accel.reach` tells). Number rows of cells by turns 0, 1, 0, 1, …, and columns alike: then of any two by two
cells side by side each has another pair of numbers. So sixteen images, one for every way to keep or hide the cells of
these four kinds, show at every place whatever any mask shows there, and the output for a mask is gathered, place by
place, from the outputs for the sixteen.

A convolution that follows sees too many cells for that, but it adds up terms that each belong to one place: these, too,
are computed for the patterns once, and then only added up. Every step is the same arithmetic on the same numbers; only
the order of sums, and with it the rounding, differs.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ssan.accel.reach import Reach, is_zero_padded_convolution, nearsighted, widest

# Kinds of cells, 2 x 2: each further one would double the number of patterns that have to be run.
MOST_KINDS = 4
# Rows of the table of one image: float32 counts them exactly, and many more would fill the memory.
MOST_ROWS = 2**18


@dataclass(frozen=True)
class Sum:
    """A convolution as a sum of what the places around a place add to it.

    Attributes:
        terms: (K x D', D), what a place adds to K places, from its D numbers to their D' numbers.
        shift: (D',), added to the sum.
        around: (K, h' x w') int64, the K places that add to each place; -1 for padding, which adds nothing.
        size: (h', w').
    """

    terms: Tensor
    shift: Tensor
    around: Tensor
    size: tuple[int, int]

    @classmethod
    def of(cls, layer: nn.Module, size: tuple[int, int]) -> Sum | None:
        """The sum that `layer` is on maps of `size`, or None if it is not such a convolution."""
        if not is_zero_padded_convolution(layer) or layer.groups > 1:
            return None
        weight = layer.weight
        # Places counted from 1, so that padding gets 0; double precision counts them exactly.
        place = torch.arange(1, size[0] * size[1] + 1, dtype=torch.float64).view(1, 1, *size)
        around = F.unfold(place, layer.kernel_size, layer.dilation, layer.padding, layer.stride)[0].long() - 1
        out = tuple(Reach(side).through(layer, axis).size for axis, side in enumerate(size))
        shift = weight.new_zeros(len(weight)) if layer.bias is None else layer.bias
        return cls(weight.permute(2, 3, 0, 1).flatten(0, 2), shift, around, out)


@dataclass(frozen=True)
class Patterns:
    """How the maps of variants come from those of patterns, for one stack of layers and one grid.

    Attributes:
        masks: (P, R) bool, the patterns that are run: which cells are kept.
        pattern: (P,) int64, their numbers among all patterns of the kinds of cells.
        n_patterns: how many there are of these.
        first: the layers that are run on the patterns.
        sum: the sum that follows, or None.
        rest: the layers that are run on every variant.
        size: (h, w), places of the maps that `rest` is given.
        places: (R, h x w x K) float32, what each kept cell adds to the numbers of the rows of the table that make up
            the places; K = 1 without a sum.
        origin: (h x w x K,) float32, these numbers where every cell is hidden.
    """

    masks: Tensor
    pattern: Tensor
    n_patterns: int
    first: nn.Sequential
    sum: Sum | None
    rest: nn.Sequential
    size: tuple[int, int]
    places: Tensor
    origin: Tensor

    @classmethod
    def of(
        cls, layers: list[nn.Module], image: Tensor, grid: tuple[int, int], most_hidden: int | None = None
    ) -> Patterns | None:
        """The patterns for `layers` in evaluation mode, or None where these look too far or make too large a table.

        Args:
            layers: image -> maps, one after the other.
            image: (B, channels, H, W), of which the size and the device count.
            grid: (rows, columns) of the cells; must divide the image.
            most_hidden: how many cells a variant hides at most; None for any number.
        """
        cut, cells = nearsighted(layers, tuple(image.shape[-2:]), grid, MOST_KINDS)
        size = tuple(len(along) for along in cells)
        n_places = math.prod(size)
        if not cut or n_places > image.shape[-2] * image.shape[-1] // 4:
            return None
        summed = Sum.of(layers[cut], size) if cut < len(layers) else None
        around = torch.arange(n_places)[None] if summed is None else summed.around

        # Cells of one kind are as far apart as a place can look, so that no place depends on two of them.
        apart = [widest(along) for along in cells]
        row, column = (torch.arange(n) for n in grid)
        kind = row[:, None] % apart[0] * apart[1] + column % apart[1]
        n_patterns = 2 ** math.prod(apart)
        n_around, n_rows = len(around), n_patterns * n_places * len(around)
        if n_rows > MOST_ROWS:
            return None
        kept = torch.arange(n_patterns)[:, None] >> torch.arange(math.prod(apart)) & 1  # (patterns, kinds)
        hidden = (1 - kept).sum(1)
        pattern = (hidden <= (len(hidden) if most_hidden is None else most_hidden)).nonzero().squeeze(1)

        # (R, places): which bit of the number of its pattern a place owes to each cell. Kinds of which there is no cell
        # within its reach count as kept.
        sees = [_sees(*each) for each in zip(cells, grid, strict=True)]
        bits = sees[0][:, None, :, None] * sees[1][None, :, None, :] * 2 ** kind[..., None, None]
        bits = bits.flatten(2).flatten(0, 1)
        beyond = n_patterns - 1 - bits.sum(0)
        # Row (pattern x places + place) x K + k holds what the place adds as k-th around another; the last one nothing.
        inside, place = around >= 0, around.clamp(min=0)
        rows = (beyond[place] * n_places + place) * n_around + torch.arange(n_around)[:, None]
        return cls(
            (kept[pattern][:, kind.flatten()] > 0).to(image.device),
            pattern.to(image.device),
            n_patterns,
            nn.Sequential(*layers[:cut]),
            summed,
            nn.Sequential(*layers[cut + (summed is not None) :]),
            size if summed is None else summed.size,
            places=(bits[:, place] * inside * n_places * n_around).mT.flatten(1).to(image.device, torch.float32),
            origin=torch.where(inside, rows, n_rows).T.flatten().to(image.device, torch.float32),
        )

    def table(self, maps: Tensor) -> Tensor:
        """(n, rows, D): what each place of n images is under each pattern, or what it adds to the places around it.

        Args:
            maps: (n x P, channels, h, w), what `first` makes of each image under every one of `masks`.
        """
        rows = maps.permute(0, 2, 3, 1).flatten(1, 2)  # (n x P, places, channels)
        if self.sum is not None:
            rows = rows @ self.sum.terms.T
        n, around = len(maps) // len(self.pattern), 1 if self.sum is None else len(self.sum.around)
        per_pattern = rows.shape[1] * around
        table = rows.new_empty(n, self.n_patterns * per_pattern + 1, rows.shape[2] // around)
        # Patterns that were not run stay empty: no variant asks for them.
        table[:, :-1].unflatten(1, (self.n_patterns, -1))[:, self.pattern] = rows.view(
            n, -1, per_pattern, table.shape[2]
        )
        table[:, -1] = 0
        return table

    def numbers(self, kept: Tensor) -> Tensor:
        """(N, h x w x K) int32: the rows of the table that make up the variants with masks `kept` (N, R)."""
        return torch.addmm(self.origin, kept.to(torch.float32), self.places).int()

    def maps(self, table: Tensor, numbers: Tensor) -> Tensor:
        """(N, h x w, D): what `rest` is given, for variants of one image, from its `table` (rows, D)."""
        if self.sum is None:
            maps = table.index_select(0, numbers.flatten())
        else:
            maps = F.embedding_bag(numbers.view(-1, len(self.sum.around)), table, mode="sum").add_(self.sum.shift)
        return maps.unflatten(0, (len(numbers), -1))


def _sees(cells: list[tuple[int, int]], n_cells: int) -> Tensor:
    """(n_cells, places) bool, from what `Reach.cells` says."""
    first, last = torch.tensor(cells).unbind(1)
    number = torch.arange(n_cells)[:, None]
    return (number >= first) & (number <= last)
