"""Rows in plain words: the printed tables of a study."""

from __future__ import annotations

import pandas as pd

from ssan.study.conditions import role_of
from ssan.study.statistics import by_seed, compare, paired_difference

# What each column means to a reader; the order is that of the printed tables.
METRICS = {
    "accuracy": "test accuracy",
    "pointing": "pointing (the most attended cell lies within half a cell of a box)",
    "strict_pointing": "strict pointing (its centre lies in a box)",
    "selection": "selection (the nearest object is the right one)",
    "offset_x": "offset x (pixels from the box's centre to the most attended cell's, where it is near)",
    "offset_y": "offset y (the same, downwards)",
    "mass_in_box": "mass (of the attention in the boxes)",
    "rank_correlation": "rank correlation (Spearman with the boxes)",
    "top_1": "top-1 (the most attended region is the one whose removal costs most)",
    "comprehensiveness": "comprehensiveness (lost without the most attended fifth of the regions)",
    "sufficiency": "sufficiency (lost with that fifth alone, lower is better)",
    "faithfulness": "faithfulness (Spearman with the leave-one-out drop, held-out)",
    "faithfulness_beyond_position": "faithfulness beyond position (the order of words partialled out)",
    "deletion": "deletion (area under the score as the most attended go first, lower is better)",
    "insertion": "insertion (area under the score as they come first)",
    "drops_as_baseline": "drops as the baseline's (Spearman of this net's drops with the baseline's)",
    "map_as_baseline_drops": "map as the baseline's drops (Spearman of the map with the baseline's drops)",
}
# What is printed, and what sentences are made of.
TOLD = ("accuracy", "pointing", "selection", "top_1", "comprehensiveness", "sufficiency")
TOLD += ("faithfulness_beyond_position",)


def metrics_in(rows: pd.DataFrame) -> list[str]:
    """Which of `METRICS` the rows have values of."""
    return [metric for metric in METRICS if metric in rows and rows[metric].notna().any()]


def table(rows: pd.DataFrame, metric: str) -> str:
    """Means and paired differences to the baseline of one task and metric, as text."""
    compared = compare(rows, metric)
    columns = {
        "seeds": compared["n"],
        "mean": compared["mean"].map("{:.3f}".format),
        "sd": compared["std"].map("{:.3f}".format),
        "minus baseline [95%]": [
            "" if pd.isna(row.difference) else f"{row.difference:+.3f}{interval(row)}" for row in compared.itertuples()
        ],
        "Holm p": compared["holm"].map(lambda p: "" if pd.isna(p) else f"{p:.3f}"),
    }
    if "recovered" in compared:
        columns["recovered [95%]"] = [recovered(row) for row in compared.itertuples()]
    return pd.DataFrame(columns, index=compared.index).to_string(index_names=False)


def interval(row) -> str:
    """The interval of the difference in a row of `compare`, as text; nothing where there is one seed."""
    return f" [{row.low:+.3f}, {row.high:+.3f}]" if abs(row.low) < float("inf") else ""


def recovered(row) -> str:
    """The recovered gain of a row of `compare` with its interval, as text; nothing where there is none."""
    if pd.isna(row.recovered):
        return ""
    interval = "" if pd.isna(row.recovered_low) else f" [{row.recovered_low:.2f}, {row.recovered_high:.2f}]"
    return f"{row.recovered:.2f}{interval}"


def verdicts(rows: pd.DataFrame, metric: str) -> list[str]:
    """One sentence per supervised method: against the baseline, and against every control with the same start."""
    seeds, sentences = by_seed(rows, metric), []
    for label in seeds.columns:
        name, start = label.split("/")
        if role_of(name) != "method":
            continue
        base = paired_difference(seeds[label].to_numpy(), seeds["baseline/scratch"].to_numpy())
        if base.n < 2:
            sentences.append(f"{label}: {base.mean:+.3f} against the baseline on one seed, which says nothing.")
            continue
        controls: dict[str, list[str]] = {"above": [], "not distinguishable from": [], "below": []}
        for other in seeds.columns:
            control, begun = other.split("/")
            if role_of(control) == "control" and begun == start:
                difference = paired_difference(seeds[label].to_numpy(), seeds[other].to_numpy())
                controls[_relation(difference)].append(control)
        against = "; ".join(f"{relation} {', '.join(names)}" for relation, names in controls.items() if names)
        sentences.append(f"{label}: {_relation(base)} the baseline, {base}; {against}.")
    return sentences


def _relation(difference) -> str:
    return "above" if difference.low > 0 else "below" if difference.high < 0 else "not distinguishable from"


def means(rows: pd.DataFrame) -> str:
    """Means over seeds of what is told, a line for each condition, as text."""
    names = {name: METRICS[name].split(" (")[0] for name in metrics_in(rows) if name in TOLD}
    label = rows["condition"] + rows["start"].map(lambda start: "" if start == "scratch" else f", {start}")
    shown = rows.groupby(label, sort=False)[list(names)].mean().rename(columns=names)
    return shown.to_string(float_format="{:.3f}".format, index_names=False)


def ablations(rows: pd.DataFrame) -> str:
    """Means over seeds of the cells of a grid of ablations, in its order, as text."""
    cells = rows[rows["axis"].notna()]
    return cells.groupby(["axis", "value"], sort=False)[metrics_in(rows)].mean().round(3).to_string()


def report(rows: pd.DataFrame) -> str:
    """All tables and sentences of all tasks in `rows`."""
    parts = []
    for task, of_task in rows.groupby("task", sort=False):
        n_train, seeds = int(of_task["n_train"].iloc[0]), of_task["seed"].nunique()
        varied = "axis" in of_task and of_task["axis"].notna().any()
        compared = of_task[of_task["axis"].isna()] if varied else of_task
        parts += [f"\n{task}, {n_train} training examples, means of {seeds} seeds", means(compared)]
        for metric in (name for name in metrics_in(of_task) if name in TOLD):
            parts.extend(f"  {METRICS[metric].split(' (')[0]}: {sentence}" for sentence in verdicts(compared, metric))
        if varied:
            parts += [f"\n{task}, one thing varied at a time, means of {seeds} seeds", ablations(of_task)]
    return "\n".join(parts)
