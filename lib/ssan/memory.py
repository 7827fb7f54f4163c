"""Working piece by piece, in smaller pieces once memory runs out."""

from __future__ import annotations

import gc
import math
import warnings
from collections.abc import Callable, Iterator
from typing import TypeVar

import torch
from torch import Tensor

T = TypeVar("T")


def is_out_of_memory(error: BaseException) -> bool:
    """Whether `error` says that an allocation failed, on any device; the CPU's allocator has no error of its own."""
    return isinstance(error, torch.OutOfMemoryError | MemoryError) or (
        isinstance(error, RuntimeError) and "DefaultCPUAllocator" in str(error)
    )


class Workspace:
    """Memory that is kept from one piece of work to the next: the system clears new memory first, which takes time.

    Args:
        like: memory is of its type and on its device.
    """

    def __init__(self, like: Tensor) -> None:
        self._like, self._held = like, {}

    def take(self, name: str, *shape: int) -> Tensor:
        """A tensor of `shape` with anything in it, in the place of what was last taken under this name."""
        n = math.prod(shape)
        if name not in self._held or len(self._held[name]) < n:
            self._held.pop(name, None)  # given back before more is asked for
            self._held[name] = self._like.new_empty(n + n // 8)
        return self._held[name][:n].view(shape)


class Halving:
    """Runs work on pieces of something long and halves the pieces when memory runs out, for good.

    That it happened is said once by a warning, since a chunk that fits from the start is faster.

    Args:
        limit: largest piece, or None where the work itself says.
    """

    def __init__(self, limit: int | None = None) -> None:
        self.limit, self._said = limit, False

    def pieces(self, work: Callable[[int, int], T], n: int, size: int) -> Iterator[T]:
        """`work(start, stop)` for pieces that cover 0 to `n` in order, of `size`, or of `limit` where there is one.

        Raises:
            RuntimeError: whatever `work` raises, when memory is too short for a piece of one.
        """
        start = 0
        while start < n:
            stop = min(n, start + (self.limit or size))
            try:
                done = work(start, stop)
            except (RuntimeError, MemoryError) as error:
                if not is_out_of_memory(error) or stop - start == 1:
                    raise
                self._halve(stop - start)
            else:
                start = stop
                yield done

    def _halve(self, size: int) -> None:
        self.limit = size // 2
        if not self._said:
            warnings.warn(
                f"memory ran out on {size} inputs at once: going on with at most {self.limit}, and less if need be; "
                "perturbations_per_eval sets the number",
                RuntimeWarning,
                stacklevel=2,
            )
            self._said = True
        # Outside of the except block, where the traceback no longer holds the tensors of the failed attempt.
        gc.collect()
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
