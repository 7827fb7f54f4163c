"""The idea in one picture: a question, where the baseline looks, and where the retrained network looks.

Drawn from the rows in shapes_images.csv: of the test examples there that retraining fixed, the one whose attention
moved most into the box.
"""

from __future__ import annotations

import json
import textwrap
from pathlib import Path

import matplotlib.pyplot as plt
import pandas as pd
import torch

from ssan import plots
from ssan.gallery_images import image_from_text
from ssan.metrics import box_map, mass_in_box


def moved(row: pd.Series) -> float:
    """By how much the share of attention in the box grew."""
    image = image_from_text(row["image"])
    before, after = (torch.tensor(json.loads(row[kind])) for kind in ("before", "after"))
    side = round(len(before) ** 0.5)
    cover = box_map(torch.tensor([json.loads(row["boxes"])]), image.shape[-2:], (side, side))
    return float(mass_in_box(after[None], cover) - mass_in_box(before[None], cover))


def main(results: Path, out: Path) -> list[str]:
    """Draw it if there are rows for it; returns the names of the figures."""
    path = results / "shapes_images.csv"
    if not path.exists():
        return []
    rows = pd.read_csv(path, keep_default_na=False)
    fixed = rows[(rows["condition"] == "supervised_ridge") & (rows["outcome"] == "fixed")]
    if not len(fixed):
        return []
    row = max((fixed.iloc[k] for k in range(len(fixed))), key=moved)
    image = image_from_text(row["image"])
    figure, axes = plt.subplots(1, 3, figsize=(9, 3.5))
    captions = {
        None: textwrap.fill(f"“{row['question']}?”", 32),
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
