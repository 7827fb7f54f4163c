"""Insertion and deletion curves against plain loops and a case worked by hand."""

import math

import numpy as np
import pytest
import torch

from ssan.metrics import insertion_deletion
from ssan.metrics.deletion import ByAttention
from ssan.models import FeatureGrid
from ssan.regions import ImageGrid, TokenRegions
from tests.helpers import Additive, sentences
from tests.metrics.loops import GRID, keep_features, keep_patches, keep_words, pictures, reader, score_of, viewer, words


def random_weights(n, r):
    return torch.rand(n, r, generator=torch.Generator().manual_seed(1))


def plain_loop(model, batch, keep, attention, n_regions, steps):
    """Share of regions, insertion and deletion curve of each example: one step, one variant at a time."""
    for i, n in enumerate(n_regions):
        order = sorted(range(n), key=lambda r: (-attention[i, r].item(), r))
        n_steps = n if steps is None else min(steps, n)
        amounts = [math.floor(s * n / n_steps + 0.5) for s in range(n_steps + 1)]
        tops = [set(order[:amount]) for amount in amounts]
        inserted = [float(score_of(model, batch, i, keep, [r in top for r in range(n)])) for top in tops]
        deleted = [float(score_of(model, batch, i, keep, [r not in top for r in range(n)])) for top in tops]
        yield np.array(amounts) / n, inserted, deleted


def check(model, batch, keep, regions, attention, n_regions, steps, **options):
    curves = insertion_deletion(model, batch, regions, attention, steps=steps, **options)
    expected = plain_loop(model, batch, keep, attention, n_regions, steps)
    for i, (share, insertion, deletion) in enumerate(expected):
        points = len(share)
        assert curves.share[i, :points].tolist() == pytest.approx(share, abs=1e-12)
        assert curves.insertion_curve[i, :points].tolist() == pytest.approx(insertion, abs=1e-9)
        assert curves.deletion_curve[i, :points].tolist() == pytest.approx(deletion, abs=1e-9)
        for curve in (curves.share, curves.insertion_curve, curves.deletion_curve):
            assert curve[i, points:].isnan().all()
        assert curves.insertion[i].item() == pytest.approx(np.trapezoid(insertion, share), abs=1e-9)
        assert curves.deletion[i].item() == pytest.approx(np.trapezoid(deletion, share), abs=1e-9)
    # In one step there is no order, so both areas are the same.
    assert (curves.insertion - curves.deletion).abs().max() > 5e-3 or steps == 1


@pytest.mark.parametrize("steps", [None, 1, 3, 5, 100])
def test_words_equal_a_plain_loop(steps):
    lengths, attention = [6, 1, 9, 2], random_weights(4, 9)
    attention[0, :6] = torch.tensor([0.2, 0.1, 0.2, 0.1, 0.3, 0.1])  # ties
    # All examples carry one id: the order of hiding must belong to the row.
    batch = words(lengths).replace(ids=torch.full((4,), 5))
    check(reader(), batch, keep_words, TokenRegions(), attention, lengths, steps)


@pytest.mark.parametrize("size", [None, 1, 5, 1000])
@pytest.mark.parametrize("steps", [None, 4])
@pytest.mark.parametrize(("regions", "keep"), [(ImageGrid(GRID), keep_patches), (FeatureGrid(GRID), keep_features)])
def test_cells_equal_a_plain_loop(regions, keep, steps, size):
    batch, options = pictures(features=keep is keep_features), {"perturbations_per_eval": size}
    check(viewer(), batch, keep, regions, random_weights(5, 12), [12] * 5, steps, **options)


def adding(*numbers):
    """The logit of class 0 is the sum of the words' numbers, that of class 1 is 0."""
    return Additive(torch.tensor([[float(number), 0] for number in numbers]), torch.zeros(len(numbers)))


def test_by_hand():
    """Words that add 1, 2 and 0 to the logit, hidden from the heaviest down, and the other way round."""
    batch, attention = sentences([[2, 3, 4]] * 2), torch.tensor([[0.3, 0.6, 0.1], [0.3, 0.1, 0.6]])
    curves = insertion_deletion(adding(0, 9, 1, 2, 0), batch, TokenRegions(), attention, score="logit")
    assert curves.share.tolist() == [pytest.approx([0, 1 / 3, 2 / 3, 1])] * 2
    assert curves.deletion_curve.tolist() == [[3, 1, 0, 0], [3, 3, 2, 0]]
    assert curves.insertion_curve.tolist() == [[0, 2, 3, 3], [0, 0, 1, 3]]
    assert curves.deletion.tolist() == pytest.approx([2.5 / 3, 6.5 / 3])
    assert curves.insertion.tolist() == pytest.approx([6.5 / 3, 2.5 / 3])


def test_masks_keep_the_contract_of_samplers():
    """Index 0 is the clean input, and regions that do not exist are kept."""
    sampler = ByAttention(torch.tensor([[1, 0, 2, 3]]), steps=None)
    assert sampler.count(torch.tensor([2, 4])).tolist() == [4, 8]
    masks = sampler.masks(torch.full((4,), 2), torch.arange(4), torch.zeros(4, dtype=torch.long), width=3)
    assert masks.int().tolist() == [[1, 1, 1], [1, 0, 1], [0, 0, 1], [0, 1, 1]]


def test_maps_padded_further_than_the_sentences_and_weight_on_padding():
    batch, model = words([3, 2]).replace(label=torch.zeros(2, dtype=torch.long)), adding(*range(20))
    attention = torch.tensor([[0.5, 0.3, 0.2], [0.6, 0.4, 0.0]])
    padded = torch.cat([attention, torch.full((2, 4), 0.9)], 1)
    padded[1, 2] = 7.0
    plain, wide = (insertion_deletion(model, batch, TokenRegions(), maps) for maps in (attention, padded))
    torch.testing.assert_close(wide, plain, atol=0, rtol=0, equal_nan=True)
    assert not any(value.is_inference() for value in plain)


@pytest.mark.parametrize(
    ("attention", "options", "message"),
    [
        (torch.ones(5, 11), {}, r"expected \(5, 12\)"),
        (torch.ones(4, 12), {}, r"expected \(5, 12\)"),
        (-torch.ones(5, 12), {}, "non-negative"),
        (torch.full((5, 12), torch.nan), {}, "attention holds NaN"),
        (torch.ones(5, 12), {"steps": 0}, "steps must be a whole number of at least 1"),
        (torch.ones(5, 12), {"score": "accuracy"}, "unknown score"),
    ],
)
def test_bad_input(attention, options, message):
    with pytest.raises(ValueError, match=message):
        insertion_deletion(viewer(), pictures(), ImageGrid(GRID), attention, **options)
