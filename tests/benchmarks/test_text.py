"""Text: all pairs of words of TREC questions, with a model of the released code's sizes."""

from __future__ import annotations

import dataclasses
from functools import partial

import pytest
import torch

from ssan.data.fetching import FetchError
from ssan.data.text import text_task
from ssan.kernels.prefix_lstm import PrefixScorer
from ssan.models.text import SelfAttentiveLSTM, TextConfig
from ssan.regions import TokenRegions
from ssan.runtime import seeded
from ssan.samplers import Pairs
from ssan.search import find_surrogates
from ssan.task import Batch
from tests.benchmarks.timing import QUICK, faster

SENTENCES = 24 if QUICK else 256
# The slow sides run a random part of the variants, and seconds are counted per variant.
PADDED, BARE = (6, 12) if QUICK else (100, 400)
# Both sides leave padding as it is: which id it carries changes the winner, not the time of a forward pass.
RELEASED = dataclasses.replace(TextConfig.as_released(), hides_padding=False)
# The released sizes. Padding takes no part in attention, so that inputs of any padding compute the same.
UNPADDED = dataclasses.replace(RELEASED, padding_attends=False, fixed_length=None, hop_reduction="mean")


@pytest.fixture(scope="module")
def task(data_mirror):  # noqa: ARG001
    try:
        return text_task("trec", vectors=None)
    except FetchError as error:
        pytest.skip(f"TREC cannot be had: {error}")


@pytest.fixture(scope="module")
def batch(task) -> Batch:
    chosen = torch.randperm(len(task.train), generator=torch.Generator().manual_seed(0))[:SENTENCES]
    return task.train.select(chosen)


def model_of(task, config: TextConfig) -> SelfAttentiveLSTM:
    with seeded(0):
        return SelfAttentiveLSTM(len(task.words), task.n_classes, config).eval()


def some_variants(batch: Batch, n: int) -> tuple[torch.Tensor, torch.Tensor]:
    """(n,) rows and (n,) indices of variants drawn at random from all there are."""
    count = Pairs().count(batch.lengths)
    rows = torch.repeat_interleave(torch.arange(len(batch)), count)
    indices = torch.arange(len(rows)) - (count.cumsum(0) - count)[rows]
    chosen = torch.randperm(len(rows), generator=torch.Generator().manual_seed(1))[:n].sort().values
    return rows[chosen], indices[chosen]


@torch.inference_mode()
def one_at_a_time(model: SelfAttentiveLSTM, batch: Batch, rows: torch.Tensor, indices: torch.Tensor) -> torch.Tensor:
    """The scores of variants, each run through the model alone, as the released code's loop does."""
    scores = []
    for row, index in zip(rows.tolist(), indices, strict=True):
        single = batch.select([row])
        if index:
            i, j = Pairs.pair(single.lengths[0], index)
            tokens = single.tokens.clone()
            tokens[0, i] = tokens[0, j] = 0
            single = single.replace(tokens=tokens)
        scores.append(float(model(single).logits[0, single.label[0]]))
    return torch.tensor(scores)


def against_the_loop(name: str, ours: SelfAttentiveLSTM, looped: SelfAttentiveLSTM, batch: Batch, n: int):
    looped.load_state_dict(ours.state_dict())
    some = some_variants(batch, n)
    with torch.inference_mode():
        scores = PrefixScorer([ours], batch, Pairs(), TokenRegions(), "logit")(*some).score
    torch.testing.assert_close(scores, one_at_a_time(looped, batch, *some), atol=1e-5, rtol=0)
    sides = partial(find_surrogates, ours, batch, Pairs()), partial(one_at_a_time, looped, batch, *some)
    faster(name, *sides, per=(int(Pairs().count(batch.lengths).sum()), len(some[0])))


def test_the_released_loop_like_for_like(task, batch):
    """The 200 positions take part in attention on both sides: states after a hidden word are then nobody else's."""
    few = batch.select(torch.arange(min(len(batch), 12)))
    name = "text pairs: one variant a forward, padding attends; our search, padding attends"
    against_the_loop(name, model_of(task, RELEASED), model_of(task, RELEASED), few, PADDED)


@pytest.mark.parametrize(("padding", "length", "n"), [("unpadded", None, BARE), ("padded to 200", 200, PADDED)])
def test_one_at_a_time(task, batch, padding, length, n):
    """Where padding takes no part it need not be computed: what is saved by leaving it out is in the second row."""
    looped = model_of(task, dataclasses.replace(UNPADDED, fixed_length=length))
    name = f"text pairs: one variant a forward, {padding}; our search, unpadded"
    against_the_loop(name, model_of(task, UNPADDED), looped, batch, n)


def test_batches(task, batch):
    model, n = model_of(task, UNPADDED), int(Pairs().count(batch.lengths).sum())
    sides = [partial(find_surrogates, model, batch, Pairs(), accelerate=accelerate) for accelerate in (True, False)]
    ours, other = (side() for side in sides)
    torch.testing.assert_close(ours.score, other.score, atol=1e-5, rtol=0)
    torch.testing.assert_close(ours.clean_attention, other.clean_attention, atol=1e-5, rtol=0)
    name = "text pairs: batches of variants, unpadded; our search, unpadded"
    faster(name, *sides, per=(n, n), repetitions=2 if QUICK else 5)
