"""Batches and tasks: what they refuse, that selecting keeps every field in step, nested subsets, the fingerprint."""

import dataclasses

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.helpers import PAD, random_images, random_sentences, sentences, text_task


@settings(max_examples=40)
@given(st.data())
def test_select_is_plain_indexing_with_the_padding_cut(data):
    batch = random_sentences(data.draw(st.integers(1, 8)), seed=data.draw(st.integers(0, 99)))
    rows = data.draw(st.lists(st.integers(0, len(batch) - 1), min_size=1, max_size=10))
    chosen = batch.select(rows)
    assert len(chosen) == len(rows)
    assert chosen.tokens.shape[1] == max(int(batch.lengths[row]) for row in rows)
    for i, row in enumerate(rows):
        n = int(batch.lengths[row])
        assert (chosen.ids[i], chosen.label[i]) == (batch.ids[row], batch.label[row])
        assert chosen.tokens[i].tolist() == batch.tokens[row, :n].tolist() + [PAD] * (chosen.tokens.shape[1] - n)


def test_every_field_is_selected_by_any_kind_of_rows_and_moved():
    batch = random_sentences(6)
    for rows in ([1, 2], torch.tensor([1, 2]), slice(1, 3), torch.tensor([False, True, True, False, False, False])):
        assert batch.select(rows).ids.tolist() == batch.ids[1:3].tolist()
    assert len(batch.select([])) == len(batch.select([]).tokens) == 0
    batch = random_images(4).replace(
        boxes=torch.rand(4, 2, 4), others=torch.rand(4, 1, 4), kind=torch.arange(4), features=torch.rand(4, 6, 3)
    )
    chosen, moved = batch.select([3, 1]), batch.to("meta")
    assert chosen.tokens is moved.tokens is None
    for name in ("ids", "label", "image", "boxes", "others", "kind", "features"):
        assert torch.equal(getattr(chosen, name), getattr(batch, name)[[3, 1]])
        assert getattr(moved, name).is_meta
    # New images leave old features behind.
    assert batch.replace(label=batch.label + 1).features is batch.features
    assert batch.replace(image=batch.image + 1).features is None


def test_fields_that_do_not_fit_are_named():
    for change, message in (
        ({"label": torch.zeros(3).long()}, r"Batch.label must have 1 axes .* shape \(3,\), ids has \(2,\)"),
        ({"label": torch.tensor(0)}, r"Batch.label must have 1 axes .* shape \(\), ids has \(2,\)"),
        ({"ids": [0, 1]}, "Batch.ids must be a tensor, got list"),
        ({"boxes": "none"}, "Batch.boxes must be a tensor, got str"),
        ({"others": torch.zeros(2, 4)}, r"Batch.others must have 3 axes .* shape \(2, 4\), ids has \(2,\)"),
        ({"others": torch.zeros(2, 1, 4).long()}, "Batch.others must be floating point"),
        ({"tokens": None}, "tokens and lengths together"),
        ({"lengths": None}, "tokens and lengths together"),
        ({"lengths": torch.tensor([3, 1])}, r"lengths must be in \[1, 2\], got 1 to 3 \(example ids \[7\]\)"),
        ({"lengths": torch.tensor([2, 0])}, r"lengths must be in \[1, 2\], got 0 to 2 \(example ids \[8\]\).*drop it"),
    ):
        with pytest.raises(ValueError, match=message):
            sentences([[2, 3], [4]], ids=[7, 8]).replace(**change)


@pytest.mark.parametrize("name", ["train", "valid", "test"])
def test_labels_outside_the_classes_are_refused(name):
    task = text_task()
    split = getattr(task, name)
    for label in (-1, 3):
        wrong = split.replace(label=split.label.index_fill(0, torch.tensor([2]), label))
        with pytest.raises(ValueError, match=rf"tiny.{name} has labels from -?\d to \d, but there are 3 classes"):
            dataclasses.replace(task, **{name: wrong})
    assert dataclasses.replace(task, **{name: split.select([])}).n_classes == 3  # an empty split is allowed


def test_subsets_of_a_seed_are_nested_in_order_and_of_whole_examples():
    task = text_task(n_train=24)
    small, medium, whole = (task.subset(n, seed=5).train.ids.tolist() for n in (3, 10, 24))
    order = task.train.ids.tolist()
    assert set(small) < set(medium) < set(whole)
    assert [len(small), len(medium), whole] == [3, 10, order]
    subset, rows = task.subset(10, seed=5), [order.index(i) for i in medium]
    assert rows == sorted(rows)
    assert torch.equal(subset.train.tokens, task.train.select(rows).tokens)
    assert torch.equal(subset.train.label, task.train.label[rows])
    assert torch.equal(subset.test.ids, task.test.ids)
    assert medium != task.subset(10, seed=6).train.ids.tolist()
    for n in (0, -1, 25):
        with pytest.raises(ValueError, match=rf"n_train must be in \[1, 24\], got {n}"):
            task.subset(n, seed=0)


def test_the_fingerprint_changes_with_ids_order_labels_and_name():
    task = text_task()
    others = [
        dataclasses.replace(task, name="other"),
        dataclasses.replace(task, train=task.train.select(torch.arange(len(task.train)).flip(0))),
        dataclasses.replace(task, train=task.train.replace(label=(task.train.label + 1) % 3)),
        dataclasses.replace(task, test=task.test.replace(ids=task.test.ids + 1)),
        task.subset(10, seed=0),
    ]
    assert len({each.fingerprint() for each in (task, *others)}) == 6
    assert text_task().fingerprint() == task.fingerprint()
