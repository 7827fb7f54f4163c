"""Tasks: labels that fit the classes, nested subsets, and a fingerprint that notices changes."""

import dataclasses

import pytest
import torch

from ssan.data.task import Task
from tests.helpers import random_sentences, text_task


@pytest.mark.parametrize("split", ["train", "valid", "test"])
@pytest.mark.parametrize("label", [-1, 3])
def test_labels_outside_the_classes_are_refused(split, label):
    task = text_task()
    wrong = getattr(task, split).label.clone()
    wrong[2] = label
    with pytest.raises(ValueError, match=rf"tiny.{split} has labels from -?\d to \d, but there are 3 classes"):
        dataclasses.replace(task, **{split: getattr(task, split).replace(label=wrong)})


def test_an_empty_split_is_allowed():
    task = dataclasses.replace(text_task(), valid=random_sentences(3).select([]))
    assert len(task.valid) == 0
    assert task.n_classes == 3


def test_subsets_of_one_seed_are_nested_and_in_order():
    task = text_task(n_train=24)
    ids = [task.subset(n, seed=5).train.ids.tolist() for n in (3, 10, 24)]
    assert [len(one) for one in ids] == [3, 10, 24]
    assert set(ids[0]) < set(ids[1]) < set(ids[2])
    order = task.train.ids.tolist()
    for one in ids:
        assert one == [i for i in order if i in one]
    assert ids[1] != task.subset(10, seed=6).train.ids.tolist()
    assert torch.equal(task.subset(10, seed=5).test.ids, task.test.ids)


def test_subsets_keep_examples_whole():
    task = text_task()
    row_of = {int(i): row for row, i in enumerate(task.train.ids)}
    chosen = task.subset(7, seed=1).train
    for k, example in enumerate(chosen.ids.tolist()):
        row, n = row_of[example], int(chosen.lengths[k])
        assert chosen.label[k] == task.train.label[row]
        assert chosen.tokens[k, :n].tolist() == task.train.tokens[row, :n].tolist()


@pytest.mark.parametrize("n", [0, -1, 25])
def test_subsets_of_impossible_size(n):
    with pytest.raises(ValueError, match=rf"n_train must be in \[1, 24\], got {n}"):
        text_task(n_train=24).subset(n, seed=0)


def test_the_fingerprint_changes_with_ids_order_labels_and_name():
    task = text_task()
    order = torch.arange(len(task.train)).flip(0)
    relabelled = (task.train.label + 1) % 3
    others: list[Task] = [
        dataclasses.replace(task, name="other"),
        dataclasses.replace(task, train=task.train.select(order)),
        dataclasses.replace(task, train=task.train.replace(label=relabelled)),
        dataclasses.replace(task, test=task.test.replace(ids=task.test.ids + 1)),
        task.subset(10, seed=0),
    ]
    prints = [one.fingerprint() for one in (task, *others)]
    assert len(set(prints)) == 6
    assert text_task().fingerprint() == prints[0]
