"""Text: all pairs of words of TREC questions, with a model of the released code's sizes."""

from __future__ import annotations

import dataclasses

import pytest
import torch

from ssan.accel.prefix_lstm import PrefixScorer
from ssan.batch import Batch
from ssan.data.fetching import FetchError
from ssan.data.text import text_task
from ssan.models.text import SelfAttentiveLSTM, TextConfig
from ssan.regions import TokenRegions
from ssan.samplers import Pairs
from ssan.search import find_surrogates
from ssan.seeding import seeded
from tests.benchmarks.timing import QUICK, faster

SENTENCES = 24 if QUICK else 256
# The slow sides run a random part of the variants, and seconds are counted per variant.
PADDED, BARE = (6, 12) if QUICK else (100, 400)

# The released sizes. Padding takes no part, so that all sides compute the same; see `test_as_released_to_the_letter`.
SIZES = dataclasses.replace(TextConfig.as_released(), padding_attends=False, fixed_length=None, hop_reduction="mean")


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


def number(batch: Batch) -> int:
    return int(Pairs().count(batch.lengths).sum())


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
        one = batch.select([row])
        if index:
            i, j = Pairs.pair(one.lengths[0], index)
            tokens = one.tokens.clone()
            tokens[0, i] = tokens[0, j] = 0
            one = one.replace(tokens=tokens)
        output = model(one)
        scores.append(float(output.logits[0, one.label[0]]))
    return torch.tensor(scores)


@torch.inference_mode()
def our_scores(model: SelfAttentiveLSTM, batch: Batch, rows: torch.Tensor, indices: torch.Tensor) -> torch.Tensor:
    return PrefixScorer([model], batch, Pairs(), TokenRegions(), "logit")(rows, indices).score


def against_the_loop(name: str, ours: SelfAttentiveLSTM, looped: SelfAttentiveLSTM, batch: Batch, n: int):
    looped.load_state_dict(ours.state_dict())
    some = some_variants(batch, n)
    torch.testing.assert_close(our_scores(ours, batch, *some), one_at_a_time(looped, batch, *some), atol=1e-5, rtol=0)
    faster(
        name,
        lambda: find_surrogates(ours, batch, Pairs()),
        lambda: one_at_a_time(looped, batch, *some),
        per=(number(batch), len(some[0])),
    )


def test_one_at_a_time_as_released(task, batch):
    padded = dataclasses.replace(SIZES, fixed_length=200)
    against_the_loop("text pairs, as released", model_of(task, SIZES), model_of(task, padded), batch, PADDED)


def test_one_at_a_time_without_padding(task, batch):
    against_the_loop("text pairs, without padding", model_of(task, SIZES), model_of(task, SIZES), batch, BARE)


def test_plain_batches(task, batch):
    model = model_of(task, SIZES)
    ours, other = (find_surrogates(model, batch, Pairs(), accelerate=accelerate) for accelerate in (True, False))
    torch.testing.assert_close(ours.score, other.score, atol=1e-5, rtol=0)
    torch.testing.assert_close(ours.clean_attention, other.clean_attention, atol=1e-5, rtol=0)
    faster(
        "text pairs, plain batch",
        lambda: find_surrogates(model, batch, Pairs()),
        lambda: find_surrogates(model, batch, Pairs(), accelerate=False),
        per=(number(batch), number(batch)),
        repetitions=2 if QUICK else 5,
    )


def test_as_released_to_the_letter(task, batch):
    """The 200 positions take part in attention on both sides: states after a hidden word are then nobody else's."""
    few = batch.select(torch.arange(min(len(batch), 12)))
    released = TextConfig.as_released()
    name = "text pairs, padding attends on both sides"
    against_the_loop(name, model_of(task, released), model_of(task, released), few, PADDED)
