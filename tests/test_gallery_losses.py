"""Rows of examples under every loss: against the nets they are of."""

import dataclasses
import json

import pytest
import torch

from ssan.ablations import losses, selectors
from ssan.data.task import Task
from ssan.experiment import Experiment
from ssan.gallery_losses import loss_maps
from ssan.samplers import Pairs
from ssan.settings import Settings
from ssan.training import TrainConfig, predict
from ssan.widgets.loss_maps import check_maps
from tests.helpers import text_model, text_task
from tests.test_gallery_images import one

__all__ = ["one"]

CELLS = [*losses({"kl": (0.3,), "mse": (30.0, 300.0)}), *selectors()[:1]]


def test_maps_and_answers_are_those_of_the_nets(one):
    rows = loss_maps(one, CELLS, n=4)
    check_maps(rows)
    tried = [("none", 0.0), ("kl", 0.3), ("mse", 30.0), ("mse", 300.0)]
    assert list(rows.groupby(["loss", "weight"], sort=False).groups) == tried
    first = one.task.test.select(torch.arange(4))
    for (loss, weight), own in rows.groupby(["loss", "weight"], sort=False):
        net = one.baseline(0) if loss == "none" else one.trained(CELLS[tried.index((loss, weight)) - 1].condition)
        logits, maps = predict(net, first, device="cpu")
        assert own["example"].tolist() == first.ids.tolist()
        assert own["answer"].tolist() == [one.task.class_names[k] for k in logits.argmax(-1).tolist()]
        for text, weights in zip(own["attention"], maps, strict=True):
            assert json.loads(text) == pytest.approx(weights.tolist(), abs=1e-5)
    plain = rows[rows["weight"] == 0]
    assert plain["truth"].tolist() == [one.task.class_names[k] for k in first.label.tolist()]
    assert rows.loc[rows["weight"] > 0, ["image", "truth", "question", "boxes"]].isna().all(axis=None)


def test_of_an_image_with_several_questions_one_is_shown(one):
    test = one.task.test

    class Shared:
        """Two questions for each image, the second image's first."""

        image_of = torch.tensor([1, 1, 0, 0, *range(2, len(test) - 2)])

        def __len__(self):
            return len(test)

        def __getattr__(self, name):
            return getattr(test, name)

    shared = Experiment(
        one.settings, 0, dataclasses.replace(one.task, test=Shared()), one.make_model, one.folder, "cpu"
    )
    shared.hash = one.hash
    rows = loss_maps(shared, [], n=3)
    assert rows["example"].tolist() == test.ids[[0, 2, 4]].tolist()


def test_sentences_have_as_many_weights_as_words(tmp_path):
    task: Task = text_task(30, longest=9)
    train = TrainConfig(epochs=1, batch_size=8, keep="last", validate=False)
    text = Experiment(
        Settings("text", None, Pairs(), train), 0, task, lambda _, seed: text_model(seed), tmp_path, "cpu"
    )
    rows = loss_maps(text, [])
    check_maps(rows.fillna(""))
    assert (rows["image"] == "").all()
    lengths = task.test.lengths[: len(rows)].tolist()
    assert [len(json.loads(weights)) for weights in rows["attention"]] == lengths
