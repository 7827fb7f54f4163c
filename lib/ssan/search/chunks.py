"""Working piece by piece, in smaller pieces once memory runs out."""

from __future__ import annotations

import gc
import warnings
from collections.abc import Callable, Iterator
from typing import TypeVar

import torch

T = TypeVar("T")


def is_out_of_memory(error: BaseException) -> bool:
    """Whether `error` says that an allocation failed, on any device; the CPU's allocator has no error of its own."""
    return isinstance(error, torch.OutOfMemoryError | MemoryError) or (
        isinstance(error, RuntimeError) and "DefaultCPUAllocator" in str(error)
    )


class Halving:
    """Runs work on pieces of something long and halves the pieces when memory runs out, for good.

    That it happened is said once by a warning, since a chunk that fits from the start is faster.

    Args:
        limit: largest piece, or None where the work itself says.
    """

    def __init__(self, limit: int | None = None) -> None:
        self.limit, self._warned = limit, False

    def pieces(self, work: Callable[[int, int], T], n: int, size: int) -> Iterator[T]:
        """`work(start, stop)` for pieces that cover 0 to `n` in order, of `size`, or of `limit` where there is one."""
        start = 0
        while start < n:
            stop = min(n, start + (self.limit or size))
            try:
                result = work(start, stop)
            except (RuntimeError, MemoryError) as error:
                if not is_out_of_memory(error) or stop - start == 1:
                    raise
                self._halve(stop - start)
            else:
                start = stop
                yield result

    def _halve(self, size: int) -> None:
        self.limit = size // 2
        if not self._warned:
            warnings.warn(
                f"memory ran out on {size} inputs at once: going on with at most {self.limit}, and less if need be; "
                "perturbations_per_eval sets the number",
                RuntimeWarning,
                stacklevel=2,
            )
            self._warned = True
        # Outside of the except block, where the traceback no longer holds the tensors of the failed attempt.
        gc.collect()
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
