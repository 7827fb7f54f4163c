"""Two ways to the same result, timed side by side, and the rows this leaves in figures/results/bench.csv.

The clock is `time.process_time`, the CPU seconds of this process, and PyTorch has one thread: what else runs on the
machine then takes time from neither side, where wall time would count it to whoever happens to be running. Both sides
alternate within one run, so that a machine which slows down does so for both.

SSAN_BENCH_QUICK=1 makes everything small, to see that it works; its rows go to runs/bench_quick.csv.
"""

from __future__ import annotations

import os
import platform
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median

import numpy as np
import pandas as pd
import torch

from ssan.checkpoint import write_atomically

QUICK = os.environ.get("SSAN_BENCH_QUICK") == "1"
ROOT = Path(__file__).resolve().parents[2]
ROWS = ROOT / ("runs/bench_quick.csv" if QUICK else "figures/results/bench.csv")
REPETITIONS = 2 if QUICK else 7


@dataclass(frozen=True)
class Row:
    """One line of the table.

    Attributes:
        name: what was measured; a later row of the same name replaces this one.
        ratio: median over repetitions; what of what, the name or `faster` and `cost` say.
        ours_s: median seconds of this package.
        other_s: median seconds of what it is compared with; NaN where there is nothing.
        spread: (largest - smallest) / median of the ratios over repetitions.
    """

    name: str
    ratio: float
    ours_s: float
    other_s: float
    spread: float


def faster(name: str, ours: Callable, other: Callable, per: tuple[int, int] = (1, 1), **options) -> Row:
    """How many times faster `ours` is than `other`.

    Args:
        name: of the row.
        ours, other: the two sides.
        per: how many things each side does in a call; seconds are those of one thing.
        **options: see `alternate`.
    """
    first, second = alternate(ours, other, **options)
    first, second = [one / per[0] for one in first], [one / per[1] for one in second]
    return record(summary(name, [b / a for a, b in zip(first, second, strict=True)], first, second))


def cost(name: str, ours: Callable, other: Callable, **options) -> Row:
    """How many times as long `ours` takes as `other`, which is the least it could take. Arguments as in `faster`."""
    first, second = alternate(ours, other, **options)
    return record(summary(name, [a / b for a, b in zip(first, second, strict=True)], first, second))


def alternate(*sides: Callable, repetitions: int = REPETITIONS, warm: bool = True) -> list[list[float]]:
    """Seconds of each side in each repetition; sides take turns, each having run once before where it is to be `warm`.

    Who begins changes from one repetition to the next, so that none always finds the other's leavings in the cache.
    """
    if warm:
        for side in sides:
            side()
    found: list[list[float]] = [[] for _ in sides]
    for repetition in range(repetitions):
        order = range(len(sides)) if repetition % 2 == 0 else reversed(range(len(sides)))
        for i in order:
            found[i].append(seconds(sides[i]))
    return found


def seconds(work: Callable) -> float:
    """CPU seconds of one call."""
    start = time.process_time()
    work()
    return time.process_time() - start


def fastest(work: Callable[[int], object], sizes: Sequence[int]) -> int:
    """The size for which `work(size)` takes least, each having run twice and the better time counting."""
    return min(sizes, key=lambda size: min(seconds(lambda: work(size)) for _ in range(2)))


def summary(name: str, ratios: Sequence[float], ours: Sequence[float], other: Sequence[float] = ()) -> Row:
    """The row of these repetitions."""
    middle = median(ratios)
    return Row(
        name,
        middle,
        median(ours) if len(ours) else float("nan"),
        median(other) if len(other) else float("nan"),
        (max(ratios) - min(ratios)) / abs(middle),
    )


def growth(name: str, sizes: Sequence[int], times: Sequence[Sequence[float]]) -> Row:
    """The exponent of the cost: the slope of log seconds over log size, fitted in each repetition.

    Args:
        name: what grows; there is one row for every size besides the exponent's.
        sizes: what was measured.
        times: of each size, the seconds of each repetition.
    """
    smallest = np.array(times[0])
    for size, own in zip(sizes, times, strict=True):
        record(summary(f"cost, {name} = {size}", list(np.array(own) / smallest), own, times[0]))
    exponents = [np.polyfit(np.log(sizes), np.log(own), 1)[0] for own in zip(*times, strict=True)]
    return record(summary(f"exponent, {name}", [float(one) for one in exponents], times[-1]))


def record(row: Row) -> Row:
    """Print the row and put it into the table, atomically, in the place of one of the same name."""
    print(
        f"\n{row.name}: {row.ratio:.4g} (ours {row.ours_s:.4g} s, other {row.other_s:.4g} s, spread {row.spread:.2f})"
    )
    new = pd.DataFrame([asdict(row) | {"host": host()}])
    if ROWS.exists():
        old = pd.read_csv(ROWS)
        place = old.index[old["name"] == row.name]
        # In its old place, so that measuring one row again changes one line of the file.
        new.index = place[:1] if len(place) else [len(old)]
        new = pd.concat([old.drop(index=place), new]).sort_index()
    write_atomically(ROWS, new.to_csv(index=False, float_format="%.6g").encode())
    return row


def host() -> str:
    """What it was measured on."""
    threads = torch.get_num_threads()
    return f"{platform.system()} {platform.machine()}, {_processor()}, torch {torch.__version__}, {threads} thread"


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or "cpu"
    return next((line.split(":")[1].strip() for line in lines if line.startswith("model name")), "cpu")
