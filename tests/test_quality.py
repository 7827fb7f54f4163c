"""What a row measures, against the metrics called one by one."""

import pytest
import torch

from ssan import metrics, quality
from ssan.data.task import Task
from ssan.quality import Quality, map_quality
from ssan.regions import ImageGrid, TokenRegions
from ssan.training import predict
from tests.helpers import PatchModel, random_images, random_maps, text_model, text_task

GRID = (2, 3)


def boxed(n=12):
    batch = random_images(n)
    boxes = torch.zeros(n, 2, 4)
    boxes[:, 0] = torch.tensor([1.0, 2, 6, 7])
    boxes[::3, 1] = torch.tensor([7.0, 0, 11, 5])
    boxes[5] = 0  # an example without a box
    return batch.replace(boxes=boxes)


def test_maps_on_images():
    batch = boxed()
    maps = random_maps(torch.ones(len(batch), 6, dtype=torch.bool))
    found = map_quality(maps, batch, ImageGrid(GRID))
    cover = metrics.box_map(batch.boxes, (8, 12), GRID)
    assert found["mass_in_box"] == pytest.approx(float(metrics.mass_in_box(maps, cover).nanmean()))
    assert found["pointing"] == pytest.approx(float(metrics.pointing(maps, batch.boxes, (8, 12), GRID).nanmean()))
    has = [i for i in range(len(batch)) if i != 5]
    emd = metrics.earth_movers_distance(maps[has], cover[has], grid=GRID)
    assert found["emd"] == pytest.approx(float(emd.mean()))
    assert 0 < found["entropy"] <= 1


def test_transport_is_measured_on_the_first_examples(monkeypatch):
    batch = boxed()
    maps = random_maps(torch.ones(len(batch), 6, dtype=torch.bool))
    monkeypatch.setattr(quality, "MOST_TRANSPORTED", 2)
    cover = metrics.box_map(batch.boxes, (8, 12), GRID)
    expected = metrics.earth_movers_distance(maps[:2], cover[:2], grid=GRID).mean()
    assert map_quality(maps, batch, ImageGrid(GRID))["emd"] == pytest.approx(float(expected))


def test_maps_without_any_box():
    batch = boxed().replace(boxes=torch.zeros(12, 2, 4))
    found = map_quality(random_maps(torch.ones(12, 6, dtype=torch.bool)), batch, ImageGrid(GRID))
    assert "emd" not in found


def test_a_model_of_images(monkeypatch):
    monkeypatch.setattr(quality, "MOST_DELETED", 4)
    batch, regions = boxed(), ImageGrid(GRID)
    model = PatchModel(GRID).eval()
    task = Task("pictures", batch, batch.select(slice(0, 5)), batch, tuple("abc"), regions)
    row = Quality(batch, regions).of_model(model, task, "cpu")
    logits, attention = predict(model, batch, device="cpu")
    assert row["accuracy"] == pytest.approx(float((logits.argmax(1) == batch.label).double().mean()))
    assert row["valid_accuracy"] == pytest.approx(float((logits.argmax(1) == batch.label)[:5].double().mean()))
    few = batch.select(slice(0, 4))
    expected = metrics.insertion_deletion(model, few, regions, attention[:4], steps=quality.DELETION_STEPS)
    assert row["insertion"] == pytest.approx(float(expected.insertion.mean()))
    assert row["deletion"] == pytest.approx(float(expected.deletion.mean()))
    assert row["faithfulness"] == pytest.approx(float(metrics.faithfulness(model, few, regions).nanmean()))


def test_a_model_of_text_is_measured_on_all_sentences():
    task, model = text_task(), text_model()
    row = Quality(task.test, TokenRegions()).of_model(model, task, "cpu")
    expected = metrics.faithfulness(model, task.test, TokenRegions()).nanmean()
    assert row["faithfulness"] == pytest.approx(float(expected))
    assert {"insertion", "deletion", "entropy"} <= set(row)
    assert "pointing" not in row
