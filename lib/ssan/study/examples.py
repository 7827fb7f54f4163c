"""Single examples of a study, for figures: a table, and images, masks and maps as arrays in its cells.

They are kept as one safetensors file a task: the table as CSV in its header, arrays as tensors.
"""

from __future__ import annotations

import io
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from ssan.files import load_tensors, save_tensors
from ssan.metrics import replay
from ssan.metrics.variants import variant_scores
from ssan.study.conditions import condition
from ssan.study.experiment import Experiment
from ssan.study.targets import teachers
from ssan.task import Batch, Split, Task
from ssan.training import predict

# Of one target, these variants are shown: the best and the worst, and some between at even ranks.
SHOWN_VARIANTS = 5
# Sentences of other lengths do not fit into the figures of changed attention and of targets.
CHANGED_WORDS, TARGET_WORDS = (4, 16), (6, 14)


def save_examples(path: Path, rows: pd.DataFrame) -> None:
    """Write `rows`; columns that hold arrays go into tensors, each array once, rows without one hold None."""
    tensors, table, arrays = {}, rows.copy(), []
    for name in rows:
        numbers, distinct = [], {}
        for cell in rows[name]:
            number = -1
            if isinstance(cell, np.ndarray):
                number = distinct.setdefault((cell.shape, cell.dtype.str, cell.tobytes()), len(distinct))
                tensors[f"{name}.{number}"] = torch.from_numpy(np.ascontiguousarray(cell))
            numbers.append(number)
        if distinct:
            table[name] = numbers
            arrays.append(name)
    save_tensors(path, tensors, {"rows": table.to_csv(index=False), "arrays": arrays})


def load_examples(path: str | Path) -> pd.DataFrame:
    """What `save_examples` wrote; a ValueError that names the file if it was changed since."""
    tensors, notes = load_tensors(path)
    # What is empty is an empty text, but for numbers.
    empty = {"index": "", "score": ""}
    rows = pd.read_csv(io.StringIO(notes["rows"]), keep_default_na=False, na_values=empty)
    arrays = {name: tensor.numpy() for name, tensor in tensors.items()}
    for name in notes["arrays"]:
        rows[name] = [arrays.get(f"{name}.{number}") for number in rows[name]]
    return rows


def outcomes(before: Tensor, after: Tensor, label: Tensor) -> dict[str, Tensor]:
    """Which examples (N,) bool were wrong and became right (`fixed`), the reverse (`broken`), or right twice (`kept`).

    `before`, `after` are the logits (N, C) of two models, `label` (N,) the true classes.
    """
    right, still = before.argmax(-1) == label, after.argmax(-1) == label
    return {"fixed": ~right & still, "broken": right & ~still, "kept": right & still}


def pick(before: Tensor, after: Tensor, chosen: Tensor, n: int, groups: Tensor | None = None) -> list[int]:
    """Positions of the `n` examples among `chosen` (N,) whose attention moved most (total variation), largest first.

    With `groups` (N,), say the images that examples look at, at most one of each.
    """
    width = min(before.shape[1], after.shape[1])
    moved = (before[:, :width] - after[:, :width]).abs().sum(-1) / 2
    order = moved.masked_fill(~chosen, -1).argsort(descending=True, stable=True)[: int(chosen.sum())].tolist()
    return _first_of_each(order, groups, n)


def _first_of_each(order: list[int], groups: Tensor | None, n: int) -> list[int]:
    if groups is None:
        return order[:n]
    first = {int(groups[row]): row for row in reversed(order)}
    return sorted(first.values(), key=order.index)[:n]


def _groups(split: Split) -> Tensor | None:
    return getattr(split, "image_of", None)


def _of_length(batch: Batch, words: tuple[int, int]) -> Tensor:
    if batch.image is not None:
        return torch.ones(len(batch), dtype=torch.bool)
    return (batch.lengths >= words[0]) & (batch.lengths <= words[1])


def example_columns(task: Task, batch: Batch, row: int) -> dict[str, object]:
    """What rows say of one example: task, example, question (of text the sentence), truth, image and boxes if any."""
    columns: dict[str, object] = {"task": task.name, "example": int(batch.ids[row]), "question": ""}
    if batch.tokens is not None:
        columns["question"] = " ".join(task.words[i] for i in batch.tokens[row, : batch.lengths[row]].tolist())
    columns["truth"] = task.class_names[int(batch.label[row])]
    if batch.image is not None:
        columns["image"] = (batch.image[row].clamp(0, 1) * 255).round().to(torch.uint8).numpy()
    if batch.boxes is not None:
        columns["boxes"] = batch.boxes[row][batch.boxes[row].any(-1)].numpy()
    return columns


def _map(maps: Tensor, row: int, n_regions: int | Tensor) -> np.ndarray:
    return maps[row, :n_regions].numpy().round(5).astype(np.float32)


def changed_examples(experiment: Experiment, conditions: list[tuple[str, str]], n: int = 3) -> pd.DataFrame:
    """Attention on test examples before and after retraining.

    For every (condition, start) and every outcome the `n` examples, of different images, whose attention moved most.

    Returns:
        Rows: `what` (`changed`), task, seed, condition, start, outcome, example, question, truth, answer_before,
        answer_after, before, after (maps); of images image and boxes.
    """
    task, test = experiment.task, experiment.task.test.select(torch.arange(len(experiment.task.test)))
    n_regions, fits = experiment.regions.count(test), _of_length(test, CHANGED_WORDS)
    logits, maps = predict(experiment.baseline(0), task.test, device=experiment.device)
    rows = []
    for name, start in conditions:
        new_logits, new_maps = predict(experiment.trained(name, start), task.test, device=experiment.device)
        for outcome, chosen in outcomes(logits, new_logits, test.label).items():
            for row in pick(maps, new_maps, chosen & fits, n, _groups(task.test)):
                named = {"what": "changed", "seed": experiment.seed, "condition": name, "start": start}
                answers = {
                    "outcome": outcome,
                    "answer_before": task.class_names[int(logits[row].argmax())],
                    "answer_after": task.class_names[int(new_logits[row].argmax())],
                    "before": _map(maps, row, n_regions[row]),
                    "after": _map(new_maps, row, n_regions[row]),
                }
                rows.append(named | example_columns(task, test, row) | answers)
    return pd.DataFrame(rows)


def target_examples(experiment: Experiment, names: Iterable[str], n: int = 4) -> pd.DataFrame:
    """How the targets of the conditions `names` come about: some variants of a few training examples, and the targets.

    The `n` training examples, of different images, on which the baseline's scores vary most.

    Returns:
        Rows: `what` (`clean`, `variant`, `target`), task, seed, example, question, truth; name (of the target), index
        and score (of the variant), kept (its mask) and attention; of images image and boxes.
    """
    task, batch = experiment.task, experiment.train_batch
    sampler, regions, n_regions = experiment.settings.sampler, experiment.regions, experiment.regions.count(batch)
    _, (net, *_) = teachers(experiment, condition("supervised_best").target)
    some = _of_length(batch, TARGET_WORDS).nonzero()[:, 0][: None if batch.image is None else 200]
    scores, _ = variant_scores(net.to("cpu"), batch.select(some), regions, sampler, score="logit")
    centred = scores - scores.nanmean(1, keepdim=True)
    order = centred.square().nanmean(1).argsort(descending=True, stable=True)
    score_of = dict(zip(some.tolist(), scores, strict=True))
    made = {name: experiment.target(condition(name).target) for name in names}
    rows = []
    for row in _first_of_each(some[order].tolist(), _groups(task.train), n):
        columns = example_columns(task, batch, row) | {"seed": experiment.seed}
        score, width = score_of[row][~score_of[row].isnan()], int(n_regions[row])
        ranked = score[1:].argsort(descending=True, stable=True) + 1
        places = np.linspace(0, len(ranked) - 1, SHOWN_VARIANTS).round().astype(int)
        index = torch.tensor(list(dict.fromkeys([0, *ranked[places].tolist()])))
        repeated = batch.select(torch.tensor([row] * len(index)))
        _, attention = replay(net, repeated, sampler, index, regions=regions, device="cpu")
        kept = sampler.masks(width, index, int(batch.ids[row]), grid=regions.grid)
        for i, number in enumerate(index.tolist()):
            shown = {"what": "variant" if number else "clean", "name": "", "index": number}
            shown |= {"score": round(float(score[number]), 4), "kept": kept[i].numpy()}
            rows.append(columns | shown | {"attention": _map(attention, i, width)})
        for name, target in made.items():
            shown = {"what": "target", "name": name, "index": -1, "score": float("nan")}
            rows.append(columns | shown | {"attention": _map(target, row, width)})
    return pd.DataFrame(rows)
