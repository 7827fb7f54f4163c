"""Random scores and maps of variants, in the chunks that selectors get them in."""

from __future__ import annotations

import numpy as np
import torch

from ssan.samplers import HideWindows, KeepK, KeepWindows, Pairs, RandomMasks, Rise, Singles
from ssan.selectors import Chunk, Clean
from tests.helpers import generator

SAMPLERS = [Pairs(), Singles(), RandomMasks(7, 0.4, 3), KeepWindows(2), HideWindows(2), KeepK(6, 2), Rise(8, cells=3)]
LENGTHS = (4, 1, 7, 3)


class Stream:
    """Random scores and maps for every variant of examples of `LENGTHS` regions, and the chunks they come in."""

    def __init__(self, sampler, seed=0, shaded=False, lengths=LENGTHS):
        g = generator(seed)
        self.lengths, self.width = lengths, max(lengths)
        self.masks, self.scores, self.maps = [], [], []
        for example, n in enumerate(lengths):
            m = sampler.count(n)
            mask = sampler.masks(n, torch.arange(m), example)
            if shaded:
                mask = torch.rand(mask.shape, generator=g).index_fill(0, torch.tensor([0]), 1.0)
            self.masks.append(mask)
            self.scores.append(torch.randn(m, generator=g, dtype=torch.float64))
            weights = torch.rand(m, n, generator=g, dtype=torch.float64)
            self.maps.append(weights / weights.sum(-1, keepdim=True))
        attention = torch.stack([self.padded(maps[0], 0) for maps in self.maps])
        mask = torch.arange(self.width) < torch.tensor(lengths)[:, None]
        self.exists, self.attention = mask, attention

    def padded(self, values, fill, width=None):
        return torch.nn.functional.pad(values, (0, (width or self.width) - values.shape[-1]), value=fill)

    @property
    def clean(self):
        return Clean(torch.stack([score[0] for score in self.scores]), self.attention, self.exists)

    def run(self, selector, size):
        flat = [(row, index) for row, scores in enumerate(self.scores) for index in range(1, len(scores))]
        best = [float(scores[0]) for scores in self.scores]
        selector.start(self.clean)
        for start in range(0, len(flat), size):
            part = flat[start : start + size]
            width = max(self.lengths[row] for row, _ in part)
            kept = torch.stack([self.padded(self.masks[row][index], True, width) for row, index in part])
            maps = torch.stack([self.padded(self.maps[row][index], 0, width) for row, index in part])
            rows, indices = (torch.tensor(column) for column in zip(*part, strict=True))
            score = torch.stack([self.scores[row][index] for row, index in part])
            improved = {}
            for position, (row, _) in enumerate(part):
                if float(score[position]) > best[row]:
                    best[row], improved[row] = float(score[position]), position
            selector.update(
                Chunk(rows, indices, kept, score, maps.__getitem__), torch.tensor(list(improved.values())).long()
            )
        return selector.finish()


def clipped(values, clean):
    """What is made of the values of one example: the positive part, normalised, or the clean map."""
    positive = np.clip(values, 0, None)
    return positive / positive.sum() if positive.max() > 1e-12 else clean


def check(stream, selector, formula, size):
    """Values and targets against `formula(masks, scores)` of all variants of an example at once."""
    found = stream.run(selector, size)
    values = selector.values()
    for row, n in enumerate(stream.lengths):
        expected = formula(stream.masks[row].numpy(), stream.scores[row].numpy())
        np.testing.assert_allclose(values[row, :n], expected, atol=1e-11)
        target = clipped(expected, stream.maps[row][0].numpy())
        np.testing.assert_allclose(found[row, :n], target, atol=1e-9)
        assert (found[row, n:] == 0).all()
        assert (values[row, n:] == 0).all()
