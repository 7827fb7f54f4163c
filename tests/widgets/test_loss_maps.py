"""The examples under the loss explorer's plot: whose map and answer stands where, and what is refused."""

import json

import numpy as np
import pandas as pd
import pytest

from ssan.gallery_images import image_from_text
from ssan.widgets import LossExplorer, drawing
from ssan.widgets.ablation import WIDTH, Choice, Drawer
from ssan.widgets.canvas import Canvas, palette
from ssan.widgets.loss_maps import COLUMNS, LABEL, check_maps, describe, draw, height, pairs_of
from tests.widgets.subjects import ablation_rows, check_panel, example_maps, pixels


def test_each_example_meets_itself():
    maps = example_maps()
    pairs = pairs_of(maps.sample(frac=1, random_state=0), "shapes", "mse", 0.1)
    assert sorted(pairs["example"]) == [0, 1, 2]
    for _, pair in pairs.iterrows():
        own = maps[(maps["task"] == "shapes") & (maps["example"] == pair["example"])].set_index(["loss", "weight"])
        assert pair["attention"] == own.loc[("none", 0.0), "attention"]
        assert pair["attention_with"] == own.loc[("mse", 0.1), "attention"]
        assert (pair["truth"], pair["image"]) == tuple(own.loc[("none", 0.0), ["truth", "image"]])


def test_from_a_file_as_from_memory(tmp_path):
    maps = example_maps().drop(columns="question").assign(question="")
    maps.to_csv(tmp_path / "maps.csv", index=False)
    for task in ("shapes", "movie"):
        pairs = pairs_of(pd.read_csv(tmp_path / "maps.csv"), task, "mse", 1.0)
        assert (pairs["question"] == "").all()
        assert pairs["image"].astype(bool).all() == (task == "shapes")
        assert describe(pairs) == describe(pairs_of(maps, task, "mse", 1.0))


def test_no_maps_no_examples():
    for pairs in (
        pairs_of(example_maps(losses=("mse",)), "shapes", "kl", 0.1),
        pairs_of(example_maps(), "shapes", "kl", 7.0),
    ):
        assert len(pairs) == 0
        assert describe(pairs) == ""
        assert height(Canvas(WIDTH, 1), pairs) == 0
        rows, choice = ablation_rows(), Choice("shapes", "kl", 0.1, "mass_in_box")
        assert Drawer()(rows, choice) == Drawer()(rows, choice, pairs)


def test_the_text_counts_answers():
    said = describe(pairs_of(example_maps(), "movie", "kl", 1.0))
    assert "Of the 3 test examples" in said
    assert "1 are answered correctly without supervision and 3 with it" in said


@pytest.mark.parametrize("task", ["shapes", "movie"])
def test_nothing_leaves_the_sheet(task):
    maps = example_maps(n=6)
    pairs = pairs_of(maps, task, "mse", 1.0)
    tall = height(Canvas(WIDTH, 1, 1), pairs)
    roomy = Canvas(WIDTH + 40, tall + 40, 1)
    roomy.width = WIDTH
    draw(roomy, 0, pairs, "adversarial_image, 100")
    found = pixels(roomy.png())
    assert (found[round(tall) :] == 255).all()
    assert (found[:, WIDTH + 12 :] == 255).all()
    assert (found[:, :12] < 255).any()


def test_maps_lie_in_their_colours_on_their_images():
    pairs = pairs_of(example_maps(), "shapes", "mse", 1.0)
    sheet = Canvas(WIDTH, height(Canvas(WIDTH, 1, 1), pairs), 1)
    draw(sheet, 0, pairs, "mse, 1")
    found = pixels(sheet.png()).astype(int)
    maps = [[np.array(json.loads(text)) for text in pairs[key]] for key in ("attention", "attention_with")]
    top = max(weights.max() for own in maps for weights in own)
    for place, own in enumerate(zip(*maps, strict=True)):
        image = np.moveaxis(image_from_text(pairs["image"].iloc[place]), 0, -1) * 255
        for weights in own:
            colour = palette("viridis")[round(float(weights[0] / top) * 255)]
            expected = (0.35 * image[0, 0] + 0.65 * colour).round()
            near = np.abs(found[:, LABEL + place * 117 : LABEL + place * 117 + 30] - expected).max(-1) <= 2
            assert near.sum() > 50  # the upper left pixel of the image, enlarged


def test_a_net_that_looks_elsewhere_looks_otherwise_in_the_picture():
    rows, maps = ablation_rows(), example_maps()
    panel = LossExplorer(rows, maps)
    check_panel(panel)
    plain = LossExplorer(rows)
    assert pixels(panel.png).shape[0] > pixels(plain.png).shape[0]
    assert panel.said.startswith(plain.said)
    upper = slice(0, pixels(plain.png).shape[0])
    assert (pixels(panel.png)[upper] == pixels(plain.png)).all()
    before = pixels(panel.png)
    panel.weight.value = 1.0
    after = pixels(panel.png)
    assert (before[upper.stop :] != after[upper.stop :]).any()
    assert "3 with it" in panel.said
    panel.task.value = "movie"
    check_panel(panel)
    assert "sentences" not in plain.said


def test_long_sentences_are_set_in_lines():
    pairs = pairs_of(example_maps(), "movie", "mse", 1.0)
    short = height(Canvas(WIDTH, 1, 1), pairs)
    pairs["question"] = [" ".join(["extraordinary"] * 12)] * 3
    pairs["attention"] = pairs["attention_with"] = [json.dumps([1 / 12] * 12)] * 3
    longer = height(Canvas(WIDTH, 1, 1), pairs)
    assert longer >= short + 3 * 2 * drawing.LINE_HEIGHT
    draw(Canvas(WIDTH, longer), 0, pairs, "mse, 1")


def test_other_tables_are_refused():
    maps = example_maps()
    for name in COLUMNS:
        with pytest.raises(ValueError, match=f"maps need the columns .*; {name} are missing"):
            check_maps(maps.drop(columns=name))
    with pytest.raises(ValueError, match="maps of movie need each example exactly once without supervision"):
        check_maps(maps[(maps["task"] == "shapes") | (maps["weight"] > 0)])
    with pytest.raises(ValueError, match="exactly once"):
        LossExplorer(ablation_rows(), maps.assign(weight=0.0))
