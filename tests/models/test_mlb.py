"""Low-rank bilinear attention as the bilinear forms it stands for."""

import torch

from ssan.models.mlb import BilinearAttention
from ssan.seeding import seeded
from tests.models.grids import CLASSES, WORDS, questions, small_cnn


def test_by_hand():
    with seeded(0):
        model = BilinearAttention(small_cnn(), WORDS, CLASSES, embedding=6, hidden=8, rank=7).eval()
    batch = questions()
    output, encoded = model(batch), model.encode(batch)
    for b in range(len(batch)):
        q = torch.tanh(model.query(encoded.context[b]))
        scores = torch.stack([model.score(q * torch.tanh(model.key(v)))[0] for v in encoded.features[b]])
        p = torch.softmax(scores, 0)
        torch.testing.assert_close(output.attention[b], p)
        seen = torch.tanh(model.image_side(p @ encoded.features[b]))
        fused = torch.tanh(model.question_side(encoded.context[b])) * seen
        torch.testing.assert_close(output.logits[b], model.classifier(fused))
