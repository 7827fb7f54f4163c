"""Attention Branch Network: how the map acts, and the second loss."""

import pytest
import torch
import torch.nn.functional as F

from ssan.models.abn import AttentionBranchNetwork
from ssan.models.attention import Output
from ssan.seeding import seeded
from tests.models.grids import CLASSES, GRID, SIZE, pictures


def abn():
    with seeded(0):
        model = AttentionBranchNetwork(3, SIZE, CLASSES, grid=GRID, width=16)
        for k in range(5):
            model.train()(pictures(16, seed=k))
    return model.eval()


def test_attention_is_the_normalised_map():
    model, batch = abn(), pictures()
    with torch.no_grad():
        weights = model.map(model.branch(model.extractor(batch.image))).flatten(1)
        attention = model(batch).attention
    assert weights.min() > 0
    assert weights.max() < 1
    torch.testing.assert_close(attention, weights / weights.sum(1, keepdim=True))


def test_perception_reads_features_times_one_plus_the_map():
    model, batch = abn(), pictures()
    with torch.no_grad():
        features = model.extractor(batch.image)
        weights = model.map(model.branch(features))
        expected = model.classifier(model.perception(features + features * weights).mean((2, 3)))
        torch.testing.assert_close(model(batch).logits, expected, atol=1e-5, rtol=1e-4)


def test_auxiliary_loss_is_the_branch_s_own_cross_entropy():
    model, batch = abn(), pictures()
    output = model(batch)
    responses = model.branch(model.extractor(batch.image))
    logits = model.branch_score(responses).mean((2, 3))
    torch.testing.assert_close(model.auxiliary_loss(batch, output), F.cross_entropy(logits, batch.label))
    assert output.branch_logits.shape == output.logits.shape


def test_the_branch_is_trained_by_the_auxiliary_loss_alone():
    model, batch = abn().train(), pictures()
    F.cross_entropy(model(batch).logits, batch.label).backward()
    assert model.branch_score.weight.grad is None
    model.auxiliary_loss(batch, model(batch)).backward()
    assert model.branch_score.weight.grad.abs().sum() > 0


def test_another_model_s_output():
    model, batch = abn(), pictures()
    output = model(batch)
    with pytest.raises(TypeError, match="needs the output of this model's forward"):
        model.auxiliary_loss(batch, Output(output.logits, output.attention))
