"""Stacked attention hop by hop."""

import pytest
import torch

from ssan.models.attention import attention_map
from ssan.models.san import StackedAttention
from ssan.seeding import seeded
from tests.models.grids import CLASSES, WORDS, questions, small_cnn


def san(**sizes):
    with seeded(0):
        return StackedAttention(small_cnn(), WORDS, CLASSES, embedding=6, hidden=8, **sizes).eval()


@pytest.mark.parametrize("hops", [1, 2, 3])
def test_hop_by_hop(hops):
    model, batch = san(hops=hops), questions()
    output, encoded = model(batch), model.encode(batch)
    assert output.attention.shape == (len(batch), hops, 16)
    for b in range(len(batch)):
        features = torch.stack([torch.tanh(model.project(v)) for v in encoded.features[b]])
        query = encoded.context[b]
        for k, hop in enumerate(model.hops):
            hidden = torch.tanh(features @ hop.of_feature.weight.T + hop.of_query(query))
            p = torch.softmax((hidden @ hop.score.weight.T).squeeze(1) + hop.score.bias, 0)
            torch.testing.assert_close(output.attention[b, k], p)
            query = query + p @ features
        torch.testing.assert_close(output.logits[b], model.classifier(query))


def test_the_last_hop_is_the_one_map():
    model = san()
    output = model(questions())
    assert torch.equal(attention_map(model, output), output.attention[:, -1])


def test_no_hops():
    with pytest.raises(ValueError, match="hops must be at least 1, got 0"):
        san(hops=0)
