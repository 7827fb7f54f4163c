"""Batches: what they refuse, and that selecting keeps every field in step."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ssan.batch import Batch
from tests.helpers import PAD, random_images, random_sentences, sentences


@settings(deadline=None, max_examples=40)
@given(st.data())
def test_select_is_plain_indexing_with_the_padding_cut(data):
    batch = random_sentences(data.draw(st.integers(1, 8)), seed=data.draw(st.integers(0, 99)))
    rows = data.draw(st.lists(st.integers(0, len(batch) - 1), min_size=1, max_size=10))
    chosen = batch.select(rows)
    assert len(chosen) == len(rows)
    assert chosen.tokens.shape[1] == max(int(batch.lengths[row]) for row in rows)
    for i, row in enumerate(rows):
        n = int(batch.lengths[row])
        assert chosen.ids[i] == batch.ids[row]
        assert chosen.label[i] == batch.label[row]
        assert chosen.tokens[i].tolist() == batch.tokens[row, :n].tolist() + [PAD] * (chosen.tokens.shape[1] - n)


def test_select_takes_lists_tensors_slices_and_bool_masks():
    batch = random_sentences(6)
    mask = torch.tensor([False, True, True, False, False, False])
    for rows in ([1, 2], torch.tensor([1, 2]), slice(1, 3), mask):
        assert batch.select(rows).ids.tolist() == batch.ids[1:3].tolist()


def test_select_nothing():
    empty = random_sentences(4).select([])
    assert len(empty) == 0
    assert empty.tokens.shape[0] == 0


def test_select_carries_every_field():
    batch = random_images(4).replace(boxes=torch.rand(4, 2, 4), kind=torch.arange(4))
    chosen = batch.select([3, 1])
    assert torch.equal(chosen.image, batch.image[[3, 1]])
    assert torch.equal(chosen.boxes, batch.boxes[[3, 1]])
    assert chosen.kind.tolist() == [3, 1]
    assert chosen.tokens is None


def test_to_and_device():
    batch = random_images(3)
    assert batch.device.type == "cpu"
    moved = batch.to("meta")
    assert moved.device.type == moved.image.device.type == "meta"
    assert moved.tokens is None
    assert random_sentences(3).to("cpu").tokens.shape[0] == 3


def test_replace_checks_again():
    batch = sentences([[2, 3], [4]])
    assert batch.replace(label=torch.tensor([1, 1])).label.tolist() == [1, 1]
    with pytest.raises(ValueError, match=r"Batch.label has shape \(3,\), but ids names 2 examples"):
        batch.replace(label=torch.zeros(3, dtype=torch.long))


def test_an_empty_sentence_is_an_error_that_names_it():
    batch = sentences([[2, 3], [4], [5]], ids=[7, 8, 9])
    with pytest.raises(ValueError, match=r"lengths must be in \[1, 2\], got 0 to 2 \(example ids \[8\]\).*drop it"):
        batch.replace(lengths=torch.tensor([2, 0, 1]))


def test_a_sentence_longer_than_its_row_is_an_error():
    with pytest.raises(ValueError, match=r"lengths must be in \[1, 2\], got 1 to 3"):
        sentences([[2, 3], [4]]).replace(lengths=torch.tensor([3, 1]))


@pytest.mark.parametrize("missing", ["tokens", "lengths"])
def test_tokens_and_lengths_come_together(missing):
    fields = {"tokens": torch.tensor([[2]]), "lengths": torch.tensor([1]), missing: None}
    with pytest.raises(ValueError, match="tokens and lengths together"):
        Batch(torch.tensor([0]), torch.tensor([0]), **fields)


def test_new_images_leave_old_features_behind():
    batch = Batch(torch.arange(2), torch.zeros(2).long(), image=torch.zeros(2, 1, 4, 4), features=torch.ones(2, 4, 3))
    assert batch.select([1]).features.shape == (1, 4, 3)
    assert batch.replace(label=torch.ones(2).long()).features is batch.features
    assert batch.replace(image=torch.ones(2, 1, 4, 4)).features is None
