"""The tables of README.md, between their markers, and all tables in figures/TABLES.md, from the committed rows.

Only the `full` profile writes there; a test compares both with the rows.
"""

from __future__ import annotations

import re
import runpy
from pathlib import Path

import pandas as pd

from ssan.study.report import METRICS, TOLD, interval, metrics_in, recovered, verdicts
from ssan.study.statistics import compare

HERE = Path(__file__).resolve().parent
README = HERE.parent / "README.md"
TABLES = HERE / "TABLES.md"
_SEEN = ("accuracy", "pointing", "strict_pointing", "selection", "deletion", "faithfulness")
_READ = ("accuracy", "top_1", "comprehensiveness", "sufficiency", "faithfulness", "faithfulness_beyond_position")
_IMAGES = ["baseline", "supervised_best", "supervised_ridge_3", "self_3", "supervised_masked_3", "masked_self_3_twice"]
_IMAGES += ["aligned_self", "ensemble_3", "oracle", "baseline:chance", "baseline:centre", "baseline:constant"]
_TEXT = ["baseline", "supervised_best", "supervised_importance"]
_CONTROLS = ["self", "shuffled", "uniform", "inverted", "baseline:early"]
_PRETRAINED = [*_TEXT, "supervised_ridge", *_CONTROLS, "baseline:leave_one_out"]
# What the README's tables show of each task: its name, measures and conditions.
SHOWN = {
    "trec_minilm": ("a pretrained transformer, 445 TREC questions", _READ, _PRETRAINED),
    "movie_minilm": ("the same, 445 movie snippets", _READ, _PRETRAINED),
    "shapes": ("`shapes`: 1,000 questions about 500 images", _SEEN, _IMAGES),
    "cluttered_fashion": ("`cluttered_fashion`: 1,000 images", _SEEN, _IMAGES),
    "trec": ("a BiLSTM, `trec`: 445 questions", _READ, [*_TEXT, *_CONTROLS]),
    "movie": ("a BiLSTM, `movie`: 800 snippets", _READ, [*_TEXT, *_CONTROLS]),
}


def summary(rows: pd.DataFrame, title: str, metrics: tuple[str, ...], names: list[str]) -> list[str]:
    """Lines of a README table: means over seeds, bold where the paired interval of the difference to the baseline
    excludes 0."""
    rows = rows[rows["start"] == "scratch"]
    metrics, names = [m for m in metrics if m in rows], [name for name in names if (rows["condition"] == name).any()]
    compared = {metric: compare(rows, metric) for metric in metrics}
    head = [f"{title}; {rows['seed'].nunique()} seeds", *(METRICS[metric].split(" (")[0] for metric in metrics)]
    lines = ["| " + " | ".join(head) + " |", "|---" * len(head) + "|"]
    for name in names:
        cells = []
        for metric in metrics:
            row = compared[metric].loc[f"{name}/scratch"]
            clear = row["low"] > 0 or row["high"] < 0
            cells.append(f"**{row['mean']:.3f}**" if clear else f"{row['mean']:.3f}")
        lines.append(f"| `{name}` | " + " | ".join(cells) + " |")
    return lines


def readme_table(results: Path) -> str:
    """The README's tables, of the tasks that have rows."""
    parts = []
    for task, (title, metrics, names) in SHOWN.items():
        path = results / f"{task}.csv"
        if path.exists():
            parts.append("\n".join(summary(pd.read_csv(path), title, metrics, names)))
    return "\n\n".join(parts) + "\n"


def table(rows: pd.DataFrame, metrics: list[str]) -> str:
    """A Markdown table of one task: mean (and difference to the baseline with its 95% interval) of some metrics."""
    compared = {metric: compare(rows, metric) for metric in metrics}
    titles = ["condition", *(METRICS[metric].split(" (")[0] for metric in metrics)]
    lines = ["| " + " | ".join(titles) + " |", "|---" * len(titles) + "|"]
    for label in compared[metrics[0]].index:
        cells = [label.removesuffix("/scratch").replace("/", ", ")]
        for metric in metrics:
            row = compared[metric].loc[label]
            cell = f"{row['mean']:.3f}"
            if pd.notna(row["difference"]):
                bold = "**" if row["low"] > 0 or row["high"] < 0 else ""
                cell += f" {bold}({row['difference']:+.3f}{interval(row)}){bold}"
            if metric in ("accuracy", "pointing") and "recovered" in row and recovered(row):
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
            there = metrics_in(rows)
            told = [m for m in there if m in TOLD]
            sentences = [f"- {METRICS[m].split(' (')[0]}: {line}" for m in told for line in verdicts(rows, m)]
            heading = f"## {path.stem}\n\n{n} training examples, {seeds} seeds"
            halves = [table(rows, some) for some in (there[: len(there) // 2], there[len(there) // 2 :])]
            parts.append("\n\n".join([heading, *halves, "\n".join(sentences), ""]))
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
