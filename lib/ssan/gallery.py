"""Rows of examples: what figures of single sentences or images are drawn from, picked by rule and not by hand."""

from __future__ import annotations

import pandas as pd
import torch
from torch import Tensor

from ssan.batch import Batch
from ssan.data.task import Task
from ssan.experiment import Experiment
from ssan.training import predict

OUTCOMES = ("fixed", "broken", "kept")


def outcomes(before: Tensor, after: Tensor, label: Tensor) -> dict[str, Tensor]:
    """Which examples were wrong and became right (`fixed`), the reverse (`broken`), or were right twice (`kept`).

    Args:
        before, after: (N, C) logits of the two models.
        label: (N,) ground truth.

    Returns:
        Name -> (N,) bool.
    """
    right, still = before.argmax(-1) == label, after.argmax(-1) == label
    return {"fixed": ~right & still, "broken": right & ~still, "kept": right & still}


def pick(before: Tensor, after: Tensor, chosen: Tensor, n: int) -> Tensor:
    """Positions of the `n` examples among `chosen` (N,) whose attention moved most (total variation), largest first."""
    width = min(before.shape[1], after.shape[1])
    moved = (before[:, :width] - after[:, :width]).abs().sum(-1) / 2
    order = moved.masked_fill(~chosen, -1).argsort(descending=True, stable=True)
    return order[: min(n, int(chosen.sum()))]


def text_examples(one: Experiment, conditions: list[tuple[str, str]], n: int = 2, longest: int = 16) -> pd.DataFrame:
    """Attention on test sentences before and after retraining, word by word.

    For every condition and every outcome the `n` sentences of at most `longest` words whose attention moved most.

    Args:
        one: a text experiment; nets that are missing are trained.
        conditions: (condition, start) pairs.
        n: sentences per outcome.
        longest: sentences with more words are passed over, as they do not fit into a figure.

    Returns:
        Rows: task, seed, condition, start, outcome, example, position, word, truth, answer_before, answer_after,
        before, after (attention weights).
    """
    task, test = one.task, one.task.test
    logits, maps = predict(one.baseline(0), test, device=one.device)
    rows = []
    for name, start in conditions:
        new_logits, new_maps = predict(one.trained(name, start), test, device=one.device)
        fits = (test.lengths <= longest) & (test.lengths >= 4)
        for outcome, chosen in outcomes(logits, new_logits, test.label).items():
            for example in pick(maps, new_maps, chosen & fits, n).tolist():
                rows += _words(task, test, example, logits, new_logits, maps, new_maps, (name, start, outcome))
    return pd.DataFrame(rows).assign(seed=one.seed)


def _words(
    task: Task,
    test: Batch,
    example: int,
    logits: Tensor,
    new_logits: Tensor,
    maps: Tensor,
    new_maps: Tensor,
    named: tuple[str, str, str],
) -> list[dict[str, object]]:
    condition, start, outcome = named
    return [
        {
            "task": task.name,
            "condition": condition,
            "start": start,
            "outcome": outcome,
            "example": int(test.ids[example]),
            "position": position,
            "word": task.words[int(test.tokens[example, position])],
            "truth": task.class_names[int(test.label[example])],
            "answer_before": task.class_names[int(logits[example].argmax())],
            "answer_after": task.class_names[int(new_logits[example].argmax())],
            "before": round(float(maps[example, position]), 5),
            "after": round(float(new_maps[example, position]), 5),
        }
        for position in range(int(test.lengths[example]))
    ]


def surrogate_rows(one: Experiment, n: int = 3, longest: int = 14) -> pd.DataFrame:
    """Clean attention and surrogates of training sentences, word by word.

    The `n` training sentences of 6 to `longest` words on which the best variant gains most over the clean input.

    Returns:
        Rows: task, seed, example, position, word, truth, clean, best, importance, index, clean_score, score.
    """
    task, batch = one.task, one.train_batch
    best = one.surrogates("baseline-x1", [one.baseline(0)], "best", "logit")
    importance = one.surrogates("baseline-x1", [one.baseline(0)], "importance", "probability")
    fits = (batch.lengths <= longest) & (batch.lengths >= 6)
    order = best.gain.masked_fill(~fits, -torch.inf).argsort(descending=True, stable=True)[:n]
    return pd.DataFrame(
        {
            "task": task.name,
            "seed": one.seed,
            "example": int(batch.ids[example]),
            "position": position,
            "word": task.words[int(batch.tokens[example, position])],
            "truth": task.class_names[int(batch.label[example])],
            "clean": round(float(best.clean_attention[example, position]), 5),
            "best": round(float(best.attention[example, position]), 5),
            "importance": round(float(importance.attention[example, position]), 5),
            "index": int(best.index[example]),
            "clean_score": round(float(best.clean_score[example]), 4),
            "score": round(float(best.score[example]), 4),
        }
        for example in order.tolist()
        for position in range(int(batch.lengths[example]))
    )
