"""Images as text and back, and rows of images against the nets they are of."""

import json

import numpy as np
import pandas as pd
import pytest
import torch

from ssan.data.task import Task
from ssan.experiment import Experiment, Settings
from ssan.gallery_images import SHOWN_VARIANTS, image_examples, image_from_text, image_to_text, surrogate_images
from ssan.models.image import AttentionPoolingCNN
from ssan.regions import ImageGrid
from ssan.samplers import HideWindows
from ssan.search import find_surrogates
from ssan.seeding import seeded
from ssan.training import TrainConfig, predict
from tests.helpers import generator

GRID = (4, 4)


@pytest.mark.parametrize("channels", [1, 3])
def test_images_survive_as_text(channels):
    image = torch.randint(256, (channels, 6, 9), generator=generator(0)) / 255
    assert np.allclose(image_from_text(image_to_text(image)), image.numpy())


def batch(n, seed):
    from ssan.batch import Batch

    g = generator(seed)
    boxes = torch.tensor([[[4.0, 4, 12, 12]]]).expand(n, 1, 4).clone()
    label = torch.randint(3, (n,), generator=g)
    image = torch.rand(n, 1, 16, 16, generator=g) * 0.2
    image[torch.arange(n), 0, 6, 6 + label] = 1
    return Batch(torch.arange(n) + 10, label, image=image, boxes=boxes)


@pytest.fixture(scope="module")
def one(tmp_path_factory):
    task = Task("pictures", batch(24, 0), batch(8, 1), batch(40, 2), ("a", "b", "c"), ImageGrid(GRID, "zero"))
    train = TrainConfig(epochs=2, batch_size=8, learning_rate=1e-2, keep="last", validate=False)

    def make(_, seed):
        with seeded(seed):
            return AttentionPoolingCNN(1, (16, 16), 3, grid=GRID, width=8)

    settings = Settings("pictures", None, HideWindows(2, grid=GRID), train)
    return Experiment(settings, 0, task, make, tmp_path_factory.mktemp("one"), "cpu")


def test_examples_are_what_the_nets_say(one):
    rows = image_examples(one, [("supervised_best", "scratch")], n=2)
    logits, maps = predict(one.baseline(0), one.task.test, device="cpu")
    new_logits, new_maps = predict(one.trained("supervised_best"), one.task.test, device="cpu")
    assert len(rows)
    assert rows.groupby("outcome").size().max() <= 2
    for _, row in rows.iterrows():
        place = one.task.test.ids.tolist().index(row["example"])
        assert json.loads(row["before"]) == pytest.approx(maps[place].tolist(), abs=1e-5)
        assert json.loads(row["after"]) == pytest.approx(new_maps[place].tolist(), abs=1e-5)
        assert row["answer_before"] == one.task.class_names[int(logits[place].argmax())]
        assert row["answer_after"] == one.task.class_names[int(new_logits[place].argmax())]
        assert json.loads(row["boxes"]) == [[4, 4, 12, 12]]
        right = (row["answer_before"] == row["truth"], row["answer_after"] == row["truth"])
        assert right == {"fixed": (False, True), "broken": (True, False), "kept": (True, True)}[row["outcome"]]


def test_variants_and_targets_are_what_the_search_finds(one):
    rows = surrogate_images(one, n=3)
    found = find_surrogates(one.baseline(0), one.train_batch, one.settings.sampler, regions=one.regions)
    for example, own in rows.groupby("example"):
        place = one.train_batch.ids.tolist().index(example)
        clean, variants = own[own["what"] == "clean"], own[own["what"] == "variant"]
        assert clean["score"].iloc[0] == pytest.approx(float(found.clean_score[place]), abs=1e-3)
        assert 1 < len(variants) <= SHOWN_VARIANTS
        best = max(variants["score"].max(), clean["score"].iloc[0])
        assert best == pytest.approx(float(found.score[place]), abs=1e-3)
        for _, row in variants.iterrows():
            expected = one.settings.sampler.masks(16, int(row["index"]), int(example))[0]
            assert json.loads(row["kept"]) == expected.int().tolist()
        target = own[own["name"] == "supervised_best"]["attention"].iloc[0]
        assert json.loads(target) == pytest.approx(found.attention[place].tolist(), abs=2e-3)


def test_rows_survive_a_csv_file(one, tmp_path):
    rows = surrogate_images(one, n=1)
    rows.to_csv(tmp_path / "rows.csv", index=False)
    again = pd.read_csv(tmp_path / "rows.csv", keep_default_na=False)
    assert json.loads(again["attention"].iloc[0]) == json.loads(rows["attention"].iloc[0])
    assert image_from_text(again["image"].iloc[0]).shape == (1, 16, 16)
