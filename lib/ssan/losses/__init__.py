"""Attention supervision by name: how far an attention map is from its target.

Every loss takes `(attention (B, R), target (B, R), exists (B, R) bool or None)` and returns one number per example,
(B,), so that each map is compared with its own target. Two cannot, and say so: `coral` and `mmd_batch` compare
batches (the released kernel loss, evaluated on more than one example at a time, is of that kind).

| name | what | 0 at the target |
|---|---|---|
| `kl`, `reverse_kl`, `js` | divergences | yes |
| `mse`, `cosine`, `mmd_released` | squared distances, an angle | yes |
| `emd` | how far weight must be carried, along a line or on a grid | yes |
| `rank` | whether regions are in the target's order | no |
| `coral`, `mmd_batch` | covariances, mean maps of a batch | yes, and elsewhere |
"""

from __future__ import annotations

import functools
from collections.abc import Callable

from torch import Tensor

from ssan.losses.batchwise import coral, mmd_batch
from ssan.losses.distances import cosine, mmd_released, mse
from ssan.losses.divergences import js, kl, reverse_kl
from ssan.losses.penalties import entropy_penalty, hop_penalty
from ssan.losses.ranking import rank
from ssan.losses.transport import GridEMD, emd

__all__ = ["coral", "cosine", "emd", "js", "kl", "mmd_batch", "mmd_released", "mse", "rank", "reverse_kl"]
__all__ += ["LOSSES", "UNPAIRED", "AttentionLoss", "GridEMD", "entropy_penalty", "hop_penalty", "make_loss"]

AttentionLoss = Callable[[Tensor, Tensor, Tensor | None], Tensor]

LOSSES: dict[str, AttentionLoss] = {
    "kl": kl,
    "reverse_kl": reverse_kl,
    "js": js,
    "mse": mse,
    "cosine": cosine,
    "emd": emd,
    "rank": rank,
    "mmd_released": mmd_released,
    "mmd_batch": mmd_batch,
    "coral": coral,
}
# Those that do not depend on which target of a batch belongs to which example.
UNPAIRED = frozenset({"coral", "mmd_batch"})


@functools.cache
def make_loss(name: str, grid: tuple[int, int] | None = None) -> AttentionLoss:
    """The loss called `name`, or a ValueError; with a `grid` (rows, columns) `emd` measures distances on it."""
    if name not in LOSSES:
        raise ValueError(f"unknown attention loss {name!r}: expected one of {', '.join(sorted(LOSSES))}")
    return GridEMD(grid) if name == "emd" and grid is not None else LOSSES[name]
