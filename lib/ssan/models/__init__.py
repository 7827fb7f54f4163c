"""The models of the tasks, and one factory for all of them."""

from __future__ import annotations

import torch

from ssan.attention import AttentionModel
from ssan.models import image, minilm, text, vqa
from ssan.models.attach import attach
from ssan.models.check import check
from ssan.models.feature_grid import FeatureGrid
from ssan.models.words import WordRegions, encode_words
from ssan.task import Task

__all__ = ["FeatureGrid", "WordRegions", "attach", "check", "encode_words", "make_model"]


def make_model(task: Task, seed: int, name: str | None = None, **options: object) -> AttentionModel:
    """A new model for `task`, its initial weights a pure function of `seed` (global generators are left alone).

    Args:
        task: what it has (tokens, images, both) decides which models there are, its data their sizes.
        seed: of the initial weights.
        name: of questions about images `one_hop` (the default), `san` or `mlb`; of images `pooling`; of text `lstm`, of
            text in pieces `minilm`.
        **options: of the model, see `ssan.models.text`, `.minilm`, `.image` and `.vqa`.

    A ValueError if there is no model of that name for such a task.
    """
    first = task.train.select(torch.arange(1))
    of_text = text if first.words is None else minilm
    factory = of_text if first.image is None and first.features is None else image if first.tokens is None else vqa
    names = tuple(factory.MODELS)
    if name is not None and name not in names:
        raise ValueError(f"unknown model {name!r} for {task.name}: expected one of {', '.join(names)}")
    return factory.make_model(task, seed, name or names[0], **options)
