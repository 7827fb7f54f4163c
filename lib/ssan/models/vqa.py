"""Visual question answering with one hop of attention, and the factory for all question-answering models."""

from __future__ import annotations

import copy

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ssan.data.task import Task
from ssan.models.attention import Output
from ssan.models.cnn import GridCNN
from ssan.models.grid_question import GridQuestionModel
from ssan.models.mlb import BilinearAttention
from ssan.models.pooling import PoolingTerms
from ssan.models.pretrain import pretrained_cnn
from ssan.models.san import GridAttention, StackedAttention
from ssan.regions import Encoded
from ssan.seeding import seeded


class QuestionAttention(GridQuestionModel):
    """LSTM question, CNN grid, one hop of attention, and an MLP on the question and the attended feature.

    Args:
        cnn, n_words, n_classes: see `GridQuestionModel`, as are `embedding`, `hidden` and `word_attention`.
        attention_dim: width of the attention's hidden layer.
        mlp_dim: width of the classifier's hidden layer.
        dropout: on the classifier's hidden layer, in training.
    """

    def __init__(
        self,
        cnn: GridCNN,
        n_words: int,
        n_classes: int,
        *,
        attention_dim: int = 64,
        mlp_dim: int = 64,
        dropout: float = 0.0,
        **sizes,
    ) -> None:
        super().__init__(cnn, n_words, n_classes, **sizes)
        self.attention = GridAttention(self.feature_dim, self.hidden, attention_dim)
        self.classifier = nn.Sequential(
            nn.Linear(self.hidden + self.feature_dim, mlp_dim),
            nn.ReLU(),
            nn.Dropout(dropout),
            nn.Linear(mlp_dim, n_classes),
        )

    def attend(self, encoded: Encoded) -> Output:
        """Logits (B, C), attention (B, R)."""
        attention = self.attention(encoded.features, encoded.context)
        seen = (attention[:, None] @ encoded.features).squeeze(1)
        return Output(self._answer(encoded.context, seen), attention)

    def pooling_terms(self, encoded: Encoded) -> PoolingTerms:
        """The same in parts, for searches that need no forward pass per variant.

        The classifier's first layer is linear, so cells are averaged behind it, and the question has its share once.
        """
        first, rest = self.classifier[0], self.classifier[1:]
        of_question, of_image = first.weight.split([self.hidden, self.feature_dim], 1)
        asked = F.linear(encoded.context, of_question, first.bias)
        return PoolingTerms(
            self.attention.scores(encoded.features, encoded.context)[:, None],
            F.linear(encoded.features, of_image)[:, None],
            lambda pooled, rows: rest(pooled.squeeze(1) + asked[rows]),
        )

    def _answer(self, question: Tensor, seen: Tensor) -> Tensor:
        return self.classifier(torch.cat([question, seen], dim=-1))


MODELS = {"one_hop": QuestionAttention, "san": StackedAttention, "mlb": BilinearAttention}


def make_model(
    task: Task,
    seed: int,
    name: str = "one_hop",
    *,
    cnn: GridCNN | None = None,
    cnn_width: int = 32,
    cnn_steps: int = 250,
    **sizes,
) -> GridQuestionModel:
    """A new question-answering model for `task`, its initial weights a pure function of `seed`.

    Args:
        task: images and questions; what sizes do not say is read off it.
        seed: of the initial weights of all but the CNN; the global random state is left alone.
        name: `one_hop` (`QuestionAttention`), `san` (`StackedAttention`) or `mlb` (`BilinearAttention`).
        cnn: image -> features on a grid; the model freezes a copy. None pretrains one on the image-level labels of
            `task`'s training images, once per task and process: all seeds see through the same eyes.
        cnn_width: features per cell of that CNN.
        cnn_steps: how long it is pretrained, see `pretrain_cnn`.
        **sizes: passed on to the model's constructor.

    Raises:
        ValueError: if `name` is unknown, or there is nothing to pretrain a CNN on.
    """
    if name not in MODELS:
        raise ValueError(f"unknown model {name!r}: expected one of {tuple(MODELS)}")
    cnn = pretrained_cnn(task, width=cnn_width, steps=cnn_steps) if cnn is None else cnn
    with seeded(seed):
        return MODELS[name](copy.deepcopy(cnn), len(task.words), task.n_classes, **sizes)
