"""Text: clean attention beside the surrogates that two selectors make of the same variants.

Drawn from the rows in TASK_surrogates.csv: the training sentences on which the best variant gains most.
"""

from __future__ import annotations

from pathlib import Path

import matplotlib.pyplot as plt
import pandas as pd

from ssan import plots

MAPS = {"clean": "clean", "best": "best variant", "importance": "importance"}


def main(results: Path, out: Path) -> list[str]:
    """Draw what there are rows for; returns the names of the figures."""
    names = []
    for path in sorted(results.glob("*_surrogates.csv")):
        rows = pd.read_csv(path, keep_default_na=False)
        task = rows["task"].iloc[0]
        examples = list(rows.groupby("example", sort=False))
        figure, axes = plt.subplots(len(examples), 1, figsize=(11, 1.6 * len(examples)), squeeze=False)
        for ax, (_, words) in zip(axes[:, 0], examples, strict=True):
            maps = {label: words[column].to_numpy() for column, label in MAPS.items()}
            plots.token_strip(words["word"].tolist(), maps, ax=ax)
            first = words.iloc[0]
            scores = f"logit {first['clean_score']:.2f} clean, {first['score']:.2f} on variant {first['index']}"
            ax.set_title(f"{first['truth']}: {scores}", loc="left", fontsize=9)
        figure.suptitle(f"{task}: clean attention and the targets made from it")
        plots.save(figure, out, f"surrogates_{task}", "Attention over words on the clean input and in two targets.")
        names.append(f"surrogates_{task}")
    return names
