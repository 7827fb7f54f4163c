"""What a row measures, against the metrics called one by one; curves over epochs, which end at the study's nets."""

import pytest
import torch

from ssan import metrics
from ssan.regions import ImageGrid
from ssan.study import measure
from ssan.study.measure import Quality, epoch_rows, map_quality
from ssan.task import Task
from ssan.training import predict
from tests.helpers import PatchModel, random_images, random_maps
from tests.study.tiny import TRAIN, of_text

GRID = (2, 3)


def boxed(n=12):
    batch, boxes = random_images(n), torch.zeros(n, 2, 4)
    boxes[:, 0] = torch.tensor([1.0, 2, 6, 7])
    boxes[::3, 1] = torch.tensor([7.0, 0, 11, 5])
    boxes[5] = 0  # an example without a box
    others = torch.zeros(n, 1, 4)
    others[:4] = torch.tensor([8.0, 6, 12, 8])
    return batch.replace(boxes=boxes, others=others)


def test_maps_on_images():
    batch, maps = boxed(), random_maps(torch.ones(12, 6, dtype=torch.bool))
    values, cover = map_quality(maps, batch, ImageGrid(GRID)), metrics.box_map(batch.boxes, (8, 12), GRID)
    expected = {
        "mass_in_box": metrics.mass_in_box(maps, cover),
        "pointing": metrics.pointing(maps, batch.boxes, (8, 12), GRID),
        "strict_pointing": metrics.pointing(maps, batch.boxes, (8, 12), GRID, tolerance=0),
        "selection": metrics.selection(maps, batch.boxes, batch.others, (8, 12), GRID),
        "offset_x": metrics.offset(maps, batch.boxes, (8, 12), GRID)[:, 0],
        "offset_y": metrics.offset(maps, batch.boxes, (8, 12), GRID)[:, 1],
        "rank_correlation": metrics.rank_correlation(maps, cover),
        "entropy": metrics.entropy(maps, normalised=True),
    }
    assert values == pytest.approx({name: float(each.nanmean()) for name, each in expected.items()})
    # Columns of which there is nothing to say are left out: no other objects, no box near.
    last, far = torch.eye(6)[[5] * 12], batch.replace(boxes=torch.tensor([[[0.0, 0, 1, 1]]]).repeat(12, 1, 1))
    few = map_quality(maps, batch.replace(others=None), ImageGrid(GRID))
    assert values.keys() - few.keys() == {"selection"}
    assert values.keys() - map_quality(last, far, ImageGrid(GRID)).keys() == {"offset_x", "offset_y"}


def test_a_model_of_images(monkeypatch):
    monkeypatch.setattr(measure, "MOST_DELETED", 4)
    batch, regions, model = boxed(), ImageGrid(GRID), PatchModel(GRID)
    task = Task("pictures", batch, batch.select(slice(0, 5)), batch, tuple("abc"), regions)
    row = Quality(batch, regions).of_model(model, task, "cpu")
    logits, attention = predict(model, batch, device="cpu")
    right, few = (logits.argmax(1) == batch.label).double(), batch.select(slice(0, 4))
    curves = metrics.insertion_deletion(model, few, regions, attention[:4], steps=measure.DELETION_STEPS)
    expected = {"accuracy": right, "valid_accuracy": right[:5], "insertion": curves.insertion}
    expected |= {"deletion": curves.deletion, "comprehensiveness": metrics.comprehensiveness(model, few, regions)}
    expected |= {name: getattr(metrics, name)(model, few, regions) for name in ("faithfulness", "top_1", "sufficiency")}
    of_maps = map_quality(attention, batch, regions)
    assert row == pytest.approx({name: float(values.nanmean()) for name, values in expected.items()} | of_maps)
    assert Quality(batch, regions).of_targets(attention, batch) == {f"target_{name}": v for name, v in of_maps.items()}


def test_curves_end_at_the_nets_of_the_study_and_text_is_measured_on_all_sentences(tmp_path):
    experiment = of_text(tmp_path)
    test, net = experiment.task.test, experiment.baseline(0)
    row = Quality(test, experiment.regions).of_model(net, experiment.task, "cpu")
    expected = metrics.faithfulness(net, test, experiment.regions).nanmean()
    assert row["faithfulness"] == pytest.approx(float(expected))
    words = experiment.regions.exists(test)
    position = -torch.arange(words.shape[1]).float().expand(words.shape)
    drop = metrics.leave_one_out(net, test, experiment.regions).masked_fill(~words, 0)
    attention = predict(net, test, device="cpu")[1][:, : words.shape[1]]
    beyond = metrics.partial_rank_correlation(attention, drop, position, words).nanmean()
    assert row["faithfulness_beyond_position"] == pytest.approx(float(beyond))
    made = {"accuracy", "valid_accuracy", "entropy", "insertion", "deletion", "faithfulness_beyond_position"}
    assert row.keys() == made | {"faithfulness", "top_1", "comprehensiveness", "sufficiency"}
    rows = epoch_rows(experiment, ["baseline", "supervised_best"], every=1)
    assert rows["epoch"].tolist() == [1, 2, 1, 2]
    assert ((rows["attention_loss"] > 0) == (rows["condition"] == "supervised_best")).all()
    for _, last in rows[rows["epoch"] == TRAIN.epochs].iterrows():
        logits, attention = predict(experiment.trained(last["condition"]), test, device="cpu")
        assert last["accuracy"] == pytest.approx(float((logits.argmax(1) == test.label).double().mean()))
        assert last["entropy"] == map_quality(attention, test, experiment.regions)["entropy"]
