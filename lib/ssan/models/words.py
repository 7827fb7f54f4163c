"""Words of several pieces as regions, and sentences as models want them that cut words into pieces."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ssan.regions import Regions
from ssan.task import Batch


@dataclass(frozen=True)
class WordRegions(Regions):
    """Every word is a region, all its pieces together; special tokens are never hidden. Our design.

    Which word a piece belongs to stands in `Batch.words`, as `encode_words` makes it.

    Args:
        hidden_id: what stands for each piece of a hidden word (`[MASK]`, `<unk>`), or None: the pieces are taken out.
            On TREC the three agree in rank to about .7 on what matters (notebook 10).
    """

    hidden_id: int | None = 0

    @classmethod
    def of(cls, tokenizer: Any) -> WordRegions:
        """Hidden behind the tokenizer's mask token, or its unknown one."""
        masks = [tokenizer.mask_token_id, tokenizer.unk_token_id]
        return cls(next((token for token in masks if token is not None), None))

    def _words(self, batch: Batch) -> Tensor:
        if batch.words is None:
            raise ValueError("WordRegions needs a batch that says which word each token is: make it with encode_words")
        return batch.words

    def count(self, batch: Batch) -> Tensor:
        """(B,) int64: words of each sentence."""
        return self._words(batch).amax(1) + 1

    def hide(self, batch: Batch, masks: Tensor) -> Batch:
        """`batch` with every piece of the words hidden where `masks` (B, R) is False."""
        words = self._words(batch)
        kept = masks.gather(1, words.clamp(min=0)) | (words < 0)
        if self.hidden_id is not None:
            return batch.replace(tokens=batch.tokens.where(kept, self.hidden_id), features=None)
        real = torch.arange(words.shape[1], device=words.device) < batch.lengths[:, None]
        kept = kept & real
        order = torch.argsort(~kept, dim=1, stable=True)  # what is left moves together
        lengths = kept.sum(1)
        left = torch.arange(words.shape[1], device=words.device) < lengths[:, None]
        moved = words.gather(1, order).where(left, -1)
        return batch.replace(tokens=batch.tokens.gather(1, order), words=moved, lengths=lengths, features=None)

    def pool(self, attention: Tensor, batch: Batch) -> Tensor:
        """(B, R): attention on pieces (B, T), of which something else may follow, summed over each word."""
        words = self._words(batch)
        if attention.shape[1] < words.shape[1]:
            raise ValueError(f"the attention has {attention.shape[1]} positions, the sentences {words.shape[1]} tokens")
        sums = attention.new_zeros(len(words), int(words.max()) + 1)
        return sums.scatter_add(1, words.clamp(min=0), attention[:, : words.shape[1]] * (words >= 0))


def encode_words(
    tokenizer: Any,
    sentences: Sequence[str] | Sequence[Sequence[str]],
    labels: Sequence[int],
    ids: Sequence[int] | None = None,
    *,
    max_length: int | None = None,
) -> Batch:
    """Sentences as a batch for a model of `transformers`, with the word of every piece.

    Args:
        tokenizer: a fast tokenizer of `transformers`.
        sentences: texts, cut into words as the tokenizer does; or lists of words, taken as they stand.
        labels: a class for each.
        ids: names of the examples; by default 0, 1, ….
        max_length: sentences are cut after so many pieces.

    Returns:
        A `Batch` with tokens, lengths and words; words that have no pieces are left out and the others renumbered.

    A ValueError if the tokenizer is no fast one, or a sentence has no words.
    """
    if not getattr(tokenizer, "is_fast", False):
        raise ValueError(
            f"{type(tokenizer).__name__} does not say which piece belongs to which word: use a fast tokenizer"
        )
    split = not isinstance(sentences[0], str)
    encoded = tokenizer(
        list(sentences), is_split_into_words=split, truncation=max_length is not None, max_length=max_length
    )
    rows = [torch.tensor(row) for row in encoded["input_ids"]]
    words = []
    for number in range(len(rows)):
        of_piece = [-1 if word is None else word for word in encoded.word_ids(number)]
        places = {word: place for place, word in enumerate(sorted(set(of_piece) - {-1}))}
        if not places:
            raise ValueError(f"sentence {number} has no words: {sentences[number]!r}")
        words.append(torch.tensor([places.get(word, -1) for word in of_piece]))
    padding = tokenizer.pad_token_id or 0
    return Batch(
        ids=torch.arange(len(rows)) if ids is None else torch.as_tensor(ids),
        label=torch.as_tensor(labels),
        tokens=torch.nn.utils.rnn.pad_sequence(rows, batch_first=True, padding_value=padding),
        lengths=torch.tensor([len(row) for row in rows]),
        words=torch.nn.utils.rnn.pad_sequence(words, batch_first=True, padding_value=-1),
    )
