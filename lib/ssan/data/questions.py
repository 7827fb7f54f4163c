"""Questions as numbers."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import torch
from torch import Tensor

# The same two special words, at the same ids, as torchtext gives to a text task.
UNKNOWN, PADDING = "<unk>", "<pad>"


def words_in(question: str) -> list[str]:
    """Lower-case words of a question, without the punctuation around them."""
    return [word for word in (raw.strip("?.,!;:'\"") for raw in question.lower().split()) if word]


def vocabulary(questions: Iterable[str]) -> tuple[str, ...]:
    """`<unk>`, `<pad>`, then every word of `questions` in alphabetical order."""
    return (UNKNOWN, PADDING, *sorted({word for question in set(questions) for word in words_in(question)}))


def encode_questions(questions: Sequence[str], words: Sequence[str]) -> tuple[Tensor, Tensor]:
    """Word ids of questions: tokens (N, T), padded on the right with `<pad>`, and lengths (N,).

    Words that `words` does not hold become `<unk>`.

    A ValueError naming a question that has no known word: a model could only guess at it.
    """
    index = {word: i for i, word in enumerate(words)}
    ids = {
        question: [index.get(word, index[UNKNOWN]) for word in words_in(question)]
        for question in dict.fromkeys(questions)
    }
    for question, known in ids.items():
        if set(known) <= {index[UNKNOWN]}:
            raise ValueError(
                f"no word of the question {question!r} is known: the vocabulary has {len(words)} words, "
                f"such as {', '.join(words[2:8])}"
            )
    lengths = torch.tensor([len(ids[question]) for question in questions], dtype=torch.long)
    width = max(map(len, ids.values()), default=0)
    padded = {question: known + [index[PADDING]] * (width - len(known)) for question, known in ids.items()}
    tokens = torch.tensor([padded[question] for question in questions], dtype=torch.long)
    return tokens.reshape(len(questions), width), lengths
