"""The before/after browser without widgets: which examples it finds, and what it says of them."""

import dataclasses

import pytest
import torch

from ssan.training import predict
from ssan.widgets.comparison import FILTERS, Browsing, Comparison, describe, draw, find
from tests.widgets.subjects import comparison, pixels, subjects, text_subject


def made_up() -> Comparison:
    """Five sentences of known fate: fixed, broken, kept, kept, wrong twice; attention moves by known amounts."""
    subject = text_subject()
    batch = subject.examples.select(slice(0, 5)).replace(label=torch.zeros(5, dtype=torch.long))
    right, wrong = torch.tensor([0.8, 0.1, 0.1]), torch.tensor([0.1, 0.7, 0.2])
    before, after = torch.stack([wrong, right, right, right, wrong]), torch.stack([right, wrong, right, right, wrong])
    width = batch.tokens.shape[1]
    old = torch.zeros(5, width)
    old[:, 0] = 1
    new = old.clone()
    for row, moved in enumerate((0.5, 0.25, 0.125, 0.75, 1.0)):
        new[row, 0] -= moved
        new[row, 1] += moved
    return Comparison("made up", subject.task, batch, before, after, old, new)


def test_filters_find_their_examples_largest_change_first():
    rows = {which: made_up().rows(which).tolist() for which in FILTERS}
    assert rows == {"fixed": [0], "broken": [1], "kept": [3, 2], "all": [4, 3, 0, 1, 2]}
    assert find(made_up(), Browsing("kept", 1)) == 2


def test_the_text_says_counts_answers_and_change():
    said = describe(made_up(), Browsing("kept", 0))
    assert "Of 5 test examples 1 fixed, 1 broken, 2 right twice." in said
    assert "Number 1 of the 2 that are kept" in said
    assert "Answer: class 0, then class 0; probability of the truth 0.80, then 0.80." in said
    assert "share of attention that moved: 0.75." in said
    assert "Number 2 of all 5: " in describe(made_up(), Browsing("all", 1))
    said = describe(made_up(), Browsing("broken", 0))
    assert "Answer: class 0, then class 1; probability of the truth 0.80, then 0.10." in said


def test_none_of_a_kind_is_said_and_drawn():
    compared = made_up()
    same = dataclasses.replace(compared, after=compared.before)
    assert find(same, Browsing("fixed")) is None
    assert describe(same, Browsing("fixed")).endswith("There is none that is fixed.")
    assert pixels(draw(same, Browsing("fixed"))).shape[1] == 1140


@pytest.mark.parametrize("subject", subjects(), ids=lambda one: one.name)
def test_predictions_are_the_models(subject):
    compared = Comparison.of("same", subject.task, subject.model, subject.model, n=5)
    batch = subject.task.test.select(torch.arange(5))
    logits, attention = predict(subject.model, batch, device="cpu")
    torch.testing.assert_close(compared.before, logits.softmax(-1))
    torch.testing.assert_close(compared.map_before, attention)
    assert torch.equal(compared.after, compared.before)
    assert torch.equal(compared.batch.ids, batch.ids)
    whole = Comparison.of("same", subject.task, subject.model, subject.model)
    assert torch.equal(whole.batch.ids, subject.task.test.select(slice(None)).ids)
    other = comparison(subject, n=5)
    assert torch.equal(other.batch.ids, subject.examples.ids[:5])
    assert not torch.allclose(other.after, other.before)


@pytest.mark.parametrize("subject", subjects(), ids=lambda one: one.name)
def test_every_example_has_a_picture_of_its_own(subject):
    compared = comparison(subject, n=5)
    pictures = [draw(compared, Browsing("all", place)) for place in range(5)]
    assert len(set(pictures)) == 5
    assert all("share of attention that moved" in describe(compared, Browsing("all", place)) for place in range(5))


def test_what_does_not_fit_is_refused():
    compared = made_up()
    with pytest.raises(ValueError, match="unknown filter 'mended'"):
        compared.rows("mended")
    with pytest.raises(ValueError, match="made up has 1 examples that are fixed, got place 1"):
        find(compared, Browsing("fixed", 1))
    with pytest.raises(ValueError, match="different numbers of examples"):
        dataclasses.replace(compared, after=compared.after[:3])
