"""The widgets: from the turn of a control of the sampling explorer to the new picture. Reported, not judged.

Search, drawing and everything between are in it; what JupyterLab then needs to show the picture is not. A hand that
waits no longer than 150 ms feels that it moves the picture itself.
"""

from __future__ import annotations

from functools import partial

import pytest
import torch

from ssan.batch import Batch
from ssan.data.task import Task
from ssan.models.text import SelfAttentiveLSTM, TextConfig
from ssan.regions import ImageGrid, TokenRegions
from ssan.seeding import seeded
from ssan.widgets import SamplingExplorer, Subject
from tests.benchmarks.test_images import CLASSES, GRID, classifier, images, question_model
from tests.benchmarks.timing import QUICK, Row, record, seconds, summary

BUDGET = 0.150
UPDATES = 4 if QUICK else 20
VOCABULARY = 30


def sentences(n: int, longest: int = 24) -> Batch:
    """Random sentences of 4 to `longest` words: those that the explorer shows by default."""
    g = torch.Generator().manual_seed(0)
    return Batch(
        ids=torch.arange(n),
        label=torch.randint(0, CLASSES, (n,), generator=g),
        tokens=torch.randint(2, VOCABULARY, (n, longest), generator=g),
        lengths=torch.randint(4, longest + 1, (n,), generator=g),
    )


def subject(kind: str) -> Subject:
    """A task of random examples and a random model, both of the sizes of the defaults."""
    words = tuple(f"word{k}" for k in range(VOCABULARY))
    if kind == "text":
        with seeded(0):
            model = SelfAttentiveLSTM(VOCABULARY, CLASSES, TextConfig()).eval()
        batch, regions = sentences(UPDATES + 1), TokenRegions()
    else:
        model = classifier() if kind == "image" else question_model()
        batch = images(UPDATES + 1, words=0 if kind == "image" else VOCABULARY)
        regions = ImageGrid(GRID, "zero")
    task = Task(kind, batch, batch, batch, tuple(f"class {c}" for c in range(CLASSES)), regions, words=words)
    return Subject.of(kind, task, model)


def update_row(kind: str) -> Row:
    """Median seconds of an update with the task's usual sampler, an example after the other; the ratio is to 150 ms."""
    panel = SamplingExplorer([subject(kind)])
    taken = [seconds(partial(setattr, panel.example, "value", place)) for place in range(1, UPDATES + 1)]
    return record(summary(f"explorer update of 150 ms, {kind}", [one / BUDGET for one in taken], taken))


@pytest.mark.parametrize("kind", ["text", "image", "questions"])
def test_update_of_the_sampling_explorer(kind):
    row = update_row(kind)
    print(f"{UPDATES} updates, median {1000 * row.ours_s:.0f} ms")
    assert row.ours_s > 0
