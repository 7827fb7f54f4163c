"""Which regions to hide: samplers number the variants of an input and give the mask of each.

A mask is a pure function of (seed, example, index, region). It does not depend on what else is asked for in the same
call, so a search can be cut into chunks, spread over processes and replayed.

| name | class | variants | from |
|---|---|---|---|
| `pairs` | `Pairs` | every two regions hidden | the paper, for text |
| `singles` | `Singles` | every region hidden by itself | leave one out |
| `hide_windows` | `HideWindows` | every window hidden | occlusion |
| `keep_windows` | `KeepWindows` | everything but a window hidden | ours |
| `random` | `RandomMasks` | every region kept by chance | ours |
| `rise` | `Rise` | smooth random masks | RISE (Petsiuk et al. 2018) |
"""

from __future__ import annotations

import dataclasses

from ssan.samplers.base import Sampler, Variants
from ssan.samplers.exhaustive import Pairs, Singles
from ssan.samplers.random import RandomMasks
from ssan.samplers.rise import Rise
from ssan.samplers.windows import HideWindows, KeepWindows

__all__ = ["HideWindows", "KeepWindows", "Pairs", "RandomMasks", "Rise", "Singles"]
__all__ += ["SAMPLERS", "Sampler", "Variants", "make_sampler"]

SAMPLERS: dict[str, type[Sampler]] = {
    "pairs": Pairs,
    "singles": Singles,
    "hide_windows": HideWindows,
    "keep_windows": KeepWindows,
    "random": RandomMasks,
    "rise": Rise,
}


def make_sampler(sampler: str | Sampler, **options: object) -> Sampler:
    """A sampler from its name in `SAMPLERS` and its options, or itself; a ValueError says what does not fit."""
    if isinstance(sampler, Sampler):
        return sampler
    if sampler not in SAMPLERS:
        raise ValueError(f"unknown sampler {sampler!r}: expected one of {', '.join(SAMPLERS)}")
    fields = {field.name: field for field in dataclasses.fields(SAMPLERS[sampler])}
    problems = [f"takes no {name}" for name in sorted(options.keys() - fields.keys())]
    required = [name for name, field in fields.items() if field.default is dataclasses.MISSING]
    problems += [f"needs {name}" for name in required if name not in options]
    if problems:
        raise ValueError(f"the sampler {sampler!r} {', '.join(problems)}")
    return SAMPLERS[sampler](**options)
