"""Text tasks on the real data, against the files read a second time without torchtext."""

import html
from collections import Counter
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from ssan.batch import Batch
from ssan.data.fetching import fetch
from ssan.data.text import encode, text_task

pytestmark = pytest.mark.usefixtures("data_mirror")
SPLITS = ("train", "valid", "test")
SIZES = {"trec": (4907, 545, 500), "movie": (8056, 1008, 1008)}


@pytest.fixture(scope="module")
def tasks():
    """Both tasks with vectors. A data set that cannot be had is a failure."""
    return {name: text_task(name) for name in SIZES}


def raw(name: str) -> dict[int, tuple[str, str]]:
    """Example id -> (class name, sentence), from the bytes of the files."""
    if name == "trec":
        content = b"".join((fetch(name) / file).read_bytes() for file in ("train_5500.label", "TREC_10.label"))
        lines = [line.split(" ", 1) for line in content.decode("latin-1").replace("\xf0", " ").splitlines()]
        return {i: (label.split(":")[0], sentence) for i, (label, sentence) in enumerate(lines)}
    content = (fetch(name) / "movieReviewSnippets_GroundTruth.txt").read_bytes().decode("utf-8")
    rows = [line.split("\t") for line in content.split("\r\n")]
    classes = {i: "positive" if float(r) >= 0.5 else "negative" if float(r) <= -0.5 else "" for i, r, _ in rows}
    return {int(i): (classes[i], sentence) for i, _, sentence in rows if classes[i]}


def words_of(task, batch: Batch) -> list[list[str]]:
    rows = zip(batch.tokens.tolist(), batch.lengths.tolist(), strict=True)
    return [[task.words[word] for word in row[:length]] for row, length in rows]


@pytest.mark.parametrize("name", SIZES)
def test_every_line_is_in_one_split_with_its_label(tasks, name):
    task, lines = tasks[name], raw(name)
    assert tuple(len(getattr(task, split)) for split in SPLITS) == SIZES[name]
    labels = {}
    for split in SPLITS:
        batch = getattr(task, split)
        assert batch.ids.tolist() == sorted(batch.ids.tolist())
        labels.update(zip(batch.ids.tolist(), batch.label.tolist(), strict=True))
    assert {i: task.class_names[label] for i, label in labels.items()} == {i: label for i, (label, _) in lines.items()}
    assert sum(SIZES[name]) == len(lines)


def test_words_of_trec_are_those_between_spaces(tasks):
    task, lines = tasks["trec"], raw("trec")
    for split in SPLITS:
        batch = getattr(task, split)
        known = set(task.words)
        for i, words in zip(batch.ids.tolist(), words_of(task, batch), strict=True):
            expected = lines[i][1].lower().split()
            assert words == [word if word in known else "<unk>" for word in expected]
    assert task.test.ids.tolist() == list(range(5452, 5952))  # the official split


def test_the_byte_of_trec_that_is_not_ascii_parts_two_words(tasks):
    task = tasks["trec"]
    content = (fetch("trec") / "train_5500.label").read_bytes().splitlines()
    (line,) = [i for i, text in enumerate(content) if any(byte > 127 for byte in text)]
    for split in ("train", "valid"):
        batch = getattr(task, split)
        if line in batch.ids:
            words = words_of(task, batch.select((batch.ids == line).nonzero()[:, 0]))[0]
            assert " ".join(words) == "which city has the oldest relationship as a sister city with los angeles ?"
            return
    pytest.fail(f"line {line} is in no split")


def test_words_of_movie(tasks):
    task = tasks["movie"]
    batch = encode(task, [raw("movie")[1][1], "A &amp; B: ''isn't it, (truly) so!''", 'Say "yes".'])
    known = set(task.words)
    expected = [
        "the rock is destined to be the 21st century ' s new conan and that he ' s going to make a splash even greater "
        "than arnold schwarzenegger , jean claud van damme or steven segal .",
        "a & b isn ' t it , ( truly ) so !",
        "say yes .",
    ]
    for got, text in zip(words_of(task, batch), expected, strict=True):
        assert got == [word if word in known else "<unk>" for word in text.split()]


@pytest.mark.parametrize("name", SIZES)
def test_encoding_the_raw_sentences_gives_the_splits(tasks, name):
    task, lines = tasks[name], raw(name)
    batch = task.valid
    pairs = [lines[i] for i in batch.ids.tolist()]
    sentences = [sentence.replace("\xf0", " ") for _, sentence in pairs]
    for labels in ([label for label, _ in pairs], batch.label.tolist()):
        again = encode(task, sentences, labels)
        assert torch.equal(again.tokens, batch.tokens)
        assert torch.equal(again.lengths, batch.lengths)
        assert torch.equal(again.label, batch.label)


@pytest.mark.parametrize("name", SIZES)
def test_splits_are_stratified_and_share_no_sentence(tasks, name):
    task, lines = tasks[name], raw(name)

    def texts(split):
        return {html.unescape(lines[i][1]).lower() for i in getattr(task, split).ids.tolist()}

    assert not texts("train") & texts("valid")
    # TREC as published: some official test questions are also training questions.
    assert len(texts("test") & (texts("train") | texts("valid"))) == {"trec": 11, "movie": 0}[name]
    shares = {s: getattr(task, s).label.bincount(minlength=task.n_classes) / len(getattr(task, s)) for s in SPLITS}
    for split in ("valid", "test") if name == "movie" else ("valid",):
        assert torch.allclose(shares[split], shares["train"], atol=0.01)


@pytest.mark.parametrize("name", SIZES)
def test_vocabulary_is_that_of_the_training_split_by_frequency(tasks, name):
    task = tasks[name]
    assert task.words[:2] == ("<unk>", "<pad>")
    assert len(set(task.words)) == len(task.words)
    counts = Counter(word for words in words_of(task, task.train) for word in words)
    assert "<unk>" not in counts
    assert list(task.words[2:]) == sorted(counts, key=lambda word: (-counts[word], word))
    assert any("<unk>" in words for words in words_of(task, task.test))


@pytest.mark.parametrize("name", SIZES)
def test_padding_is_on_the_right(tasks, name):
    for split in SPLITS:
        batch = getattr(tasks[name], split)
        exists = torch.arange(batch.tokens.shape[1]) < batch.lengths[:, None]
        assert torch.equal(batch.tokens == 1, ~exists)


@pytest.mark.parametrize("name", SIZES)
def test_vectors_are_glove_or_zero(tasks, name):
    task = tasks[name]
    folder = fetch("glove")
    place = {word: i for i, word in enumerate(pd.read_parquet(folder / "glove_6B_index.parquet")["index"].tolist())}
    array = np.load(folder / "glove_6B_50d_emb.npy")
    expected = np.stack([array[place[word]] if word in place else np.zeros(50, np.float32) for word in task.words])
    assert np.array_equal(task.vectors.numpy(), expected)
    assert not task.vectors[:2].any()
    assert task.vectors.any(1).float().mean() > 0.9
    # A known property of these vectors, so that the index cannot be shifted against the array.
    film, movie, seven = (array[place[word]] / np.linalg.norm(array[place[word]]) for word in ("film", "movie", "7"))
    assert film @ movie > 0.9 > film @ seven


def test_vectors_are_optional(tasks):
    plain = text_task("trec", vectors=None)
    assert plain.vectors is None
    assert plain.words == tasks["trec"].words
    assert plain.fingerprint() == tasks["trec"].fingerprint()


def test_subsets_are_nested_and_leave_the_rest_alone(tasks):
    whole = tasks["trec"]
    small, large = (text_task("trec", n_train=n, seed=3, vectors=None) for n in (100, 400))
    other = text_task("trec", n_train=100, seed=4, vectors=None)
    assert len(small.train) == 100
    assert set(small.train.ids.tolist()) < set(large.train.ids.tolist()) < set(whole.train.ids.tolist())
    assert set(small.train.ids.tolist()) != set(other.train.ids.tolist())
    for task in (small, large, other):
        assert task.words == whole.words
        for split in ("valid", "test"):
            assert torch.equal(getattr(task, split).ids, getattr(whole, split).ids)
            assert torch.equal(getattr(task, split).tokens, getattr(whole, split).tokens)


def test_sentences_are_cut_to_max_length(tasks):
    cut = text_task("trec", vectors=None, max_length=4)
    assert int(cut.train.lengths.max()) == 4
    for split in SPLITS:
        # Questions that begin alike are still different questions: the splits stay what they are.
        assert torch.equal(getattr(cut, split).ids, getattr(tasks["trec"], split).ids)
        assert torch.equal(getattr(cut, split).lengths, getattr(tasks["trec"], split).lengths.clamp(max=4))
    assert set(cut.words) < set(tasks["trec"].words)
    assert words_of(cut, encode(cut, ["what is the the the"], max_length=3)) == [["what", "is", "the"]]


def test_the_global_generator_is_left_alone():
    torch.manual_seed(5)
    before = torch.get_rng_state()
    text_task("trec", n_train=10, vectors=None)
    assert torch.equal(torch.get_rng_state(), before)


def test_sentences_of_unknown_words_are_allowed(tasks):
    batch = encode(tasks["trec"], ["Xyzzy plugh", "What ?"])
    assert batch.tokens[0].tolist() == [0, 0]
    assert batch.lengths.tolist() == [2, 2]
    assert batch.ids.tolist() == [0, 1]
    assert batch.label.tolist() == [-1, -1]


@pytest.mark.parametrize(
    ("sentences", "labels", "said"),
    [
        (["what ?", "  "], None, r"no words in sentence 1;.*drop it or give it a word"),
        ("what ?", None, "needs a list of at least one sentence, got 'what"),
        ([], None, "needs a list of at least one sentence"),
        (["what ?"], ["WHAT"], "label 'WHAT' is not one of the classes"),
        (["what ?"], [6], r"label 6 is not one of the classes .* nor in \[0, 6\)"),
        (["what ?"], [-1], "label -1 is not"),
        (["what ?"], [0, 1], "got 2 labels for 1 sentences"),
    ],
)
def test_bad_sentences_and_labels(tasks, sentences, labels, said):
    with pytest.raises(ValueError, match=said):
        encode(tasks["trec"], sentences, labels)


def test_bad_arguments_are_refused_before_any_work(tmp_path):
    for arguments, said in (
        ({"name": "imdb"}, "unknown text task 'imdb': expected one of trec, movie"),
        ({"name": "trec", "vectors": "fasttext"}, "unknown vectors 'fasttext'"),
        ({"name": "trec", "max_length": 0}, "max_length must be at least 1, got 0"),
    ):
        with pytest.raises(ValueError, match=said):
            text_task(**arguments, root=tmp_path)
    assert not list(tmp_path.iterdir())


def test_n_train_out_of_range():
    for n_train in (0, 4908):
        with pytest.raises(ValueError, match=rf"n_train must be in \[1, 4907\], got {n_train}"):
            text_task("trec", n_train=n_train, vectors=None)


def test_torchtext_is_imported_in_one_file():
    library = Path(__file__).parents[2] / "lib/ssan"
    users = [
        path
        for path in library.rglob("*.py")
        if "import torchtext" in (text := path.read_text()) or "from torchtext" in text
    ]
    assert [path.name for path in users] == ["text.py"]
    assert users[0].parent.name == "data"
