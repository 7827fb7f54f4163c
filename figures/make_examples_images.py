"""Images and questions: attention before and after retraining, on test examples picked by rule (see `ssan.gallery`).

Drawn from the rows in TASK_images.csv.
"""

from __future__ import annotations

import json
import textwrap
from pathlib import Path

import matplotlib.pyplot as plt
import pandas as pd

from ssan import plots
from ssan.gallery_images import image_from_text

TITLES = {"fixed": "wrong → right", "broken": "right → wrong", "kept": "right twice,\nattention moved most"}


def caption(row: pd.Series) -> str:
    """The question, or what is to be seen, in a few short lines."""
    text = row["question"] or f"what is it? {row['truth']}"
    return textwrap.fill(text, 26)


def draw(own: pd.DataFrame, title: str) -> plt.Figure:
    """Examples in columns, by outcome; the image, attention before, attention after."""
    outcomes = [outcome for outcome in TITLES if (own["outcome"] == outcome).any()]
    own = own.assign(order=own["outcome"].map(outcomes.index)).sort_values("order", kind="stable")
    figure, axes = plt.subplots(3, len(own), figsize=(1.62 * len(own) + 0.6, 6.3), squeeze=False)
    shown = ""
    for column, (_, row) in zip(axes.T, own.iterrows(), strict=True):
        image = image_from_text(row["image"])
        for ax, kind in zip(column, (None, "before", "after"), strict=True):
            weights = None if kind is None else json.loads(row[kind])
            plots.image_map(image, weights, ax=ax)
            for x0, y0, x1, y1 in json.loads(row["boxes"]):
                plots.outline(ax, (x0, y0, x1, y1))
            if kind:
                answer = row[f"answer_{kind}"]
                mark = "✓" if answer == row["truth"] else "✗"
                ax.set_xlabel(f"{answer} {mark}", fontsize=9)
        head = TITLES[row["outcome"]] if row["outcome"] != shown else ""
        shown = row["outcome"]
        column[0].set_title(f"{head}\n" if head else "\n", fontsize=9.5, loc="left", weight="bold")
        column[0].set_xlabel(caption(row), fontsize=8)
    for ax, label in zip(axes[:, 0], ("image", "baseline", "retrained"), strict=True):
        ax.set_ylabel(label, fontsize=10)
    figure.suptitle(title)
    return figure


def main(results: Path, out: Path) -> list[str]:
    """Draw what there are rows for; returns the names of the figures."""
    names = []
    for path in sorted(results.glob("*_images.csv")):
        rows = pd.read_csv(path, keep_default_na=False)
        for (task, condition, start), own in rows.groupby(["task", "condition", "start"], sort=False):
            name = f"examples_{task}_{condition}"
            title = f"{task}: attention of the baseline and of {condition}, {start}; dashed: what the answer depends on"
            alt = f"Test images of {task} with attention before and after retraining ({condition})."
            plots.save(draw(own, title), out, name, alt)
            names.append(name)
    return names
