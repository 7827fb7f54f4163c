"""Text classification tasks, read and numericalised by torchtext 0.6.0, which nothing else in the library imports."""

from __future__ import annotations

import functools
import html
import os
import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
import torch

from ssan.data.fetching import fetch
from ssan.regions import TokenRegions
from ssan.task import Batch, Task


@contextmanager
def _old_code() -> Iterator[None]:
    """Silences what torchtext 0.6.0 says about itself: escapes in its docstrings, and files it does not close."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="invalid escape sequence")
        warnings.filterwarnings("ignore", message="unclosed file", category=ResourceWarning)
        yield


with _old_code():
    from torchtext import data as text_data
    from torchtext.datasets import TREC
    from torchtext.vocab import Vectors, Vocab

# As in the released code. No sentence of these data sets is longer: nothing is cut unless less is asked for.
MAX_LENGTH = 200
# Which examples validate and test belongs to the task, not to an experiment and its seed.
_SPLIT_SEED = 0


class _Sentence(NamedTuple):
    id: int
    tokens: list[str]
    label: str | int | None


def _read_trec(folder: Path, field: text_data.Field) -> tuple[list[_Sentence], list[_Sentence]]:
    # torchtext's reader turns the one byte that is not ASCII (0xF0, between "sister" and "city") into a space.
    with _old_code():
        train, test = TREC.splits(field, text_data.LabelField(), path=str(folder))
    sentences = [_Sentence(i, row.text, row.label) for i, row in enumerate([*train, *test])]
    return sentences[: len(train)], sentences[len(train) :]


def _read_movie(folder: Path, field: text_data.Field) -> tuple[list[_Sentence], list[_Sentence]]:
    path = folder / "movieReviewSnippets_GroundTruth.txt"
    columns = {"id": "int64", "rating": "float64", "text": "str"}
    rows = pd.read_csv(path, sep="\t", names=[*columns], dtype=columns, quoting=3, keep_default_na=False)
    rows = rows[rows.rating.abs() >= 0.5]
    labels = np.where(rows.rating > 0, "positive", "negative").tolist()
    return list(map(_Sentence, rows.id.tolist(), map(field.preprocess, rows.text), labels)), []


def _movie_words(sentence: str) -> list[str]:
    # The file writes quotation marks as two apostrophes, and a few signs as HTML entities.
    return text_data.get_tokenizer("basic_english")(html.unescape(sentence).replace("''", '"'))


class _Kind(NamedTuple):
    """How one data set is read: `read` gives sentences to be split and sentences of the official test split."""

    class_names: tuple[str, ...]  # in the order of the labels
    tokenize: Callable[[str], list[str]]  # sentence -> words in lower case
    read: Callable[[Path, text_data.Field], tuple[list[_Sentence], list[_Sentence]]]
    valid: float  # fractions of the sentences to be split
    test: float


_KINDS = {
    "trec": _Kind(
        ("ABBR", "DESC", "ENTY", "HUM", "LOC", "NUM"), lambda line: line.lower().split(), _read_trec, 0.1, 0.0
    ),
    "movie": _Kind(("negative", "positive"), _movie_words, _read_movie, 0.1, 0.1),
}


class _Glove(Vectors):
    """The rows of GloVe 6B 50-d that some words need, from the array and the index of the `glove` data set."""

    def __init__(self, folder: Path, words: Sequence[str]) -> None:
        self._words = words
        super().__init__("glove_6B_50d_emb.npy", cache=folder)

    def cache(self, name: str, cache: Path, **_: object) -> None:
        index = pd.read_parquet(cache / "glove_6B_index.parquet")["index"]
        index = index[index.isin(self._words)]
        self.stoi = {word: i for i, word in enumerate(index)}
        self.vectors = torch.from_numpy(np.load(cache / name, mmap_mode="r")[index.index])
        self.dim = self.vectors.shape[1]


def text_task(
    name: str,
    *,
    n_train: int | None = None,
    seed: int = 0,
    vectors: str | None = "glove",
    root: str | os.PathLike | None = None,
    max_length: int = MAX_LENGTH,
) -> Task:
    """A text classification task; its files are fetched if they are not there.

    `trec`: questions by what they ask for (Li & Roth, COLING 2002), 6 coarse classes, words separated by spaces as in
    the files. Test is the official split; a tenth of the official training questions validates. 11 of the official
    test questions also stand among the training questions; that is left as published.

    `movie`: movie-review snippets with human ratings from -4 to 4 (Hutto & Gilbert, ICWSM 2014), tokenised by
    torchtext's `basic_english` (punctuation apart, quotation marks dropped): mean rating >= 0.5 is positive, <= -0.5
    negative, what is between is dropped. 80% train, 10% validate, 10% test. The file does not say which review a
    snippet was taken from, so splits are disjoint by text, and cannot be by review.

    Splits are random, stratified by class, keep equal sentences together (but for TREC's test), and do not depend on
    `seed`. Example ids are line numbers in the files (TREC: from 0, test after train; movie: from 1, as given).
    The vocabulary is that of the whole training split whatever `n_train` is, so that word ids mean the same
    in all subsets: `<unk>` is 0, `<pad>` is 1, then lower-case words from frequent to rare.

    Args:
        name: `trec` or `movie`.
        n_train: train on so many examples, drawn by `seed`; subsets of one seed are nested. None for all.
        seed: of that draw alone.
        vectors: `glove` puts GloVe 6B 50-d into `Task.vectors`; words without a vector, `<unk>` and `<pad>` get a row
            of zeros. None for no vectors.
        root: the data cache, see `ssan.data.fetching.data_dir`.
        max_length: sentences are cut after so many tokens, at least 1.

    Raises:
        ValueError: on an unknown name or kind of vectors, `max_length` below 1, `n_train` out of range, or a sentence
            without words.
        FetchError: if the files cannot be had.
    """
    if vectors not in ("glove", None):
        raise ValueError(f"unknown vectors {vectors!r}: expected 'glove' or None")
    _, field = _reader(name, max_length)
    class_names, splits = sentences_of(name, root)
    field.build_vocab([sentence.tokens[:max_length] for sentence in splits["train"]])
    if vectors:
        field.vocab.load_vectors(_Glove(fetch("glove", root), field.vocab.itos))
    batches = {split: _batch(field, rows, class_names, max_length, split) for split, rows in splits.items()}
    words, table = tuple(field.vocab.itos), field.vocab.vectors
    task = Task(name=name, **batches, class_names=class_names, regions=TokenRegions(), words=words, vectors=table)
    return task if n_train is None else task.subset(n_train, seed)


def sentences_of(name: str, root: str | os.PathLike | None) -> tuple[tuple[str, ...], dict[str, list[_Sentence]]]:
    """Class names, and the sentences of each split as words, before any vocabulary. Arguments as of `text_task`."""
    kind, field = _reader(name, MAX_LENGTH)
    pool, test = kind.read(fetch(name, root), field)
    splits = _split(pool, kind)
    splits["test"] += test
    return kind.class_names, splits


def encode(
    task: Task, sentences: Sequence[str], labels: Sequence[int | str] | None = None, *, max_length: int = MAX_LENGTH
) -> Batch:
    """Sentences as a batch with ids 0, 1, … that the models of `task` understand: its tokenizer, its vocabulary.

    Words outside the vocabulary become `<unk>` (id 0), even if no other is left.

    Args:
        task: a task made by `text_task`.
        sentences: raw text. For `trec`, separate punctuation by spaces, as its files do.
        labels: one class name or class index per sentence. None leaves the labels at -1: enough to predict, but not to
            search or train, which need a true class.
        max_length: sentences are cut after so many tokens, at least 1.

    A ValueError if `sentences` is a single string or empty, a sentence has no words, or a label is not a class.
    """
    if isinstance(sentences, str) or not len(sentences):
        raise ValueError(f"encode needs a list of at least one sentence, got {sentences!r}")
    labels = [None] * len(sentences) if labels is None else labels
    if len(labels) != len(sentences):
        raise ValueError(f"got {len(labels)} labels for {len(sentences)} sentences")
    _, field = _reader(task.name, max_length)
    field.vocab = Vocab(Counter(), specials=list(task.words))
    rows = [_Sentence(i, field.preprocess(sentence), labels[i]) for i, sentence in enumerate(sentences)]
    return _batch(field, rows, task.class_names, max_length, "sentences")


def _reader(name: str, max_length: int) -> tuple[_Kind, text_data.Field]:
    if name not in _KINDS:
        raise ValueError(f"unknown text task {name!r}: expected one of {', '.join(_KINDS)}")
    if max_length < 1:
        raise ValueError(f"max_length must be at least 1, got {max_length}")
    return _KINDS[name], text_data.Field(tokenize=_KINDS[name].tokenize, batch_first=True, include_lengths=True)


def _split(pool: Sequence[_Sentence], kind: _Kind) -> dict[str, list[_Sentence]]:
    """`train`, `valid` and `test` in the fractions of `kind`, class by class, equal sentences together."""
    generator = torch.Generator().manual_seed(_SPLIT_SEED)
    splits: dict[str, list[_Sentence]] = {"train": [], "valid": [], "test": []}
    for class_name in kind.class_names:
        equal: dict[tuple[str, ...], list[_Sentence]] = {}
        for sentence in pool:
            if sentence.label == class_name:
                equal.setdefault(tuple(sentence.tokens), []).append(sentence)
        groups = list(equal.values())
        n_valid, n_test = round(kind.valid * len(groups)), round(kind.test * len(groups))
        for place, chosen in enumerate(torch.randperm(len(groups), generator=generator).tolist()):
            split = "valid" if place < n_valid else "test" if place < n_valid + n_test else "train"
            splits[split] += groups[chosen]
    return {split: sorted(sentences) for split, sentences in splits.items()}


def _batch(
    field: text_data.Field, sentences: Sequence[_Sentence], class_names: tuple[str, ...], max_length: int, origin: str
) -> Batch:
    if empty := [str(sentence.id) for sentence in sentences if not sentence.tokens]:
        raise ValueError(
            f"{origin}: no words in sentence {', '.join(empty[:5])}; an empty sentence has no region to attend to: "
            "drop it or give it a word"
        )
    tokens, lengths = field.process([sentence.tokens[:max_length] for sentence in sentences])
    labels = [_index(sentence.label, class_names) for sentence in sentences]
    ids = torch.tensor([sentence.id for sentence in sentences])
    return Batch(ids=ids, label=torch.tensor(labels), tokens=tokens, lengths=lengths)


def _index(label: int | str | None, class_names: tuple[str, ...]) -> int:
    if label is None or label in class_names:
        return -1 if label is None else class_names.index(label)
    if isinstance(label, str) or not 0 <= label < len(class_names):
        raise ValueError(f"label {label!r} is not one of the classes {class_names} nor in [0, {len(class_names)})")
    return int(label)


trec_task = functools.partial(text_task, "trec")
movie_task = functools.partial(text_task, "movie")
