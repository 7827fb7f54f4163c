"""The shapes task: subsets, disjoint images, boxes and words that belong to the answer."""

import pytest
import torch

from ssan.data import shape_questions
from ssan.data.shape_questions import ANSWERS, KINDS
from ssan.data.shapes import COLOURS, SHAPES
from ssan.data.vqa import answer_balance, shapes_task
from ssan.regions import ImageGrid


@pytest.fixture(scope="module")
def task():
    return shapes_task(260, n_valid=40, n_test=50, seed=3)


def test_numbers(task):
    assert len(task.train.images) == 260
    assert len(task.train) == 260 * 4
    assert len(task.valid) == 40 * 4
    assert len(task.test) == 50 * 4
    assert task.class_names == ANSWERS
    assert task.regions == ImageGrid((8, 8), "zero")
    assert len(torch.unique(task.train.ids)) == len(task.train)


def test_the_same_again_and_another_seed(task):
    again = shapes_task(260, n_valid=40, n_test=50, seed=3)
    assert again.fingerprint() == task.fingerprint()
    assert torch.equal(again.train.images, task.train.images)
    assert shapes_task(260, n_valid=40, n_test=50, seed=4).fingerprint() != task.fingerprint()


def test_small_training_sets_are_the_beginning_of_larger_ones(task):
    small = shapes_task(70, n_valid=40, n_test=50, seed=3)
    rows = len(small.train)
    for name in ("ids", "label", "image_of", "tokens", "lengths", "boxes", "kind"):
        assert torch.equal(getattr(small.train, name), getattr(task.train, name)[:rows])
    assert torch.equal(small.train.images, task.train.images[:70])
    assert torch.equal(small.test.ids, task.test.ids)
    fewer = shapes_task(70, n_valid=40, n_test=50, seed=3, relational=0, non_relational=1)
    assert set(fewer.train.ids.tolist()) < set(small.train.ids.tolist())


def test_splits_share_no_image(task):
    seen = [{image.numpy().tobytes() for image in split.images} for split in (task.train, task.valid, task.test)]
    assert len(set.union(*seen)) == 260 + 40 + 50


def test_question_image_boxes_and_answer_belong_together(task):
    """Read each question from its words, look at its boxes in its pixels, and answer it."""
    batch = task.train.select(slice(0, 300))
    palette = {colour: torch.tensor(rgb) / 255 for colour, rgb in COLOURS.items()}
    for i in range(len(batch)):
        question = [task.words[t] for t in batch.tokens[i, : batch.lengths[i]].tolist()]
        kind = KINDS[batch.kind[i]]
        (colour,) = [word for word in question if word in COLOURS]
        assert " ".join(question) == shape_questions.words_of(kind, colour)
        boxes = batch.boxes[i][(batch.boxes[i] != 0).any(-1)].long().tolist()
        seen = []
        for x0, y0, x1, y1 in boxes:
            middle = batch.image[i, :, (y0 + y1) // 2, (x0 + x1) // 2]
            (name,) = [name for name, rgb in palette.items() if torch.allclose(middle, rgb)]
            seen.append((name, SHAPES[int(batch.image[i, :, y0, x0].any())], x0 + x1, y0 + y1))
        mine = [item for item in seen if item[0] == colour]
        assert len(mine) == 1
        answer = task.class_names[batch.label[i]]
        if kind == "shape":
            assert (len(seen), answer) == (1, mine[0][1])
        elif kind == "side":
            assert (len(seen), answer) == (1, "right" if mine[0][2] > 64 else "left")
        elif kind == "height":
            assert (len(seen), answer) == (1, "bottom" if mine[0][3] > 64 else "top")
        elif kind == "count":
            assert answer == str(len(seen))
            assert {item[1] for item in seen} == {mine[0][1]}
        else:
            assert len(seen) == 2
            assert answer == next(item[1] for item in seen if item[0] != colour)


def test_used_boxes_come_first(task):
    used = (task.train.boxes != 0).any(-1)
    assert used.any(1).all()
    assert not (used[:, 1:] & ~used[:, :-1]).any()


def test_presence_says_which_pairs_are_there(task):
    presence = task.train.presence.view(-1, len(COLOURS), len(SHAPES))
    assert (presence.sum(-1) == 1).all()
    asked = task.train.kind == KINDS.index("shape")
    colour = task.train.ids[asked] % len(COLOURS)
    assert torch.equal(presence[task.train.image_of[asked], colour].argmax(-1), task.train.label[asked])


def test_images_are_floats_between_0_and_1(task):
    image = task.train.select([0, 1]).image
    assert image.dtype == torch.float32
    assert image.shape == (2, 3, 64, 64)
    assert image.min() == 0
    assert image.max() == 1


def test_answer_balance(task):
    table = answer_balance(task.train, task.class_names)
    assert table.shape == (len(KINDS), len(ANSWERS))
    assert table.sum(axis=1).tolist() == pytest.approx([1] * len(KINDS))
    kind, label = task.train.kind, task.train.label
    for code in range(len(KINDS)):
        for c, name in enumerate(ANSWERS):
            assert table.loc[code, name] == pytest.approx((label[kind == code] == c).double().mean().item())
    # No answer of a two-way question can be guessed, and the most frequent count is far from certain.
    assert table.loc[0:4].max().max() < 0.65
    assert table.loc[5].max() < 0.45


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"n_train": 0}, "at least 1"),
        ({"grid": (7, 8)}, "7x8 cells does not divide 64x64"),
        ({"non_relational": 0, "relational": 0}, "not 0 of both"),
        ({"size": 24, "grid": (8, 8)}, "no room"),
    ],
)
def test_bad_input(arguments, message):
    with pytest.raises(ValueError, match=message):
        shapes_task(**{"n_train": 5, "n_valid": 5, "n_test": 5} | arguments)
