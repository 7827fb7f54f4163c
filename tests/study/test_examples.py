"""Single examples: files that keep them, and rows against the nets and searches they are of."""

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors.numpy import load_file

from ssan.metrics import variant_scores
from ssan.study import Target, examples
from ssan.study.examples import SHOWN_VARIANTS
from ssan.training import predict
from tests.study.tiny import of_images, of_text

BOTH = pytest.mark.parametrize("kind", ["image", "text"])


@pytest.fixture(scope="module")
def experiments(tmp_path_factory):
    return {"image": of_images(tmp_path_factory.mktemp("image")), "text": of_text(tmp_path_factory.mktemp("text"))}


def test_rows_and_their_arrays_survive_a_file(tmp_path):
    image, flags = np.arange(12, dtype=np.uint8).reshape(1, 3, 4), np.array([True, False])
    columns = {"name": ['a, "b"', "", "c\nd"], "image": [image, None, image.copy()], "score": [0.25, -1.5, 3]}
    rows = pd.DataFrame(
        columns | {"map": [np.float32([0.5, 0.25])[::-1], flags, flags.view(np.uint8)]}, index=[0, 0, 1]
    )
    examples.save_examples(tmp_path / "few", rows)
    again = examples.load_examples(tmp_path / "few")
    assert list(again) == list(rows)
    for name in rows:
        for before, after in zip(rows[name], again[name], strict=True):
            assert np.array_equal(before, after)
            assert not isinstance(before, np.ndarray) or before.dtype == after.dtype
    assert sorted(load_file(tmp_path / "few")) == ["image.0", "map.0", "map.1", "map.2"]


def test_outcomes_and_the_choice_of_examples():
    label = torch.tensor([0, 0, 1, 1])
    right, wrong = torch.eye(2)[label], torch.eye(2)[1 - label]
    before, after = torch.stack([right[0], wrong[1], right[2], wrong[3]]), torch.stack([*right[:2], *wrong[2:]])
    chosen = {name: rows.nonzero().flatten().tolist() for name, rows in examples.outcomes(before, after, label).items()}
    assert chosen == {"fixed": [1], "broken": [2], "kept": [0]}
    old, new = torch.tensor([[1.0, 0]] * 4), torch.tensor([[0.9, 0.1], [0.2, 0.8], [0, 1], [0.5, 0.5]])
    some = torch.tensor([True, True, False, True])
    assert examples.pick(old, new, some, 2) == [1, 3]
    assert examples.pick(old, new, some, 3, groups=torch.tensor([7, 5, 5, 5])) == [1, 0]


@BOTH
def test_changed_examples_are_what_the_nets_say(experiments, kind):
    experiment, test = experiments[kind], experiments[kind].task.test
    rows = examples.changed_examples(experiment, [("supervised_best", "scratch")], n=2)
    nets = {"before": experiment.baseline(0), "after": experiment.trained("supervised_best")}
    outputs = {when: predict(net, test, device="cpu") for when, net in nets.items()}
    assert 0 < rows.groupby("outcome").size().max() <= 2
    for _, row in rows.iterrows():
        place = test.ids.tolist().index(row["example"])
        for when, (logits, maps) in outputs.items():
            assert row[when] == pytest.approx(maps[place, : len(row[when])].numpy(), abs=1e-5)
            assert row[f"answer_{when}"] == experiment.task.class_names[int(logits[place].argmax())]
        right = (row["answer_before"] == row["truth"], row["answer_after"] == row["truth"])
        assert right == {"fixed": (False, True), "broken": (True, False), "kept": (True, True)}[row["outcome"]]
        assert kind == "text" or (row["boxes"].tolist(), row["image"].dtype) == ([[4, 4, 12, 12]], np.uint8)


@BOTH
def test_variants_and_targets_are_what_the_search_finds(experiments, kind):
    experiment, batch = experiments[kind], experiments[kind].train_batch
    sampler, regions = experiment.settings.sampler, experiment.regions
    scores, _ = variant_scores(experiment.baseline(0), batch, regions, sampler, score="logit")
    target, n_regions = experiment.target(Target()), regions.count(batch)
    for example, rows in examples.target_examples(experiment, ["supervised_best"], n=3).groupby("example"):
        place = batch.ids.tolist().index(example)
        n, tried = int(n_regions[place]), sorted(scores[place, 1:][~scores[place, 1:].isnan()].tolist())
        assert rows["what"].tolist() == ["clean", *["variant"] * min(SHOWN_VARIANTS, len(tried)), "target"]
        assert sorted(rows["score"][1:-1])[:: len(rows) - 3] == pytest.approx([tried[0], tried[-1]], abs=1e-3)
        for _, row in rows[:-1].iterrows():
            assert row["score"] == pytest.approx(float(scores[place, row["index"]]), abs=1e-3)
            assert row["kept"].tolist() == sampler.masks(n, row["index"], example, grid=regions.grid)[0].tolist()
        assert rows["attention"].iloc[-1] == pytest.approx(target[place, :n].numpy(), abs=1e-5)
