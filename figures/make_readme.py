"""The tables of README.md, between their markers, and all tables in figures/TABLES.md, from the committed rows.

Only the `full` profile writes there; a test compares both with the rows.
"""

from __future__ import annotations

import re
import runpy
from pathlib import Path

import pandas as pd

from ssan.study.conditions import role_of
from ssan.study.report import METRICS, interval, metrics_in, recovered, verdicts
from ssan.study.statistics import ORACLE, by_seed, compare, paired_difference

HERE = Path(__file__).resolve().parent
README = HERE.parent / "README.md"
TABLES = HERE / "TABLES.md"
_IMAGE_METHODS = ("supervised_best", "supervised_ridge_3", "supervised_masked_3")
# What the README's table shows of each task: its name, its measure of attention, and the methods.
SHOWN = {
    "shapes": ("VQA: `shapes`, 1,000 questions about 500 images", "pointing", _IMAGE_METHODS),
    "shapes_mlb": ("VQA: the same with bilinear fusion, `shapes_mlb`", "pointing", _IMAGE_METHODS),
    "cluttered_fashion": ("images: `cluttered_fashion`, 1,000 images", "pointing", _IMAGE_METHODS),
    "trec": ("text: `trec`, 445 questions", "faithfulness", ("supervised_best", "supervised_importance")),
    "movie": ("text: `movie`, 800 snippets", "faithfulness", ("supervised_best", "supervised_importance")),
}


def _signed(mean: float, low: float, high: float) -> str:
    bold = "**" if low > 0 or high < 0 else ""
    return f"{bold}{mean:+.3f} [{low:+.3f}, {high:+.3f}]{bold}"


def summary(rows: pd.DataFrame, title: str, metric: str, methods: tuple[str, ...]) -> list[str]:
    """Lines of the README table: one for each method trained from scratch, against baseline and best control."""
    rows = rows[rows["start"] == "scratch"]
    compared, seeds = compare(rows, metric), by_seed(rows, metric)
    controls = [label for label in seeds if role_of(label.split("/")[0]) == "control"]
    best = max(controls, key=lambda label: seeds[label].mean())
    oracle = f"{seeds[ORACLE].mean():.3f}" if ORACLE in seeds else ""
    lines = []
    for name in methods:
        row = compared.loc[f"{name}/scratch"]
        against = paired_difference(seeds[f"{name}/scratch"].to_numpy(), seeds[best].to_numpy())
        cells = [
            title,
            METRICS[metric].split(" (")[0],
            f"{seeds['baseline/scratch'].mean():.3f}",
            f"`{name}`",
            f"{row['mean']:.3f}",
            _signed(row["difference"], row["low"], row["high"]),
            f"{best.split('/')[0]} {seeds[best].mean():.3f}; {_signed(against.mean, against.low, against.high)}",
            oracle,
            recovered(row) if "recovered" in row else "",
            f"{int(row['n'])}",
        ]
        lines.append("| " + " | ".join(cells) + " |")
    return lines


def readme_table(results: Path) -> str:
    """The README's table, of the tasks that have rows."""
    titles = ["task", "measure", "baseline", "method", "its mean", "minus baseline [95%]"]
    titles += ["best control; method minus it", "oracle", "recovered [95%]", "seeds"]
    lines = ["| " + " | ".join(titles) + " |", "|---" * len(titles) + "|"]
    for task, (title, attention, methods) in SHOWN.items():
        path = results / f"{task}.csv"
        if path.exists():
            rows = pd.read_csv(path)
            for metric in ("accuracy", attention):
                lines += summary(rows, title, metric, methods)
    return "\n".join(lines) + "\n"


def table(rows: pd.DataFrame) -> str:
    """A Markdown table of one task: mean (and difference to the baseline with its 95% interval) of every metric."""
    metrics = metrics_in(rows)
    compared = {metric: compare(rows, metric) for metric in metrics}
    titles = ["condition", *(METRICS[metric].split(" (")[0] for metric in metrics)]
    lines = ["| " + " | ".join(titles) + " |", "|---" * len(titles) + "|"]
    for label in compared[metrics[0]].index:
        cells = [label.replace("/", ", ")]
        for metric in metrics:
            row = compared[metric].loc[label]
            cell = f"{row['mean']:.3f}"
            if pd.notna(row["difference"]):
                bold = "**" if row["low"] > 0 or row["high"] < 0 else ""
                cell += f" {bold}({row['difference']:+.3f}{interval(row)}){bold}"
            if "recovered" in row and recovered(row):
                cell += f"; recovered {recovered(row)}"
            cells.append(cell)
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def tables(results: Path) -> str:
    """All tables and what may be said of them, a heading each."""
    parts = [
        "# All tables\n\nWritten from the rows in `figures/results/full` by `figures/make_readme.py`. Means over\n"
        "seeds; in brackets the paired difference to the baseline of the same seeds with its 95% interval, bold where\n"
        "it excludes 0; *recovered* is the share of the oracle's gain, with a bootstrap interval over seeds.\n"
    ]
    for path in sorted(results.glob("*.csv")):
        rows = pd.read_csv(path)
        if "condition" in rows and "config" in rows and "axis" not in rows:
            n, seeds = int(rows["n_train"].iloc[0]), rows["seed"].nunique()
            sentences = [
                f"- {METRICS[m].split(' (')[0]}: {line}" for m in metrics_in(rows) for line in verdicts(rows, m)
            ]
            heading = f"## {path.stem}\n\n{n} training examples, {seeds} seeds"
            parts.append("\n".join([heading, "", table(rows), "", *sentences, ""]))
    return "\n".join(parts)


def speed_table(results: Path) -> str:
    """The README's table of speed, from the rows of the bench; empty without them."""
    path = results.parent / "bench.csv"
    if not path.exists():
        return ""
    return runpy.run_path(str(HERE / "make_bench.py"))["markdown"](pd.read_csv(path))


def gpu_table(results: Path) -> str:
    """The README's table of what was measured on a GPU, from the rows of `make gpu`; a sentence without them."""
    path = results.parent / "gpu.csv"
    if not path.exists():
        return "**No GPU timing has been taken, and no number on this page comes from a GPU**: none was at hand.\n"
    rows = pd.read_csv(path, keep_default_na=False)
    lines = ["| | measured | goal |", "|---|---|---|"]
    lines += [f"| {row.name} | {row.value:g} {row.unit} | {row.goal} |" for row in rows.itertuples(index=False)]
    first = rows.iloc[0]
    where = f"{first.device}, driver {first.driver}, torch {first.torch}, triton {first.triton}, {first.date}"
    return "\n".join([*lines, "", f"Measured by `make gpu` on: {where}."]) + "\n"


def between(text: str, name: str, new: str) -> str:
    """`text` with `new` between the markers called `name`."""
    markers = re.compile(rf"(<!-- begin: {name} -->\n).*?(<!-- end: {name} -->)", re.DOTALL)
    return markers.sub(lambda match: match[1] + new + match[2], text)


def main(results: Path, out: Path) -> list[str]:  # noqa: ARG001
    """Rewrite README's tables and TABLES.md; nothing is drawn, so no names are returned."""
    if results.name == "full":
        text = between(README.read_text(), "tables", readme_table(results))
        text = between(text, "gpu", gpu_table(results))
        README.write_text(between(text, "speed", speed_table(results)))
        TABLES.write_text(tables(results))
    return []
