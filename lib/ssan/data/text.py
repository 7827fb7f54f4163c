"""Text classification tasks, read and numericalised by torchtext 0.6.0, which nothing else in the library imports."""

from __future__ import annotations

import html
import os
import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
import torch

from ssan.batch import Batch
from ssan.data.fetching import fetch
from ssan.data.task import Task
from ssan.regions import TokenRegions


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
    label: str


@dataclass(frozen=True)
class _Kind:
    """How one data set is read.

    Attributes:
        class_names: in the order of the labels.
        tokenize: sentence -> words in lower case.
        read: (folder, text field) -> (sentences to be split, sentences of the official test split).
        valid, test: the fractions of the sentences to be split.
    """

    class_names: tuple[str, ...]
    tokenize: Callable[[str], list[str]]
    read: Callable[[Path, text_data.Field], tuple[list[_Sentence], list[_Sentence]]]
    valid: float
    test: float


def _read_trec(folder: Path, field: text_data.Field) -> tuple[list[_Sentence], list[_Sentence]]:
    # torchtext's reader turns the one byte that is not ASCII (0xF0, between "sister" and "city") into a space.
    with _old_code():
        train, test = TREC.splits(field, text_data.LabelField(), path=str(folder))
    ids = iter(range(len(train) + len(test)))
    pool, official = ([_Sentence(next(ids), row.text, row.label) for row in split] for split in (train, test))
    return pool, official


def _trec_words(sentence: str) -> list[str]:
    return sentence.lower().split()


def _movie_words(sentence: str) -> list[str]:
    # The file writes quotation marks as two apostrophes, and a few signs as HTML entities.
    return text_data.get_tokenizer("basic_english")(html.unescape(sentence).replace("''", '"'))


def _read_movie(folder: Path, field: text_data.Field) -> tuple[list[_Sentence], list[_Sentence]]:
    path = folder / "movieReviewSnippets_GroundTruth.txt"
    rows = pd.read_csv(path, sep="\t", header=None, names=["id", "rating", "text"], quoting=3, keep_default_na=False)
    rows = rows[rows.rating.abs() >= 0.5]
    rows["label"] = np.where(rows.rating > 0, "positive", "negative")
    fields = [("text", field), ("label", text_data.LabelField())]
    examples = [text_data.Example.fromlist(row, fields) for row in rows[["text", "label"]].values.tolist()]
    return [_Sentence(i, e.text, e.label) for i, e in zip(rows.id.tolist(), examples, strict=True)], []


_KINDS = {
    "trec": _Kind(("ABBR", "DESC", "ENTY", "HUM", "LOC", "NUM"), _trec_words, _read_trec, valid=0.1, test=0.0),
    "movie": _Kind(("negative", "positive"), _movie_words, _read_movie, valid=0.1, test=0.1),
}


class _Glove(Vectors):
    """The rows of GloVe 6B 50-d that some words need, from the array and the index of the `glove` data set."""

    def __init__(self, folder: Path, words: Sequence[str]) -> None:
        self._words = words
        super().__init__("glove_6B_50d_emb.npy", cache=folder)

    def cache(self, name: str, cache: Path, **_: object) -> None:
        index = pd.read_parquet(cache / "glove_6B_index.parquet")["index"]
        found = index[index.isin(self._words)]
        array = np.load(cache / name, mmap_mode="r")
        self.itos = found.tolist()
        self.stoi = {word: i for i, word in enumerate(self.itos)}
        self.vectors = torch.from_numpy(array[found.index])
        self.dim = array.shape[1]


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
    kind, field = _kind(name), _field(name)
    _check_length(max_length)
    pool, test = kind.read(fetch(name, root), field)
    splits = _split(pool, kind)
    splits["test"] += test
    field.build_vocab([sentence.tokens[:max_length] for sentence in splits["train"]])
    if vectors:
        field.vocab.load_vectors(_Glove(fetch("glove", root), field.vocab.itos))
    label_of = {class_name: i for i, class_name in enumerate(kind.class_names)}
    task = Task(
        name=name,
        **{
            split: _batch(
                field,
                [sentence.tokens[:max_length] for sentence in sentences],
                [sentence.id for sentence in sentences],
                [label_of[sentence.label] for sentence in sentences],
                f"{name}.{split}",
            )
            for split, sentences in splits.items()
        },
        class_names=kind.class_names,
        regions=TokenRegions(),
        words=tuple(field.vocab.itos),
        vectors=field.vocab.vectors,
    )
    return task if n_train is None else task.subset(n_train, seed)


def encode(
    task: Task, sentences: Sequence[str], labels: Sequence[int | str] | None = None, *, max_length: int = MAX_LENGTH
) -> Batch:
    """Sentences as a batch that the models of `task` understand: its tokenizer, its vocabulary.

    Words outside the vocabulary become `<unk>` (id 0), even if no other is left.

    Args:
        task: a task made by `text_task`.
        sentences: raw text. For `trec`, separate punctuation by spaces, as its files do.
        labels: one class name or class index per sentence. None leaves the labels at -1: enough to predict, but not to
            search or train, which need a true class.
        max_length: sentences are cut after so many tokens, at least 1.

    Returns:
        A batch with ids 0, 1, ….

    Raises:
        ValueError: if `sentences` is a single string or empty, a sentence has no words, or a label is not a class.
    """
    if isinstance(sentences, str) or not len(sentences):
        raise ValueError(f"encode needs a list of at least one sentence, got {sentences!r}")
    _check_length(max_length)
    field = _field(task.name)
    field.vocab = Vocab(Counter(), specials=list(task.words))
    indices = [-1] * len(sentences) if labels is None else [_label(label, task.class_names) for label in labels]
    if len(indices) != len(sentences):
        raise ValueError(f"got {len(indices)} labels for {len(sentences)} sentences")
    tokens = [field.preprocess(sentence)[:max_length] for sentence in sentences]
    return _batch(field, tokens, list(range(len(tokens))), indices, "sentences")


def _kind(name: str) -> _Kind:
    if name not in _KINDS:
        raise ValueError(f"unknown text task {name!r}: expected one of {', '.join(_KINDS)}")
    return _KINDS[name]


def _field(name: str) -> text_data.Field:
    return text_data.Field(tokenize=_kind(name).tokenize, batch_first=True, include_lengths=True)


def _check_length(max_length: int) -> None:
    if max_length < 1:
        raise ValueError(f"max_length must be at least 1, got {max_length}")


def _label(label: int | str, class_names: tuple[str, ...]) -> int:
    if label in class_names:
        return class_names.index(label)
    if isinstance(label, str) or not 0 <= label < len(class_names):
        raise ValueError(f"label {label!r} is not one of the classes {class_names} nor in [0, {len(class_names)})")
    return int(label)


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
    field: text_data.Field, tokens: Sequence[list[str]], ids: list[int], labels: list[int], origin: str
) -> Batch:
    if empty := [i for i, words in zip(ids, tokens, strict=True) if not words]:
        raise ValueError(
            f"{origin}: no words in sentence {', '.join(map(str, empty[:5]))}; an empty sentence has no region to "
            "attend to: drop it or give it a word"
        )
    word_ids, lengths = field.process(tokens)
    return Batch(ids=torch.tensor(ids), label=torch.tensor(labels), tokens=word_ids, lengths=lengths)
