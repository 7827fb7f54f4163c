"""What the widgets look at."""

import dataclasses

import pytest
import torch

from ssan.regions import FeatureGrid, ImageGrid, TokenRegions
from ssan.widgets.subject import Subject, by_name, shown_image, signed, words_of
from tests.widgets.subjects import image_subject, question_subject, text_subject


def test_sentences_of_the_asked_length_by_lot():
    subject = text_subject()
    task = subject.task
    fitting = {int(i) for i, n in zip(task.train.ids, task.train.lengths, strict=True) if 4 <= n <= 24}
    drawn = subject.examples.ids.tolist()
    assert len(set(drawn)) == 12
    assert set(drawn) <= fitting
    assert drawn != sorted(drawn)  # not the beginning of the file, which may hold one class
    assert text_subject().examples.ids.tolist() == drawn  # but always the same ones
    assert len(Subject.of("one", task, subject.model, n=1).examples) == 1


def test_images_in_their_order():
    subject = image_subject()
    assert subject.examples.ids.tolist() == subject.task.train.ids[: len(subject.examples)].tolist()


def test_ways_of_hiding_begin_with_the_tasks_own():
    text, image = text_subject(), image_subject()
    assert text.hidings == {"<unk>": TokenRegions(0), "word 2": TokenRegions(2)}
    assert list(image.hidings) == ["zero", "mean", "blur", "zero features", "mean features"]
    assert image.hiding(None) == image.task.regions == ImageGrid((4, 4), "zero")
    assert image.hiding("mean features") == FeatureGrid((4, 4), "mean")
    blind = dataclasses.replace(image, model=torch.nn.Linear(1, 1))
    assert list(blind.hidings) == ["zero", "mean", "blur"]


def test_what_is_not_there_is_refused_by_name():
    subject = text_subject()
    with pytest.raises(ValueError, match="unknown fill 'snow' for text: expected one of <unk>, word 2"):
        subject.hiding("snow")
    with pytest.raises(ValueError, match="text has examples 0 to 11, got 12"):
        subject.example(12)
    with pytest.raises(ValueError, match="no examples"):
        dataclasses.replace(subject, examples=subject.examples.select(slice(0, 0)))
    with pytest.raises(ValueError, match="different names"):
        by_name([subject, text_subject()])
    with pytest.raises(ValueError, match="different names"):
        by_name([])


def test_regions_are_called_by_their_words_or_places():
    text, question = text_subject(), question_subject()
    example = text.example(2)
    assert text.region_names(example) == [text.task.words[k] for k in example.tokens[0, : example.lengths[0]]]
    names = question.region_names(question.example(0))
    assert (names[0], names[5], names[15]) == ("row 1, column 1", "row 2, column 2", "row 4, column 4")
    assert words_of(image_subject().task, image_subject().examples, 0) == []


def test_examples_say_what_they_are():
    text, image, question = text_subject(), image_subject(), question_subject()
    example = text.example(0)
    assert text.says(example) == f"Sentence {int(example.ids)}; true class: class {int(example.label)}."
    assert image.says(image.example(1)) == f"Image 41; true class: class {int(image.example(1).label)}."
    asked = question.example(1)
    assert question.says(asked).startswith(f"Question 41: “w{int(asked.tokens[0, 0])}?”; true answer: answer ")


def test_images_are_shown_as_they_are_or_stretched():
    inside = torch.tensor([[[0.2, 0.9]]])
    assert shown_image(inside) is inside
    assert torch.allclose(shown_image(torch.tensor([[[-2.0, 0.0, 2.0]]])), torch.tensor([[[0.0, 0.5, 1.0]]]))


@pytest.mark.parametrize(("change", "said"), [(-0.001, "+0.00"), (0.0, "+0.00"), (-0.006, "-0.01"), (1.2, "+1.20")])
def test_changes_have_a_sign_and_no_negative_nothing(change, said):
    assert signed(change) == said
