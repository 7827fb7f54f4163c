"""Rows of single images: questions, maps and masked variants as text, so that figures can be drawn from rows alone."""

from __future__ import annotations

import base64
import io
import json

import numpy as np
import pandas as pd
import torch
from PIL import Image
from torch import Tensor

from ssan.batch import Batch
from ssan.conditions import condition
from ssan.data.task import Task
from ssan.experiment import Experiment
from ssan.gallery import outcomes, pick
from ssan.rounds import teachers
from ssan.scorer import Scorer
from ssan.training import predict

# Of one target, these variants are shown: the best and the worst, and some between at even ranks.
SHOWN_VARIANTS = 5


def image_to_text(image: Tensor) -> str:
    """(channels, H, W) in [0, 1] -> a PNG file in base64, which a cell of a CSV file can hold; colours in 8 bits."""
    pixels = (image.clamp(0, 1) * 255).round().to(torch.uint8).permute(1, 2, 0).numpy()
    buffer = io.BytesIO()
    Image.fromarray(pixels if pixels.shape[2] == 3 else pixels[..., 0]).save(buffer, "PNG", optimize=True)
    return base64.b64encode(buffer.getvalue()).decode()


def image_from_text(text: str) -> np.ndarray:
    """The way back: (channels, H, W) floats in [0, 1]."""
    pixels = np.asarray(Image.open(io.BytesIO(base64.b64decode(text))), dtype=float) / 255
    return pixels[None] if pixels.ndim == 2 else np.moveaxis(pixels, -1, 0)


def map_to_text(weights: Tensor) -> str:
    """(R,) -> a JSON list, five digits each."""
    return json.dumps([round(float(weight), 5) for weight in weights])


def question_of(task: Task, batch: Batch, row: int) -> str:
    """The question of one example in words; empty where nothing is asked."""
    if batch.tokens is None:
        return ""
    return " ".join(task.words[i] for i in batch.tokens[row, : batch.lengths[row]].tolist())


def example_columns(task: Task, batch: Batch, row: int) -> dict[str, object]:
    """What rows say of one example: task, example, question (of text the sentence), truth, image (or ""), boxes."""
    boxes = [] if batch.boxes is None else [box for box in batch.boxes[row].tolist() if any(box)]
    return {
        "task": task.name,
        "example": int(batch.ids[row]),
        "question": question_of(task, batch, row),
        "truth": task.class_names[int(batch.label[row])],
        "image": "" if batch.image is None else image_to_text(batch.image[row]),
        "boxes": json.dumps(boxes),
    }


def image_examples(one: Experiment, conditions: list[tuple[str, str]], n: int = 3) -> pd.DataFrame:
    """Attention on test images before and after retraining.

    For every condition and every outcome the `n` examples, of `n` different images, whose attention moved most.

    Args:
        one: an experiment on images; nets that are missing are trained.
        conditions: (condition, start) pairs.
        n: examples per outcome.

    Returns:
        Rows: task, seed, condition, start, outcome, example, question, truth, answer_before, answer_after, image (see
        `image_to_text`), boxes, before, after (maps, see `map_to_text`).
    """
    task = one.task
    test = task.test.select(torch.arange(len(task.test)))
    logits, maps = predict(one.baseline(0), task.test, device=one.device)
    image_of = getattr(task.test, "image_of", torch.arange(len(test)))
    rows = []
    for name, start in conditions:
        new_logits, new_maps = predict(one.trained(name, start), task.test, device=one.device)
        for outcome, chosen in outcomes(logits, new_logits, test.label).items():
            seen: list[int] = []
            for row in pick(maps, new_maps, chosen, len(test)).tolist():
                if len(seen) == n or int(image_of[row]) in seen:
                    continue
                seen.append(int(image_of[row]))
                named = {"seed": one.seed, "condition": name, "start": start, "outcome": outcome}
                answers = {
                    "answer_before": task.class_names[int(logits[row].argmax())],
                    "answer_after": task.class_names[int(new_logits[row].argmax())],
                    "before": map_to_text(maps[row]),
                    "after": map_to_text(new_maps[row]),
                }
                rows.append(example_columns(task, test, row) | named | answers)
    return pd.DataFrame(rows)


def surrogate_images(one: Experiment, names: tuple[str, ...] = ("supervised_best", "supervised_ridge"), n: int = 4):
    """How targets come about: the variants of some training images with their scores, and the targets made of them.

    The `n` training examples, of different images, whose scores vary most among their variants under the baseline.

    Returns:
        A DataFrame of rows: task, seed, example, question, truth, image, boxes; what (`clean`, `variant` or `target`),
        name (of the target), index and score (of the variant), kept (its mask) and attention (maps as text).
    """
    task, batch, settings = one.task, one.train_batch, one.settings
    _, nets = teachers(one, condition("supervised_best").target)
    scores, attention, masks = _all_variants(one, nets)
    image_of = getattr(task.train, "image_of", torch.arange(len(batch)))
    made = {name: one.target(condition(name).target) for name in names}
    rows, seen = [], []
    for row in scores.std(1).argsort(descending=True, stable=True).tolist():
        if len(seen) == n or int(image_of[row]) in seen:
            continue
        seen.append(int(image_of[row]))
        told = example_columns(task, batch, row) | {"seed": one.seed}
        order = scores[row, 1:].argsort(descending=True, stable=True) + 1
        places = np.linspace(0, len(order) - 1, SHOWN_VARIANTS).round().astype(int)
        for index in [0, *order[places].tolist()]:
            shown = {
                "what": "variant" if index else "clean",
                "name": "",
                "index": index,
                "score": round(float(scores[row, index]), 4),
                "kept": json.dumps(masks[index].int().tolist()),
                "attention": map_to_text(attention[row, index]),
            }
            rows.append(told | shown)
        for name, target in made.items():
            rows.append(told | {"what": "target", "name": name, "attention": map_to_text(target[row])})
    frame = pd.DataFrame(rows)
    return frame.drop_duplicates(["example", "what", "name", "index"]).assign(sampler=repr(settings.sampler))


def _all_variants(one: Experiment, nets: list) -> tuple[Tensor, Tensor, Tensor]:
    """(N, V) scores, (N, V, R) attention and (V, R) masks of all variants of the first training examples."""
    sampler, regions = one.settings.sampler, one.regions
    some = one.train_batch.select(slice(0, 200))
    n = int(sampler.count(int(regions.count(some)[0])))
    with torch.inference_mode():
        scorer = Scorer([net.eval() for net in nets], some, sampler, regions, "logit")
        clean = scorer.clean()
        scores, maps = [clean.score[:, None]], [clean.attention[:, None]]
        for start in range(1, n, 8):
            indices = torch.arange(start, min(start + 8, n))
            rows = torch.arange(len(some)).repeat_interleave(len(indices))
            chunk = scorer(rows, indices.repeat(len(some)))
            scores.append(chunk.score.view(len(some), -1))
            maps.append(chunk.attention(slice(None)).view(len(some), len(indices), -1))
    masks = sampler.masks(int(regions.count(some)[0]), torch.arange(n), int(some.ids[0]))
    return torch.cat(scores, 1), torch.cat(maps, 1), masks
