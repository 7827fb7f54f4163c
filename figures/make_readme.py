"""The tables of README.md, written between its markers from the committed rows.

Only the `full` profile writes there; a test compares the README with the rows.
"""

from __future__ import annotations

import re
from pathlib import Path

import pandas as pd

from ssan.report import METRICS, metrics_in, verdicts
from ssan.statistics import compare

README = Path(__file__).resolve().parents[1] / "README.md"
MARKERS = re.compile(r"(<!-- begin: tables -->\n).*?(<!-- end: tables -->)", re.DOTALL)


def table(rows: pd.DataFrame) -> str:
    """A Markdown table of one task: mean (and difference to the baseline with its 95% interval) of every metric."""
    metrics = metrics_in(rows)
    found = {metric: compare(rows, metric) for metric in metrics}
    titles = ["condition", *(METRICS[metric].split(" (")[0] for metric in metrics)]
    lines = ["| " + " | ".join(titles) + " |", "|---" * len(titles) + "|"]
    for label in found[metrics[0]].index:
        cells = [label.replace("/", ", ")]
        for metric in metrics:
            row = found[metric].loc[label]
            cell = f"{row['mean']:.3f}"
            if pd.notna(row["difference"]):
                bold = "**" if row["low"] > 0 or row["high"] < 0 else ""
                cell += f" {bold}({row['difference']:+.3f} [{row['low']:+.3f}, {row['high']:+.3f}]){bold}"
            cells.append(cell)
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def tables(results: Path) -> str:
    """All tables, a heading each."""
    parts = []
    for path in sorted(results.glob("*.csv")):
        rows = pd.read_csv(path)
        if "condition" in rows and "config" in rows:
            n, seeds = int(rows["n_train"].iloc[0]), rows["seed"].nunique()
            heading = f"**{path.stem}**, {n} training examples, {seeds} seeds; bold where the interval excludes 0"
            said = [f"- {METRICS[m].split(' (')[0]}: {line}" for m in metrics_in(rows) for line in verdicts(rows, m)]
            parts.append("\n".join([heading, "", table(rows), "", *said, ""]))
    return "\n".join(parts)


def main(results: Path, out: Path) -> list[str]:  # noqa: ARG001
    """Rewrite the tables of the README; nothing is drawn, so no names are returned."""
    if results.name == "full":
        text = README.read_text()
        README.write_text(MARKERS.sub(lambda match: match[1] + tables(results) + match[2], text))
    return []
