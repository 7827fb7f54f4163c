"""What all question-answering models are made of: a frozen CNN, an LSTM for the question, a grid to attend to."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from ssan.attention import AttentionModel, Output, evaluating
from ssan.data.pixels import ImageSplit, as_float
from ssan.models.cnn import GridCNN, cells, checked_image
from ssan.regions import ImageGrid, Regions
from ssan.search import Scorer
from ssan.task import Batch, Split

# Features of a training split beyond this are not kept in memory.
MOST_BYTES = 2**30


class QuestionEncoder(nn.Module):
    """Words of a vocabulary of `n_words` -> one vector of size `hidden`: the LSTM's state at the last word."""

    def __init__(self, n_words: int, embedding: int = 32, hidden: int = 64) -> None:
        super().__init__()
        self.n_words = n_words
        self.embedding = nn.Embedding(n_words, embedding)
        self.lstm = nn.LSTM(embedding, hidden, batch_first=True)

    def forward(self, batch: Batch) -> Tensor:
        """Question vectors (B, hidden).

        A ValueError if the batch has no questions, or a word id is not in the vocabulary.
        """
        if batch.tokens is None:
            raise ValueError("this model needs a batch with questions (tokens and lengths), this one has none")
        if len(batch) and not 0 <= int(batch.tokens.min()) <= int(batch.tokens.max()) < self.n_words:
            low, high = int(batch.tokens.min()), int(batch.tokens.max())
            raise ValueError(f"word ids run from {low} to {high}, the model knows {self.n_words} words")
        # Many examples ask the same question, and all variants of one image do: each distinct one is read once.
        asked = torch.cat([batch.tokens, batch.lengths[:, None]], 1)
        distinct, which = torch.unique(asked, dim=0, return_inverse=True)
        return self._read(distinct[:, :-1], distinct[:, -1])[which]

    @torch.autocast("cpu", enabled=False)  # which would ask for a bfloat16 LSTM: not every CPU has one
    def _read(self, tokens: Tensor, lengths: Tensor) -> Tensor:
        # The LSTM runs forward only, so padding on the right cannot reach the states of real words.
        states, _ = self.lstm(self.embedding(tokens))
        return states[torch.arange(len(tokens), device=states.device), lengths - 1]


class GridQuestionModel(AttentionModel):
    """What the question-answering models share: a frozen CNN, a question encoder, and attention still to be said.

    Features of the grid cells get their cell's centre, (x, y) in [-1, 1], appended, so that what is attended to also
    tells where it is. Subclasses implement `attend`. A batch may bring the features of its images, see `prepared`.

    Args:
        cnn: image -> features on a grid; it is frozen, as stacked attention networks freeze their VGG.
        n_words: size of the vocabulary.
        n_classes: number of answers.
        embedding: size of the word vectors.
        hidden: size of the question vector.
    """

    def __init__(self, cnn: GridCNN, n_words: int, n_classes: int, *, embedding: int = 32, hidden: int = 64) -> None:
        super().__init__()
        self.cnn = cnn.requires_grad_(False)
        self.question = QuestionEncoder(n_words, embedding, hidden)
        self.n_classes, self.hidden, self.feature_dim = n_classes, hidden, cnn.width + 2
        self.register_buffer("centres", cell_centres(cnn.grid), persistent=False)

    def train(self, mode: bool = True) -> GridQuestionModel:
        """Training mode for all but the CNN, whose batch statistics are frozen with its weights."""
        super().train(mode)
        self.cnn.eval()
        return self

    def attend(self, features: Tensor, question: Tensor) -> Output:
        """Logits and attention from features of the cells (B, R, width + 2) and question vectors (B, hidden)."""
        raise NotImplementedError

    def forward(self, batch: Batch) -> Output:
        """Logits (B, C) and attention."""
        features, made = batch.features, (self.centres.shape[0], self.feature_dim)
        if features is None:
            features = self.features_of(checked_image(batch, self.cnn.channels, self.cnn.size))
        elif features.shape[1:] != made:
            raise ValueError(f"the batch has features of {tuple(features.shape[1:])} (R, D), the model makes {made}")
        return self.attend(features, self.question(batch))

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
                self.features_of(as_float(images, split.mean, split.std).to(self.centres.device)).cpu()
                for images in split.images.split(256)
            ]
        return dataclasses.replace(split, features=torch.cat(parts))

    def features_of(self, image: Tensor) -> Tensor:
        """Features (B, R, width + 2) of images (B, channels, H, W); they carry no gradient."""
        with torch.no_grad():
            features = cells(self.cnn(image))
            return torch.cat([features, self.centres.expand(len(features), -1, -1)], dim=-1)

    @classmethod
    def fast_scorer(cls, teachers: Sequence[AttentionModel], regions: Regions) -> type[Scorer] | None:
        """One run of the CNN on images where several teachers see through equal ones."""
        if type(regions) is not ImageGrid or not all(isinstance(teacher, GridQuestionModel) for teacher in teachers):
            return None
        first, *others = (teacher.cnn.state_dict() for teacher in teachers)
        equal = [o.keys() == first.keys() and all(map(torch.equal, o.values(), first.values())) for o in others]
        return SharedFeatures if equal and all(equal) else None


class SharedFeatures(Scorer):
    """Scores variants of images for teachers with equal CNNs, which are then run once."""

    def _outputs(self, batch: Batch) -> list[Output]:
        image = checked_image(batch, self.teachers[0].cnn.channels, self.teachers[0].cnn.size)
        return super()._outputs(batch.replace(image=None, features=self.teachers[0].features_of(image)))


def cell_centres(grid: tuple[int, int]) -> Tensor:
    """(R, 2): x and y of the centres of the grid's cells, row by row; the image spans -1 to 1."""
    y, x = (((torch.arange(n) + 0.5) / n * 2 - 1) for n in grid)
    return torch.stack([x.repeat(grid[0]), y.repeat_interleave(grid[1])], dim=-1)
