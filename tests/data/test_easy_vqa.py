"""easy-VQA from files in the package's own layout, made up here."""

import json

import numpy as np
import pytest
import torch
from PIL import Image

from ssan.data.easy_vqa import easy_vqa_task

ANSWERS = ["yes", "no", "circle", "rectangle", "triangle", "red", "blue"]
RGB = {"red": (255, 0, 0), "blue": (0, 0, 255)}


def write(root, n_train=12, n_test=5, questions=None):
    """Images whose upper left pixel counts them, questions of several kinds about each."""
    data = root / "unpacked" / "easy_vqa" / "data"
    truth = {}
    for name, n in (("train", n_train), ("test", n_test)):
        (data / name / "images").mkdir(parents=True)
        rows = []
        for i in range(n):
            shape, colour = ANSWERS[2 + i % 3], ANSWERS[5 + i % 2]
            truth[name, i] = (shape, colour)
            pixels = np.full((64, 64, 3), RGB[colour], dtype=np.uint8)
            pixels[0, 0] = i
            Image.fromarray(pixels).save(data / name / "images" / f"{i}.png")
            rows += [
                [f"what is the {colour} shape?", shape, i],
                ["what color is the shape?", colour, i],
                ["is there a circle?", "yes" if shape == "circle" else "no", i],
                ["is there not a red shape in the image?", "no" if colour == "red" else "yes", i],
            ]
        (data / name / "questions.json").write_text(json.dumps(rows if questions is None else questions[name]))
    (data / "answers.txt").write_text("\n".join(ANSWERS) + "\n")
    return data, truth


def test_splits_by_image(tmp_path):
    write(tmp_path)
    task = easy_vqa_task(tmp_path, n_valid=3)
    assert (len(task.train), len(task.valid), len(task.test)) == (9 * 4, 3 * 4, 5 * 4)
    numbers = [set(split.images[:, 0, 0, 0].tolist()) for split in (task.train, task.valid)]
    assert numbers[0] | numbers[1] == set(range(12))
    assert not numbers[0] & numbers[1]
    assert task.class_names == tuple(ANSWERS)
    assert task.train.boxes is None


def test_questions_images_and_answers_belong_together(tmp_path):
    data, _ = write(tmp_path)
    task = easy_vqa_task(tmp_path, n_valid=3)
    for name, split in (("train", task.train), ("train", task.valid), ("test", task.test)):
        rows = json.loads((data / name / "questions.json").read_text())
        batch = split.select(slice(None))
        for i, row in enumerate(batch.ids.tolist()):
            question, answer, image = rows[row]
            assert batch.image[i, 0, 0, 0] * 255 == image
            assert task.class_names[batch.label[i]] == answer
            assert [task.words[t] for t in batch.tokens[i, : batch.lengths[i]]] == question.rstrip("?").split()


def test_subsets_are_nested(tmp_path):
    write(tmp_path)
    ids = [set(easy_vqa_task(tmp_path, n_train=n, n_valid=3, seed=1).train.ids.tolist()) for n in (2, 5, 9)]
    assert ids[0] < ids[1] < ids[2]
    assert ids[2] != set(easy_vqa_task(tmp_path, n_valid=3, seed=2).train.ids.tolist())


def test_presence_is_what_the_questions_tell(tmp_path):
    _, truth = write(tmp_path)
    train = easy_vqa_task(tmp_path, n_valid=3).train
    columns = ["circle", "rectangle", "triangle", "blue", "red"]
    for number, row in zip(train.images[:, 0, 0, 0].tolist(), train.presence, strict=True):
        assert row.tolist() == [float(name in truth["train", number]) for name in columns]


@pytest.mark.parametrize(
    ("question", "answer", "told"),
    [
        ("is there a red shape?", "yes", {"red": 1, "blue": 0}),
        ("is there a red shape?", "no", {"red": 0}),
        ("is no red shape present?", "yes", {"red": 0}),
        ("does the image not contain a circle?", "no", {"circle": 1, "rectangle": 0, "triangle": 0}),
        ("what is the red shape?", "circle", {"circle": 1, "rectangle": 0, "triangle": 0, "red": 1, "blue": 0}),
    ],
)
def test_presence_from_one_question(tmp_path, question, answer, told):
    one = [[question, answer, i] for i in range(2)]
    write(tmp_path, 2, 1, {"train": one, "test": one[:1]})
    presence = easy_vqa_task(tmp_path, n_valid=1).train.presence
    expected = [told.get(name, float("nan")) for name in ("circle", "rectangle", "triangle", "blue", "red")]
    assert torch.equal(presence.nan_to_num(-1), torch.tensor([expected]).nan_to_num(-1))


@pytest.mark.parametrize(
    ("pixels", "message"),
    [
        (np.zeros((32, 64, 3), np.uint8), "1.png is 64x32 RGB, expected 64x64 RGB"),
        (np.zeros((64, 64), np.uint8), "1.png is 64x64 L, expected 64x64 RGB"),
        (np.zeros((64, 64, 4), np.uint8), "1.png is 64x64 RGBA, expected 64x64 RGB"),
    ],
)
def test_strange_images(tmp_path, pixels, message):
    data, _ = write(tmp_path)
    Image.fromarray(pixels).save(data / "train" / "images" / "1.png")
    with pytest.raises(ValueError, match=message):
        easy_vqa_task(tmp_path, n_valid=3)


def test_broken_image(tmp_path):
    data, _ = write(tmp_path)
    (data / "test" / "images" / "2.png").write_bytes(b"no picture")
    with pytest.raises(ValueError, match=r"2\.png is not a readable image"):
        easy_vqa_task(tmp_path, n_valid=3)


def test_missing_image(tmp_path):
    data, _ = write(tmp_path)
    (data / "train" / "images" / "4.png").unlink()
    with pytest.raises(FileNotFoundError, match="without a gap; it holds 11"):
        easy_vqa_task(tmp_path, n_valid=3)


def test_strange_answer_and_strange_question(tmp_path):
    rows = [["is it red?", "yes", 0], ["is it red?", "no", 1]]
    write(tmp_path / "a", 2, 1, {"train": rows, "test": [["is it red?", "perhaps", 0]]})
    with pytest.raises(ValueError, match=r"answers \['perhaps'\] are not among the 7 classes"):
        easy_vqa_task(tmp_path / "a", n_valid=1)
    write(tmp_path / "b", 2, 1, {"train": rows, "test": [["pourquoi?", "yes", 0]]})
    with pytest.raises(ValueError, match=r"no word of the question 'pourquoi\?' is known"):
        easy_vqa_task(tmp_path / "b", n_valid=1)


@pytest.mark.parametrize("numbers", [{"n_valid": 12}, {"n_valid": -1}, {"n_valid": 3, "n_train": 10}, {"n_train": 0}])
def test_bad_numbers(tmp_path, numbers):
    write(tmp_path)
    with pytest.raises(ValueError, match="n_train must be in"):
        easy_vqa_task(tmp_path, **{"n_valid": 3} | numbers)


def test_no_data_and_a_grid_that_does_not_divide(tmp_path):
    with pytest.raises(FileNotFoundError, match="no easy-VQA data under"):
        easy_vqa_task(tmp_path)
    with pytest.raises(ValueError, match="5x8 cells does not divide 64x64"):
        easy_vqa_task(tmp_path, grid=(5, 8))
