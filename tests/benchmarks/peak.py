"""One search in a process of its own, for its memory: `python -m tests.benchmarks.peak image|text N_MASKS`.

Prints, as JSON, the resident memory before the search and at its peak, in MiB, and the CPU seconds of the search.
"""

from __future__ import annotations

import json
import resource
import sys
from pathlib import Path

import psutil
import torch

from ssan.models.text import SelfAttentiveLSTM, TextConfig
from ssan.samplers import RandomMasks
from ssan.search import find_surrogates
from tests.benchmarks.test_images import CELLS, classifier, images
from tests.benchmarks.timing import seconds
from tests.helpers import sentences


def peak() -> float:
    """MiB. Linux's `ru_maxrss` survives the start of a program, so a child would begin with its parent's peak."""
    status = Path("/proc/self/status")
    if status.exists():
        line = next(line for line in status.read_text().splitlines() if line.startswith("VmHWM"))
        return int(line.split()[1]) / 2**10
    unit = 2**20 if sys.platform == "darwin" else 2**10
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit


def main(kind: str, n_masks: int) -> None:
    torch.set_num_threads(1)
    sampler = RandomMasks(n_masks)
    if kind == "image":
        model, batch, options = classifier(), images(1), {"regions": CELLS}
    else:
        words = torch.randint(2, 500, (30,), generator=torch.Generator().manual_seed(0))
        model, batch, options = SelfAttentiveLSTM(500, 6, TextConfig()), sentences([words.tolist()]), {}
    before = psutil.Process().memory_info().rss / 2**20
    taken = seconds(lambda: find_surrogates(model, batch, sampler, selector="importance", **options))
    print(json.dumps({"before": before, "peak": peak(), "seconds": taken}))


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
