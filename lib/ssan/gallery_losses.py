"""Rows of single test examples under every loss and weight: what the loss explorer shows beside its numbers."""

from __future__ import annotations

from collections.abc import Iterable

import pandas as pd
import torch

from ssan.ablations import Variation
from ssan.conditions import PLAIN
from ssan.experiment import Experiment
from ssan.gallery_images import example_columns, map_to_text
from ssan.training import predict


def loss_maps(one: Experiment, variations: Iterable[Variation], n: int = 6) -> pd.DataFrame:
    """Attention and answers on a few test examples, without supervision and with each loss and weight.

    The examples are the first of `n` different images of the test split (of text: its first `n` sentences): what any
    model makes of them has no say.

    Args:
        one: an experiment; nets that are missing are trained.
        variations: the study's; those that vary the loss are used, see `ssan.ablations.losses`.
        n: number of examples.

    Returns:
        Rows: task, seed, loss, weight, example, answer, attention (see `map_to_text`); those of no supervision (loss
        `none`, weight 0) also say question (of text the sentence), truth, image (see `image_to_text`) and boxes.
    """
    task = one.task
    image_of = getattr(task.test, "image_of", torch.arange(len(task.test))).tolist()
    first = {image: row for row, image in reversed(list(enumerate(image_of)))}
    batch = task.test.select(torch.tensor(sorted(first.values())[:n]))
    counts = one.regions.count(batch).tolist()
    nets = [("none", 0.0, PLAIN, "scratch")]
    for cell in variations:
        if cell.varies_loss:
            nets.append((cell.condition.loss, cell.condition.weight, cell.condition, cell.start))
    rows = []
    for loss, weight, condition, start in nets:
        logits, maps = predict(one.trained(condition, start), batch, device=one.device)
        for row in range(len(batch)):
            found = {
                "task": task.name,
                "seed": one.seed,
                "loss": loss,
                "weight": weight,
                "example": int(batch.ids[row]),
                "answer": task.class_names[int(logits[row].argmax())],
                "attention": map_to_text(maps[row, : counts[row]]),
            }
            rows.append(found | (example_columns(task, batch, row) if condition is PLAIN else {}))
    return pd.DataFrame(rows)
