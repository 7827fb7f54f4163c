"""From rows to statements: paired differences over seeds, their intervals, and what may be said of them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy import stats
from statsmodels.stats.multitest import multipletests

ORACLE = "oracle/scratch"
RECOVERED = ("recovered", "recovered_low", "recovered_high")


@dataclass(frozen=True)
class Difference:
    """A mean difference of two conditions over the same seeds.

    Attributes:
        mean: of the paired differences.
        low, high: ends of the 95% interval from Student's t.
        p: two-sided, of the paired t-test; NaN with fewer than two pairs.
        n: number of pairs.
    """

    mean: float
    low: float
    high: float
    p: float
    n: int

    @property
    def distinguishable(self) -> bool:
        """Whether the interval excludes 0."""
        return self.low > 0 or self.high < 0

    def __str__(self) -> str:
        if self.n < 2:
            return f"{self.mean:+.3f} [one seed]"
        return f"{self.mean:+.3f} [{self.low:+.3f}, {self.high:+.3f}]"


def paired_difference(a: np.ndarray, b: np.ndarray) -> Difference:
    """Mean of a - b over pairs (n,) from the same seed each; pairs with a NaN are left out.

    A ValueError if the lengths differ or no pair is left.
    """
    a, b = np.asarray(a, dtype=float), np.asarray(b, dtype=float)
    if a.shape != b.shape or a.ndim != 1:
        raise ValueError(f"paired values must be two vectors of one length, got shapes {a.shape} and {b.shape}")
    difference = (a - b)[np.isfinite(a) & np.isfinite(b)]
    n = len(difference)
    if n == 0:
        raise ValueError("there is no pair of seeds with both values")
    mean = float(difference.mean())
    if n == 1:
        return Difference(mean, -np.inf, np.inf, np.nan, 1)
    error = float(difference.std(ddof=1)) / n**0.5
    if error == 0:
        return Difference(mean, mean, mean, 0.0 if mean else 1.0, n)
    half = float(stats.t.ppf(0.975, n - 1)) * error
    p = float(2 * stats.t.sf(abs(mean) / error, n - 1))
    return Difference(mean, mean - half, mean + half, p, n)


def holm(p: np.ndarray) -> np.ndarray:
    """Holm's correction of p-values for their number; NaN stays NaN and does not count."""
    p = np.asarray(p, dtype=float)
    corrected, known = np.full_like(p, np.nan), np.isfinite(p)
    if known.any():
        corrected[known] = multipletests(p[known], method="holm")[1]
    return corrected


def recovered_gain(method: np.ndarray, baseline: np.ndarray, oracle: np.ndarray) -> tuple[float, float, float]:
    """(mean method − mean baseline) / (mean oracle − mean baseline), with a bootstrap 95% interval over seeds.

    1 means: as good as supervision with the ground-truth regions. Seeds are resampled as a whole, so the three values
    of a seed stay together.

    Returns:
        (share, low, high); NaN where the oracle is not distinguishable from the baseline, which is where the bootstrap
        interval of their difference holds 0: a share of what may be nothing says nothing.
    """
    values = np.stack([np.asarray(v, dtype=float) for v in (method, baseline, oracle)])
    mean_m, mean_b, mean_o = values.mean(1)
    if values.shape[1] < 2:
        return ((mean_m - mean_b) / (mean_o - mean_b) if mean_o != mean_b else np.nan, np.nan, np.nan)
    draws = np.random.default_rng(0).integers(values.shape[1], size=(10_000, values.shape[1]))
    m, b, o = values[:, draws].mean(-1)
    least, most = np.quantile(o - b, [0.025, 0.975])
    if least <= 0 <= most:
        return (np.nan, np.nan, np.nan)
    with np.errstate(divide="ignore", invalid="ignore"):
        low, high = np.nanquantile((m - b) / (o - b), [0.025, 0.975])
        share = (mean_m - mean_b) / (mean_o - mean_b)
    return float(share), float(low), float(high)


def by_seed(rows: pd.DataFrame, metric: str) -> pd.DataFrame:
    """Seeds in rows, `condition/start` in columns, `metric` in cells."""
    label = rows["condition"] + "/" + rows["start"]
    return rows.assign(label=label).pivot_table(index="seed", columns="label", values=metric)


def compare(rows: pd.DataFrame, metric: str, reference: str = "baseline/scratch") -> pd.DataFrame:
    """Every condition of one task against `reference` (`condition/start`), over the seeds that both have.

    Returns:
        A row per condition: n, mean, std, difference with its t interval (low, high), p, holm (p corrected over the
        table); and, where the rows have an oracle, the recovered gain and its interval (`RECOVERED`).

    A ValueError if there are several tasks, or no rows of the reference.
    """
    if rows["task"].nunique() != 1:
        raise ValueError(f"compare takes one task at a time, got {sorted(rows['task'].unique())}")
    values = by_seed(rows, metric)
    if reference not in values:
        raise ValueError(f"no rows of {reference}, there are {list(values.columns)}")
    entries = []
    for label in dict.fromkeys(rows["condition"] + "/" + rows["start"]):
        pair = values[[label, reference]].dropna() if label != reference else values[[label]].dropna()
        entry = {"condition": label, "n": len(pair), "mean": pair[label].mean(), "std": pair[label].std()}
        if label != reference:
            d = paired_difference(pair[label].to_numpy(), pair[reference].to_numpy())
            entry |= {"difference": d.mean, "low": d.low, "high": d.high, "p": d.p}
            if ORACLE in values and label != ORACLE:
                three = values[[label, reference, ORACLE]].dropna().to_numpy().T
                entry |= dict(zip(RECOVERED, recovered_gain(*three), strict=True))
        entries.append(entry)
    columns = ["condition", "n", "mean", "std", "difference", "low", "high", "p"]
    columns += RECOVERED if ORACLE in values else ()
    table = pd.DataFrame(entries, columns=columns).set_index("condition")
    return table.assign(holm=holm(table["p"].to_numpy()))
