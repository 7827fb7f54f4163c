"""Memory: the search holds a chunk of variants, however many there are; and what the mask kernel reads and writes."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest
import torch

from ssan.accel.fused_masks import Plan, bytes_moved
from tests.benchmarks.timing import QUICK, ROOT, record, summary

FEW, MANY = (16, 512) if QUICK else (256, 8192)
REPETITIONS = 1 if QUICK else 3


def searched(kind: str, n_masks: int) -> dict[str, float]:
    command = [sys.executable, "-m", "tests.benchmarks.peak", kind, str(n_masks)]
    run = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    return json.loads(run.stdout)


@pytest.mark.parametrize("kind", ["image", "text"])
def test_peak_memory_does_not_grow_with_the_number_of_masks(kind):
    pairs = [(searched(kind, MANY), searched(kind, FEW)) for _ in range(REPETITIONS)]
    times = [[one["seconds"] for one in side] for side in zip(*pairs, strict=True)]
    of_process = [many["peak"] / few["peak"] for many, few in pairs]
    print("\nMiB before and at the peak:", [(round(m["before"]), round(m["peak"]), round(f["peak"])) for m, f in pairs])
    record(summary(f"memory, {kind}: peak at {MANY:,} masks against {FEW}", of_process, *times))
    assert min(of_process) < 1.5  # all masks at once would be many times the process


def test_bytes_moved_by_the_mask_kernel():
    """What the CUDA kernel asks of memory against the least any could; counted, not timed."""
    image = torch.empty(4, 3, 224, 224)
    rows = torch.arange(4).repeat_interleave(512)
    for grid, smooth, name in (((8, 8), False, "random"), ((7, 7), True, "smooth")):
        plan = Plan.of(image, len(rows), grid, smooth)
        asked, least = bytes_moved(image, torch.zeros(1, 3, 1, 1), rows, plan)
        print(f"\n{name} masks: {asked / 2**20:.1f} MiB asked of memory, {least / 2**20:.1f} MiB at least")
        assert asked >= least
        record(summary(f"bytes moved by the kernel against the minimum, {name} masks", [asked / least], []))
