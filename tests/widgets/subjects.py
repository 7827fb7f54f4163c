"""Tiny tasks and random models for the widgets, and what is asked of every widget."""

from __future__ import annotations

import copy
import io

import ipywidgets as widgets
import numpy as np
import pandas as pd
import torch
from PIL import Image

from ssan.data.task import Task
from ssan.gallery_images import image_to_text, map_to_text
from ssan.models.image import AttentionPoolingCNN
from ssan.models.vqa import QuestionAttention
from ssan.regions import ImageGrid
from ssan.seeding import seeded
from ssan.widgets.comparison import Comparison
from ssan.widgets.panel import Panel
from ssan.widgets.subject import Subject
from tests.helpers import generator, text_model, text_task
from tests.models.grids import CLASSES, GRID, SIZE, WORDS, pictures, questions, small_cnn


def text_subject(name: str = "text") -> Subject:
    task = text_task(40, longest=9)
    return Subject.of(name, task, text_model(3), n=12)


def image_subject(name: str = "image") -> Subject:
    # A box in the lower right quarter of every image, and an unused slot.
    boxes = torch.tensor([[8.0, 8.0, 16.0, 16.0], [0, 0, 0, 0]]).expand(6, -1, -1)
    splits = [pictures(6, seed=k).replace(boxes=boxes) for k in range(3)]
    task = Task("tiny images", *splits, tuple(f"class {c}" for c in range(CLASSES)), ImageGrid(GRID, "zero"))
    with seeded(1):
        model = AttentionPoolingCNN(3, SIZE, CLASSES, grid=GRID, width=12)
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.mul_(2)
    return Subject.of(name, task, model)


def question_subject(name: str = "questions") -> Subject:
    words = tuple(f"w{k}" for k in range(WORDS))
    splits = [questions(6, seed=k) for k in range(3)]
    names = tuple(f"answer {c}" for c in range(CLASSES))
    task = Task("tiny questions", *splits, names, ImageGrid(GRID, "zero"), words=words)
    with seeded(1):
        model = QuestionAttention(small_cnn(), WORDS, CLASSES)
    return Subject.of(name, task, model)


def subjects() -> list[Subject]:
    return [text_subject(), image_subject(), question_subject()]


def comparison(subject: Subject, name: str = "two models", n: int = 12) -> Comparison:
    """A subject's model, and the same with shaken weights, so that some answers change; on the subject's examples."""
    other, g = copy.deepcopy(subject.model), generator(5)
    with torch.no_grad():
        for parameter in other.parameters():
            if parameter.requires_grad:
                noise = torch.randn(parameter.shape, generator=g)
                parameter.add_(noise * parameter.std(correction=0) * 0.7)
    return Comparison.of(name, subject.task, subject.model, other, subject.examples, n)


def ablation_rows(tasks=("shapes", "movie"), losses=("kl", "mse"), weights=(0.1, 1.0), seeds=3) -> pd.DataFrame:
    """Made-up rows, each number of which says where it belongs; weight 0 with the name of the first loss."""
    rows = [
        {
            "task": task,
            "loss": loss,
            "weight": weight,
            "seed": seed,
            "accuracy": 0.5 + 0.1 * weight + 0.01 * seed,
            "mass_in_box": 0.2 + 0.05 * k + 0.1 * weight if task == "shapes" else np.nan,
            "faithfulness": 0.3 if task == "movie" else np.nan,
        }
        for task in tasks
        for k, loss in enumerate(losses)
        for weight in ((0.0, *weights) if k == 0 else weights)
        for seed in range(seeds)
    ]
    return pd.DataFrame(rows)


def example_maps(tasks=("shapes", "movie"), losses=("kl", "mse"), weights=(0.1, 1.0), n=3) -> pd.DataFrame:
    """Made-up attention on `n` examples of an image task (`shapes`) and of text, and a net for each loss and weight.

    Without supervision only example 0 is answered correctly, with weight 1 all are.
    """
    g, rows = generator(3), []
    for task in tasks:
        for loss, weight in [("none", 0.0), *((loss, weight) for loss in losses for weight in weights)]:
            for example in range(n):
                maps = torch.rand(16 if task == "shapes" else 4 + example, generator=g)
                row = {"task": task, "seed": 100, "loss": loss, "weight": weight, "example": example}
                row |= {
                    "answer": "yes" if example == 0 or weight == 1 else "no",
                    "attention": map_to_text(maps / maps.sum()),
                }
                if weight == 0:
                    image = image_to_text(torch.rand(3, 8, 8, generator=g)) if task == "shapes" else ""
                    words = " ".join(f"word{k}" for k in range(4 + example))
                    row |= {
                        "question": words,
                        "truth": "yes",
                        "image": image,
                        "boxes": "[[2, 2, 6, 6]]" if image else "[]",
                    }
                rows.append(row)
    return pd.DataFrame(rows)


def pixels(png: bytes) -> np.ndarray:
    """(H, W, 3) of a PNG file."""
    return np.asarray(Image.open(io.BytesIO(png)).convert("RGB"))


def everything_in(box: widgets.Widget) -> list[widgets.Widget]:
    """A widget and all that it holds."""
    return [box, *(one for child in getattr(box, "children", ()) for one in everything_in(child))]


def check_panel(panel: Panel) -> None:
    """What holds for every widget of the package, whatever it shows."""
    every = everything_in(panel.box)
    assert all(one._model_module.startswith("@jupyter-widgets/") for one in every)
    assert [one for one in every if isinstance(one, widgets.Image)] == [panel.picture]
    controls = [one for one in every if "description" in one.traits() and not isinstance(one, widgets.HTML)]
    assert len(controls) >= 3
    for one in controls:
        assert one.description.strip(), one
        assert one.tooltip.strip(), one
        assert getattr(one, "continuous_update", False) is False, one
    assert panel.picture.layout.width.endswith("px")
    assert panel.png.startswith(b"\x89PNG")
    assert len(panel.said) > 40
    assert panel.error is None
    assert "did not work" not in panel.status.value
    bundle = panel._repr_mimebundle_()
    assert bundle["application/vnd.jupyter.widget-view+json"]["model_id"] == panel.box.model_id
    assert bundle["text/plain"].startswith("[")


def click(panel: Panel, button: widgets.Button) -> None:
    """Click a button; ipywidgets only logs what its callbacks raise, here it is raised."""
    button.click()
    if panel.error is not None:
        raise panel.error
