"""Predictions and accuracies of a trained model."""

import pytest
import torch

from ssan.losses import attention_loss
from ssan.prediction import evaluate, pick_device, predict
from tests.helpers import Additive, random_sentences, text_model, text_task


def test_predictions_are_in_order_and_padded():
    model, batch = text_model(hops=2).train(), random_sentences(11, seed=4)
    logits, maps = predict(model, batch, batch_size=3)
    assert model.training
    model.eval()
    for row in range(11):
        output = model(batch.select([row]))
        n = int(batch.lengths[row])
        torch.testing.assert_close(logits[row], output.logits[0], atol=1e-6, rtol=1e-5)
        torch.testing.assert_close(maps[row, :n], output.attention[0].mean(0), atol=1e-6, rtol=1e-5)
        assert (maps[row, n:] == 0).all()
    assert maps.shape == (11, int(batch.lengths.max()))
    whole = predict(model, batch)
    torch.testing.assert_close((logits, maps), whole, atol=1e-6, rtol=1e-5)


def test_predicted_maps_can_be_targets():
    _, maps = predict(text_model(), random_sentences(3))
    attention = maps.clone().requires_grad_()
    attention_loss("mse")(attention, maps).sum().backward()
    (attention * maps).sum().backward()
    assert attention.grad is not None


def test_accuracy_by_hand():
    weight = torch.zeros(20, 3)
    weight[2:5] = torch.eye(3)
    model, task = Additive(weight, torch.zeros(20)), text_task()
    assert evaluate(model, task.train) == 1.0  # it reads the one word that tells the class
    wrong = task.test.replace(label=torch.cat([(task.test.label[:3] + 1) % 3, task.test.label[3:]]))
    assert evaluate(model, wrong) == pytest.approx(9 / 12)


def test_nothing_to_predict():
    with pytest.raises(ValueError, match="the split has no examples to predict"):
        evaluate(text_model(), random_sentences(3).select([]))


def test_devices():
    assert pick_device("cpu") == torch.device("cpu")
    assert pick_device("auto").type == ("cuda" if torch.cuda.is_available() else "cpu")
    assert pick_device(torch.device("meta")).type == "meta"
