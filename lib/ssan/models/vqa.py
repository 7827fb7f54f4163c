"""Visual question answering with one hop of attention, and the factory of all question-answering models."""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn

from ssan.attention import Output
from ssan.models.cnn import GridCNN
from ssan.models.grid_question import GridQuestionModel
from ssan.models.mlb import BilinearAttention
from ssan.models.pretrain import pretrained_cnn
from ssan.models.san import GridAttention, StackedAttention
from ssan.runtime import seeded
from ssan.task import Task


class QuestionAttention(GridQuestionModel):
    """LSTM question, CNN grid, one hop of attention, and an MLP on the question and the attended feature.

    Args:
        cnn, n_words, n_classes: see `GridQuestionModel`, as are `embedding` and `hidden`.
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

    def attend(self, features: Tensor, question: Tensor) -> Output:
        """Logits (B, C), attention (B, R)."""
        attention = self.attention(features, question)
        pooled = (attention[:, None] @ features).squeeze(1)
        return Output(self.classifier(torch.cat([question, pooled], dim=-1)), attention)


MODELS = {"one_hop": QuestionAttention, "san": StackedAttention, "mlb": BilinearAttention}


def make_model(
    task: Task,
    seed: int,
    name: str = "one_hop",
    *,
    cnn: GridCNN | None = None,
    cnn_width: int = 32,
    cnn_steps: int = 500,
    cnn_kernel: int = 4,
    **sizes,
) -> GridQuestionModel:
    """See `ssan.make_model`.

    Args:
        task: images and questions; what sizes do not say is read off it.
        seed: of the initial weights of all but the CNN.
        name: `one_hop` (`QuestionAttention`), `san` (`StackedAttention`) or `mlb` (`BilinearAttention`).
        cnn: image -> features on a grid; the model freezes a copy. None pretrains one on the image-level labels of
            `task`'s training images, once per task and process: all seeds see through the same eyes.
        cnn_width: features per cell of that CNN.
        cnn_steps: how long it is pretrained, see `pretrain_cnn`.
        cnn_kernel: of its strided convolutions, see `GridCNN`.
        **sizes: passed on to the model's constructor.

    A ValueError if there is nothing to pretrain a CNN on.
    """
    cnn = pretrained_cnn(task, width=cnn_width, steps=cnn_steps, kernel=cnn_kernel) if cnn is None else cnn
    with seeded(seed):
        return MODELS[name](copy.deepcopy(cnn), len(task.words), task.n_classes, **sizes)
