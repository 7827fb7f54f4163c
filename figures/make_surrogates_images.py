"""How targets come about on images: the masked variants of training examples, their scores, and what is made of them.

The counterpart of the paper's Figure 2, for our masks. Drawn from the rows in TASK_variants.csv.
"""

from __future__ import annotations

import json
import textwrap
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd

from ssan import plots
from ssan.gallery_images import image_from_text


def hidden(image: np.ndarray, kept: list[int]) -> np.ndarray:
    """(channels, H, W) with the hidden cells of an 8x8 grid greyed out, so that they differ from a black ground."""
    cells = np.array(kept, dtype=float).reshape(8, 8)
    pixels = np.kron(cells, np.ones((image.shape[1] // 8, image.shape[2] // 8)))
    return image * pixels + 0.45 * (1 - pixels)


def main(results: Path, out: Path) -> list[str]:
    """Draw what there are rows for; returns the names of the figures."""
    names = []
    for path in sorted(results.glob("*_variants.csv")):
        rows = pd.read_csv(path, keep_default_na=False)
        task = rows["task"].iloc[0]
        examples = list(rows.groupby("example", sort=False))
        n_columns = max(len(own) for _, own in examples) + 1
        figure, axes = plt.subplots(
            len(examples), n_columns, figsize=(1.42 * n_columns + 0.3, 2.05 * len(examples)), squeeze=False
        )
        for line, (_, own) in zip(axes, examples, strict=True):
            for ax in line:
                ax.axis("off")
            _draw_example(line, own)
        figure.suptitle(f"{task}: hide parts of the image, score the true class, make a target")
        plots.save(
            figure, out, f"surrogates_{task}", f"Masked variants of images of {task}, their scores, and the targets."
        )
        names.append(f"surrogates_{task}")
    return names


def _draw_example(line: np.ndarray, own: pd.DataFrame) -> None:
    clean = own[own["what"] == "clean"].iloc[0]
    image, boxes = image_from_text(clean["image"]), json.loads(clean["boxes"])
    variants = own[own["what"] == "variant"].sort_values("score", ascending=False, key=lambda s: s.astype(float))
    targets = own[own["what"] == "target"]
    cells = [(image, None, _caption(clean))]
    cells.append((image, json.loads(clean["attention"]), f"clean attention\nscore {float(clean['score']):.2f}"))
    for place, (_, row) in enumerate(variants.iterrows()):
        word = "best" if place == 0 else "worst" if place == len(variants) - 1 else ""
        cells.append((hidden(image, json.loads(row["kept"])), None, f"{word}\nscore {float(row['score']):.2f}"))
    for _, row in targets.iterrows():
        cells.append((image, json.loads(row["attention"]), "target\n" + row["name"].removeprefix("supervised_")))
    for ax, (picture, weights, title) in zip(line, cells, strict=False):
        ax.axis("on")
        plots.image_map(picture, weights, ax=ax)
        ax.set_title(title, fontsize=8)
        if weights is not None:
            for box in boxes:
                plots.outline(ax, tuple(box))


def _caption(row: pd.Series) -> str:
    text = f"{row['question']}: {row['truth']}" if row["question"] else f"truth:\n{row['truth']}"
    return textwrap.fill(text, 22) if row["question"] else text
