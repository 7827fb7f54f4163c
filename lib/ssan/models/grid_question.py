"""What all question-answering models are made of: a frozen CNN, an LSTM for the question, a grid to attend to."""

from __future__ import annotations

import dataclasses

import torch
from torch import Tensor, nn

from ssan.batch import Batch
from ssan.data.pixels import ImageSplit, as_float
from ssan.data.task import Split
from ssan.models.attention import Output, evaluating
from ssan.models.cnn import GridCNN, cells, checked_image
from ssan.models.stages import ImageStages
from ssan.regions import Encoded

# Features of a training split beyond this are not kept in memory.
MOST_BYTES = 2**30


class QuestionEncoder(nn.Module):
    """Question words -> one vector: the LSTM's state at the last word, or a weighted mean of its states.

    Args:
        n_words: size of the vocabulary.
        embedding: size of the word vectors.
        hidden: size of the LSTM and of the question vector.
        word_attention: weigh the words (a linear score per state, softmax over the real words). Whether the paper
            attends to words is not known; variable names in the released code hint at it. Our reading.
    """

    def __init__(self, n_words: int, embedding: int = 32, hidden: int = 64, word_attention: bool = False) -> None:
        super().__init__()
        self.n_words = n_words
        self.embedding = nn.Embedding(n_words, embedding)
        self.lstm = nn.LSTM(embedding, hidden, batch_first=True)
        self.word_score = nn.Linear(hidden, 1) if word_attention else None

    def forward(self, batch: Batch) -> tuple[Tensor, Tensor | None]:
        """Question vectors (B, hidden), and the weights of the words (B, T) or None.

        Raises:
            ValueError: if the batch has no questions, or a word id is not in the vocabulary.
        """
        if batch.tokens is None:
            raise ValueError("this model needs a batch with questions (tokens and lengths), this one has none")
        if len(batch) and not 0 <= int(batch.tokens.min()) <= int(batch.tokens.max()) < self.n_words:
            low, high = int(batch.tokens.min()), int(batch.tokens.max())
            raise ValueError(f"word ids run from {low} to {high}, the model knows {self.n_words} words")
        # Many examples ask the same question, and all variants of one image do: each distinct one is read once.
        asked = torch.cat([batch.tokens, batch.lengths[:, None]], 1)
        distinct, which = torch.unique(asked, dim=0, return_inverse=True)
        question, weights = self._read(distinct[:, :-1], distinct[:, -1])
        return question[which], None if weights is None else weights[which]

    def _read(self, tokens: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor | None]:
        # The LSTM runs forward only, so padding on the right cannot reach the states of real words.
        states, _ = self.lstm(self.embedding(tokens))
        if self.word_score is None:
            return states[torch.arange(len(tokens), device=states.device), lengths - 1], None
        exists = torch.arange(states.shape[1], device=states.device) < lengths[:, None]
        weights = torch.softmax(self.word_score(states).squeeze(-1).masked_fill(~exists, -torch.inf), dim=-1)
        return (weights[:, None] @ states).squeeze(1), weights


class GridQuestionModel(nn.Module):
    """What the question-answering models share: a frozen CNN, a question encoder, and attention still to be said.

    Features of the grid cells get their cell's centre, (x, y) in [-1, 1], appended, so that what is attended to also
    tells where it is. Subclasses implement `attend`.

    Args:
        cnn: image -> features on a grid; it is frozen, as stacked attention networks freeze their VGG.
        n_words: size of the vocabulary.
        n_classes: number of answers.
        embedding: size of the word vectors.
        hidden: size of the question vector.
        word_attention: see `QuestionEncoder`.
    """

    def __init__(
        self,
        cnn: GridCNN,
        n_words: int,
        n_classes: int,
        *,
        embedding: int = 32,
        hidden: int = 64,
        word_attention: bool = False,
    ) -> None:
        super().__init__()
        self.cnn = cnn.requires_grad_(False)
        self.question = QuestionEncoder(n_words, embedding, hidden, word_attention)
        self.n_classes, self.hidden, self.feature_dim = n_classes, hidden, cnn.width + 2
        self.register_buffer("centres", cell_centres(cnn.grid), persistent=False)

    def train(self, mode: bool = True) -> GridQuestionModel:
        """Training mode for all but the CNN, whose batch statistics are frozen with its weights."""
        super().train(mode)
        self.cnn.eval()
        return self

    def encode(self, batch: Batch) -> Encoded:
        """Features (B, R, width + 2) of the grid cells, and the question vector (B, hidden) as context."""
        return self._encode(batch)[0]

    def attend(self, encoded: Encoded) -> Output:
        """Logits and attention from what `encode` made."""
        raise NotImplementedError

    def forward(self, batch: Batch) -> Output:
        """`attend(encode(batch))`, and the attention over question words where the encoder has it."""
        encoded, words = self._encode(batch)
        return self.attend(encoded)._replace(question_attention=words)

    def prepared(self, split: Split) -> Split:
        """`split` with the features of all its images, so that training need not run the frozen CNN in every epoch.

        Splits that are no `ImageSplit`, or whose features would take more than 1 GiB, are returned as they are.
        """
        if not isinstance(split, ImageSplit):
            return split
        numbers = len(split.images) * self.centres.shape[0] * self.feature_dim
        if numbers * self.centres.element_size() > MOST_BYTES:
            return split
        with torch.no_grad(), evaluating([self]):
            parts = [
                self.look(as_float(images, split.mean, split.std).to(self.centres.device)).cpu()
                for images in split.images.split(256)
            ]
        return dataclasses.replace(split, features=torch.cat(parts))

    def image_stages(self) -> ImageStages | None:
        """The parts of `encode`, for searches that share them; None with a CNN that is not made of layers."""
        if type(self.cnn) is not GridCNN:
            return None
        return ImageStages(self.cnn.layers, self._placed, lambda batch: self.question(batch)[0])

    def _encode(self, batch: Batch) -> tuple[Encoded, Tensor | None]:
        features, made = batch.features, (self.centres.shape[0], self.feature_dim)
        if features is None:
            features = self.look(checked_image(batch, self.cnn.channels, self.cnn.size))
        elif features.shape[1:] != made:
            raise ValueError(f"the batch has features of {tuple(features.shape[1:])} (R, D), the model makes {made}")
        question, words = self.question(batch)
        return Encoded(features, question), words

    def look(self, image: Tensor) -> Tensor:
        """Features (B, R, width + 2) of images (B, channels, H, W), which nothing is learned of."""
        with torch.no_grad():
            return self._placed(self.cnn(image))

    def _placed(self, maps: Tensor) -> Tensor:
        return torch.cat([cells(maps), self.centres.expand(len(maps), -1, -1)], dim=-1)


def cell_centres(grid: tuple[int, int]) -> Tensor:
    """(R, 2): x and y of the centres of the grid's cells, row by row; the image spans -1 to 1."""
    y, x = (((torch.arange(n) + 0.5) / n * 2 - 1) for n in grid)
    return torch.stack([x.repeat(grid[0]), y.repeat_interleave(grid[1])], dim=-1)
