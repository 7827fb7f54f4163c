"""Curves of attention over epochs: the last point is the net that the study keeps."""

import pytest

from ssan.epochs import epoch_rows
from ssan.experiment import Experiment, Settings
from ssan.models.text import TextConfig, make_model
from ssan.quality import map_quality
from ssan.samplers import Pairs
from ssan.training import TrainConfig, predict
from tests.helpers import text_task


def test_curves_end_at_the_nets_of_the_study(tmp_path):
    train = TrainConfig(epochs=4, batch_size=8, learning_rate=1e-2, keep="last", validate=False)
    config = TextConfig(embedding_dim=6, hidden=5, attention_dim=7)
    settings = Settings("tiny", None, Pairs(), train)
    one = Experiment(settings, 0, text_task(), lambda task, seed: make_model(task, seed, config), tmp_path, "cpu")
    rows = epoch_rows(one, ["baseline", "supervised_best"], every=2)
    assert rows["epoch"].tolist() == [2, 4, 2, 4]
    assert (rows.loc[rows["condition"] == "baseline", "attention_loss"] == 0).all()
    assert (rows.loc[rows["condition"] == "supervised_best", "attention_loss"] > 0).all()
    for name in ("baseline", "supervised_best"):
        last = rows[(rows["condition"] == name) & (rows["epoch"] == 4)].iloc[0]
        logits, attention = predict(one.trained(name), one.task.test, device="cpu")
        right = logits.argmax(1) == one.task.test.label
        assert last["accuracy"] == pytest.approx(float(right.double().mean()))
        expected = map_quality(attention, one.task.test, one.regions)["entropy"]
        assert last["entropy"] == pytest.approx(expected)
