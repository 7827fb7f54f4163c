"""Mean ranks of many conditions over the same seeds, and how far apart they must be to be told apart.

After Demšar 2006, "Statistical comparisons of classifiers over multiple data sets": Friedman's test asks whether the
conditions differ at all, Nemenyi's critical difference says which pairs do. It is the diagram of the sister paper.
"""

from __future__ import annotations

from dataclasses import dataclass

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from scipy import stats


def critical_difference(n_conditions: int, n_blocks: int, alpha: float = 0.05) -> float:
    """Nemenyi's critical difference of mean ranks: `q sqrt(k (k + 1) / (6 n))`.

    q is the studentised range over sqrt(2), rounded to three decimals as in Demšar's table, so that published values
    are met to the digit: 6 conditions and 5 scores give 3.3722.

    Args:
        n_conditions: k, at least 2.
        n_blocks: n, seeds (or data sets) on which every condition was measured, at least 1.
        alpha: level of the test.

    Raises:
        ValueError: if there are too few of either.
    """
    if n_conditions < 2 or n_blocks < 1:
        raise ValueError(f"ranks need at least 2 conditions and 1 block, got {n_conditions} and {n_blocks}")
    q = round(float(stats.studentized_range.ppf(1 - alpha, n_conditions, np.inf)) / 2**0.5, 3)
    return q * (n_conditions * (n_conditions + 1) / (6 * n_blocks)) ** 0.5


@dataclass(frozen=True)
class Ranking:
    """Conditions by mean rank; rank 1 is the best.

    Attributes:
        ranks: condition -> mean rank, best first.
        n_blocks: over how many seeds.
        difference: Nemenyi's critical difference.
        p: of Friedman's test that all conditions are alike; NaN with fewer than three conditions.
    """

    ranks: pd.Series
    n_blocks: int
    difference: float
    p: float

    @property
    def cliques(self) -> list[tuple[str, ...]]:
        """Largest runs of neighbours that cannot be told apart: their ranks differ by less than the difference."""
        values, names = self.ranks.to_numpy(), list(self.ranks.index)
        ends = np.searchsorted(values, values + self.difference, side="left")
        starts = [i for i, end in enumerate(ends) if end - i > 1 and (i == 0 or end > ends[i - 1])]
        return [tuple(names[i : ends[i]]) for i in starts]


def rank(values: pd.DataFrame, higher_is_better: bool = True, alpha: float = 0.05) -> Ranking:
    """Rank the columns of `values` within every row, ties sharing their mean rank.

    Args:
        values: a row per seed, a column per condition; rows with a missing value are left out.
        higher_is_better: whether rank 1 is the largest value of a row, or the smallest.
        alpha: level of the critical difference.

    Raises:
        ValueError: if no row is complete or there is only one condition.
    """
    whole = values.dropna()
    if not len(whole):
        raise ValueError(f"no seed has a value of all conditions {list(values.columns)}")
    each = whole.rank(axis=1, ascending=not higher_is_better)
    p = float(stats.friedmanchisquare(*(whole[name] for name in whole)).pvalue) if whole.shape[1] > 2 else np.nan
    ranks = each.mean().sort_values(kind="stable")
    return Ranking(ranks, len(whole), critical_difference(whole.shape[1], len(whole), alpha), p)


def draw(ranking: Ranking, colours: dict[str, str] | None = None, ax: Axes | None = None) -> Axes:
    """The critical-difference diagram: a line of mean ranks, bars under those that cannot be told apart.

    Args:
        ranking: what `rank` found.
        colours: condition -> colour of its name; black where not said.
        ax: where to draw; a new figure of fitting size by default.
    """
    names, values = list(ranking.ranks.index), ranking.ranks.to_numpy()
    cliques = ranking.cliques
    half = (len(names) + 1) // 2
    depth = 0.25 * (len(cliques) + 1)
    if ax is None:
        _, ax = plt.subplots(figsize=(8.5, 0.9 + 0.27 * (half + len(cliques))))
    low, high = 1, len(names)
    ax.plot([low, high], [0, 0], color="black", lw=1.2, clip_on=False)
    for tick in range(low, high + 1):
        ax.plot([tick, tick], [0, 0.09], color="black", lw=1)
        ax.text(tick, 0.16, str(tick), ha="center", va="bottom", fontsize=9)
    for level, clique in enumerate(cliques):
        ends = ranking.ranks[list(clique)]
        y = -0.25 * (level + 1) + 0.06
        ax.plot([ends.min() - 0.04, ends.max() + 0.04], [y, y], color="0.35", lw=3.5, solid_capstyle="butt")
    # Names hang left and right of the line: the better half on the left, so that stems never cross.
    for i, (name, value) in enumerate(zip(names, values, strict=True)):
        left = i < half
        y = -depth - 0.32 * (i if left else len(names) - 1 - i) - 0.1
        side = low - 0.12 if left else high + 0.12
        ax.plot([value, value, side], [0, y, y], color="0.55", lw=0.9)
        colour = (colours or {}).get(name, "black")
        text = f"{name}  {value:.2f}" if left else f"{value:.2f}  {name}"
        ax.text(
            side - 0.05 if left else side + 0.05,
            y,
            text,
            ha="right" if left else "left",
            va="center",
            color=colour,
            fontsize=9,
        )
    top = 0.62
    ax.plot([low, low + ranking.difference], [top, top], color="black", lw=1.2)
    for end in (low, low + ranking.difference):
        ax.plot([end, end], [top - 0.07, top + 0.07], color="black", lw=1.2)
    said = f"critical difference {ranking.difference:.2f} ({ranking.n_blocks} seeds)"
    ax.text(low + ranking.difference + 0.1, top, said, va="center", fontsize=9)
    room = 0.42 * (high - low) + 0.5  # for the names
    ax.set_xlim(low - room, high + room)
    ax.set_ylim(-depth - 0.32 * half - 0.1, top + 0.25)
    ax.axis("off")
    return ax
