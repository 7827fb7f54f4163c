"""Rows in plain words: the printed tables of a study."""

from __future__ import annotations

import pandas as pd

from ssan.conditions import CONDITIONS
from ssan.statistics import by_seed, compare, paired_difference

# What each column means to a reader; the order is that of the printed tables.
METRICS = {
    "accuracy": "test accuracy",
    "pointing": "pointing (the maximum of the map lies in a box)",
    "mass_in_box": "mass (of the attention in the boxes)",
    "rank_correlation": "rank correlation (Spearman with the boxes)",
    "faithfulness": "faithfulness (Spearman with the leave-one-out drop, held-out)",
}


def metrics_in(rows: pd.DataFrame) -> list[str]:
    """Which of `METRICS` the rows have values of."""
    return [metric for metric in METRICS if metric in rows and rows[metric].notna().any()]


def table(rows: pd.DataFrame, metric: str) -> str:
    """Means and paired differences to the baseline of one task and metric, as text."""
    found = compare(rows, metric)
    columns = {
        "seeds": found["n"],
        "mean": found["mean"].map("{:.3f}".format),
        "sd": found["std"].map("{:.3f}".format),
        "minus baseline [95%]": [
            "" if pd.isna(row.difference) else f"{row.difference:+.3f} [{row.low:+.3f}, {row.high:+.3f}]"
            for row in found.itertuples()
        ],
        "Holm p": found["holm"].map(lambda p: "" if pd.isna(p) else f"{p:.3f}"),
    }
    if "recovered" in found:
        columns["recovered [95%]"] = [recovered(row) for row in found.itertuples()]
    return pd.DataFrame(columns, index=found.index).to_string(index_names=False)


def recovered(row) -> str:
    """The recovered gain of a row of `compare` with its interval, as text; nothing where there is none."""
    if pd.isna(row.recovered):
        return ""
    interval = "" if pd.isna(row.recovered_low) else f" [{row.recovered_low:.2f}, {row.recovered_high:.2f}]"
    return f"{row.recovered:.2f}{interval}"


def verdicts(rows: pd.DataFrame, metric: str) -> list[str]:
    """One sentence per supervised method: against the baseline, and against every control with the same start."""
    seeds = by_seed(rows, metric)
    found = []
    for label in seeds.columns:
        name, start = label.split("/")
        if CONDITIONS[name].role != "method":
            continue
        base = paired_difference(seeds[label].to_numpy(), seeds["baseline/scratch"].to_numpy())
        if base.n < 2:
            found.append(f"{label}: {base.mean:+.3f} against the baseline on one seed, which says nothing.")
            continue
        controls = [
            other
            for other in seeds.columns
            if CONDITIONS[other.split("/")[0]].role == "control" and other.split("/")[1] == start
        ]
        against = {other: paired_difference(seeds[label].to_numpy(), seeds[other].to_numpy()) for other in controls}
        groups = {
            "above": [other for other, d in against.items() if d.low > 0],
            "not distinguishable from": [other for other, d in against.items() if not d.distinguishable],
            "below": [other for other, d in against.items() if d.high < 0],
        }
        said = "; ".join(
            f"{relation} {', '.join(other.split('/')[0] for other in others)}"
            for relation, others in groups.items()
            if others
        )
        relation = "above" if base.low > 0 else "below" if base.high < 0 else "not distinguishable from"
        found.append(f"{label}: {relation} the baseline, {base}; {said}.")
    return found


def ablations(rows: pd.DataFrame) -> str:
    """Means over seeds of the cells of a grid of ablations, in its order, as text."""
    cells = rows[rows["axis"].notna()]
    means = cells.groupby(["axis", "value"], sort=False)[metrics_in(rows)].mean()
    return means.round(3).to_string()


def report(rows: pd.DataFrame) -> str:
    """All tables and sentences of all tasks in `rows`."""
    parts = []
    for task, own in rows.groupby("task", sort=False):
        n_train, seeds = int(own["n_train"].iloc[0]), own["seed"].nunique()
        varied = "axis" in own and own["axis"].notna().any()
        compared = own[own["axis"].isna()] if varied else own
        for metric in metrics_in(own):
            parts.append(f"\n{task}, {n_train} training examples, {seeds} seeds: {METRICS[metric]}")
            parts.append(table(compared, metric))
            parts.extend(f"  {sentence}" for sentence in verdicts(compared, metric))
        if varied:
            parts += [f"\n{task}, one thing varied at a time, means of {seeds} seeds", ablations(own)]
    return "\n".join(parts)
