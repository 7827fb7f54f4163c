"""The idea in one picture: a question, where the baseline looks, and where the retrained network looks.

Drawn from the rows in shapes_images.csv: the first test example that retraining fixed.
"""

from __future__ import annotations

import json
from pathlib import Path

import matplotlib.pyplot as plt
import pandas as pd

from ssan import plots
from ssan.gallery_images import image_from_text


def main(results: Path, out: Path) -> list[str]:
    """Draw it if there are rows for it; returns the names of the figures."""
    path = results / "shapes_images.csv"
    if not path.exists():
        return []
    rows = pd.read_csv(path, keep_default_na=False)
    fixed = rows[(rows["condition"] == "supervised_ridge") & (rows["outcome"] == "fixed")]
    if not len(fixed):
        return []
    row = fixed.iloc[0]
    image = image_from_text(row["image"])
    figure, axes = plt.subplots(1, 3, figsize=(9, 3.7))
    captions = {
        None: f"“{row['question']}?”",
        "before": f"the baseline looks here\nand says: {row['answer_before']}",
        "after": f"taught by its own surrogates it looks here\nand says: {row['answer_after']}",
    }
    for ax, (kind, caption) in zip(axes, captions.items(), strict=True):
        plots.image_map(image, None if kind is None else json.loads(row[kind]), ax=ax)
        for box in json.loads(row["boxes"]):
            plots.outline(ax, tuple(box))
        ax.set_xlabel(caption, fontsize=10)
    alt = f"A scene of coloured shapes; asked {row['question']}, attention before and after supervision."
    plots.save(figure, out, "idea", alt)
    return ["idea"]
