"""How many masks are enough? As many as make two draws of them agree on what matters.

python -m ssan.study.agreement      # half an hour of one core; rows: figures/results/full/mask_agreement.csv
"""

from __future__ import annotations

import dataclasses

import pandas as pd
import torch

from ssan.data import load_task
from ssan.files import write_atomically
from ssan.metrics import rank_correlation
from ssan.models import make_model
from ssan.samplers import RandomMasks
from ssan.search import find_surrogates
from ssan.study.plans import plan
from ssan.study.rivals import Together
from ssan.study.run import ROOT
from ssan.training import fit

NUMBERS, SEEDS, SELECTORS = (30, 100, 300), (0, 1, 2), ("importance", "ridge")


def agreement(task: str, seed: int, numbers: tuple[int, ...] = NUMBERS, n: int = 24) -> list[dict[str, object]]:
    """Rows for every number of masks and selector: `agreement`, the mean rank correlation of two draws' maps.

    Both search the first `n` training examples with the baseline of the task's full plan.
    """
    settings = plan(task, "full").settings
    data = load_task(settings.task, n_train=settings.n_train, seed=seed)
    model = make_model(data, seed, **dict(settings.model))
    fit(model, data, dataclasses.replace(settings.train, seed=seed))
    batch, rows = data.train.select(torch.arange(n)), []
    exists = data.regions.exists(batch)
    for number in numbers:
        masks = [RandomMasks(number, settings.sampler.keep, draw) for draw in (0, 1)]
        found = [find_surrogates(model, batch, each, selector=Together(SELECTORS), score="log_odds") for each in masks]
        for name, *maps in zip(SELECTORS, *(Together.apart(each, SELECTORS).values() for each in found), strict=True):
            value = float(rank_correlation(*(each.attention for each in maps), exists).nanmean())
            row = {"task": task, "seed": seed, "keep": settings.sampler.keep, "masks": number, "selector": name}
            rows.append(row | {"agreement": value, "n": n})
    return rows


if __name__ == "__main__":
    torch.set_num_threads(1)
    tasks = {"trec_minilm": 30, "movie_minilm": 24}
    made = [row for task, n in tasks.items() for seed in SEEDS for row in agreement(task, seed, n=n)]
    write_atomically(ROOT / "figures/results/full/mask_agreement.csv", pd.DataFrame(made).to_csv(index=False).encode())
