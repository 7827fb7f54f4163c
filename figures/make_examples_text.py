"""Text: attention before and after retraining, on test sentences picked by rule (see `ssan.gallery`).

Drawn from the rows in TASK_examples.csv.
"""

from __future__ import annotations

from pathlib import Path

import matplotlib.pyplot as plt
import pandas as pd

from ssan import plots

TITLES = {"fixed": "wrong → right", "broken": "right → wrong", "kept": "right, attention moved most"}


def main(results: Path, out: Path) -> list[str]:
    """Draw what there are rows for; returns the names of the figures."""
    names = []
    for path in sorted(results.glob("*_examples.csv")):
        rows = pd.read_csv(path, keep_default_na=False)
        task = rows["task"].iloc[0]
        for (condition, start), own in rows.groupby(["condition", "start"], sort=False):
            examples = list(own.groupby(["outcome", "example"], sort=False))
            figure, axes = plt.subplots(len(examples), 1, figsize=(11.5, 1.25 * len(examples)), squeeze=False)
            for ax, ((outcome, _), words) in zip(axes[:, 0], examples, strict=True):
                maps = {
                    f"before: {words['answer_before'].iloc[0]}": words["before"].to_numpy(),
                    f"after: {words['answer_after'].iloc[0]}": words["after"].to_numpy(),
                }
                plots.token_strip(words["word"].tolist(), maps, ax=ax)
                ax.set_title(f"{TITLES[outcome]} (truth: {words['truth'].iloc[0]})", loc="left", fontsize=9)
            name = f"text_examples_{task}_{condition}_{start}"
            figure.suptitle(f"{task}: attention of the baseline and of {condition}, {start}")
            plots.save(figure, out, name, f"Attention over words before and after retraining ({condition}, {start}).")
            names.append(name)
    return names
