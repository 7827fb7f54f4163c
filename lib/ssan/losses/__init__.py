"""Attention supervision by name: how far an attention map is from its surrogate.

Every loss takes `(attention (B, R), target (B, R), exists (B, R) bool or None)` and returns one number per example,
(B,), so that each map is compared with its own target. Four of them cannot, and say so: `coral` and `mmd_batch`, which
compare batches (the released kernel loss, evaluated on more than one example at a time, is of that kind), and the two
adversarial ones, which compare distributions.

| name | what | 0 at the target |
|---|---|---|
| `kl`, `reverse_kl`, `js` | divergences | yes |
| `mse`, `cosine`, `mmd_released` | squared distances, an angle | yes |
| `emd` | how far weight must be carried, along a line or on a grid | yes |
| `rank` | whether regions are in the target's order | no |
| `coral`, `mmd_batch` | covariances, mean maps of a batch | yes, and elsewhere |
| `adversarial_image`, `adversarial_pixel` | whether discriminators tell attention from targets | no |

`attention_loss(name)` gives those that are plain functions; `make_loss(name, ...)` gives all, also those that need to
know the grid or learn while the model trains.
"""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor

from ssan.distributed import Processes
from ssan.losses.adversarial import DISCRIMINATORS, adversary
from ssan.losses.batchwise import coral, mmd_batch
from ssan.losses.distances import cosine, mmd_released, mse
from ssan.losses.divergences import js, kl, reverse_kl
from ssan.losses.penalties import entropy_penalty, hop_penalty
from ssan.losses.preparation import prepare_target
from ssan.losses.ranking import rank
from ssan.losses.transport import GridEMD, emd

__all__ = [
    "LOSSES",
    "LOSS_NAMES",
    "UNPAIRED",
    "AttentionLoss",
    "GridEMD",
    "attention_loss",
    "check_loss",
    "coral",
    "cosine",
    "emd",
    "entropy_penalty",
    "hop_penalty",
    "js",
    "kl",
    "make_loss",
    "mmd_batch",
    "mmd_released",
    "mse",
    "prepare_target",
    "rank",
    "reverse_kl",
]

AttentionLoss = Callable[[Tensor, Tensor, Tensor | None], Tensor]

LOSSES: dict[str, AttentionLoss] = {
    "mse": mse,
    "kl": kl,
    "reverse_kl": reverse_kl,
    "js": js,
    "cosine": cosine,
    "emd": emd,
    "rank": rank,
    "mmd_released": mmd_released,
    "mmd_batch": mmd_batch,
    "coral": coral,
}
# All there are, those that learn included.
LOSS_NAMES = (*LOSSES, *DISCRIMINATORS)
# Those that do not depend on which target of a batch belongs to which example.
UNPAIRED = frozenset({"coral", "mmd_batch", *DISCRIMINATORS})


def check_loss(name: str) -> None:
    """Raise ValueError, with the names there are, unless there is a loss called `name`."""
    if name not in LOSS_NAMES:
        raise ValueError(f"unknown attention loss {name!r}: expected one of {', '.join(sorted(LOSS_NAMES))}")


def attention_loss(name: str) -> AttentionLoss:
    """The loss called `name`, of those that are plain functions.

    Raises:
        ValueError: if there is none, with the names there are.
    """
    check_loss(name)
    if name not in LOSSES:
        raise ValueError(f"{name!r} is no plain function: its discriminators learn; make one with make_loss")
    return LOSSES[name]


def make_loss(
    name: str,
    *,
    grid: tuple[int, int] | None = None,
    n_regions: int | None = None,
    seed: int = 0,
    processes: Processes | None = None,
) -> AttentionLoss:
    """The loss called `name` for one training.

    Example:
        >>> loss = make_loss("adversarial_pixel", n_regions=64, seed=3)
        >>> loss.observe(attention, target)                       # the discriminators' step
        >>> loss(attention, target).shape
        torch.Size([32])

    Args:
        name: one of `LOSS_NAMES`.
        grid: (rows, columns) of the regions, which `emd` measures distances on; None for regions in a line.
        n_regions: the widest map that will come; the adversarial losses need it.
        seed: of the discriminators' initial weights; the global random state is left alone.
        processes: the connected processes that train together.

    Returns:
        A loss. One that learns has a method `observe(attention, target, exists, share)`, to be called with every batch
        before the loss is.

    Raises:
        ValueError: if there is no such loss, or it needs to know `n_regions`.
    """
    check_loss(name)
    if name == "emd" and grid is not None:
        return GridEMD(tuple(grid))
    if name in LOSSES:
        return LOSSES[name]
    if n_regions is None:
        raise ValueError(f"{name!r} needs n_regions, the width of the widest map, to make its discriminators")
    return adversary(name, n_regions, seed, processes)
