"""Which regions to hide: samplers number the variants of an input and give the mask of each.

A mask is a pure function of (seed, example, index, region). It does not depend on what else is asked for in the same
call, so a search can be cut into chunks, spread over processes and replayed.

| class | variants | from |
|---|---|---|
| `Pairs` | every two regions hidden | the paper, for text |
| `Singles` | every region hidden by itself | leave one out |
| `HideWindows` | every window hidden | occlusion |
| `KeepWindows` | everything but a window hidden | ours |
| `RandomMasks` | every region kept by chance | ours |
| `KeepK` | k regions kept by chance | ours |
| `Rise` | smooth random masks | RISE (Petsiuk et al. 2018) |
"""

from ssan.samplers.exhaustive import Pairs, Singles
from ssan.samplers.random import KeepK, RandomMasks
from ssan.samplers.rise import Rise
from ssan.samplers.windows import HideWindows, KeepWindows
from ssan.variants import Sampler

__all__ = ["HideWindows", "KeepK", "KeepWindows", "Pairs", "RandomMasks", "Rise", "Sampler", "Singles"]
