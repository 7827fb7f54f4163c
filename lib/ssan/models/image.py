"""Image classification with attention pooling."""

from __future__ import annotations

import torch
from torch import nn

from ssan.attention import AttentionModel, Output
from ssan.models.cnn import GridCNN, checked_image
from ssan.runtime import seeded
from ssan.task import Batch, Task


class AttentionPoolingCNN(AttentionModel):
    """A CNN whose only way from features to classes is attention over space.

    After "Learn to Pay Attention" (Jetley et al. 2018) with parametrised compatibility (`pc`), at one scale: a cell's
    score is a 1x1 convolution of local + global feature, softmax over space, and the classes are read off the weighted
    sum. The global feature is a layer on the mean of the features. One difference: a tanh between the sum and the
    convolution. Without it the global feature adds the same number to every score, which the softmax takes out again.

    Args:
        channels: of the image.
        size: (height, width) of the image.
        n_classes: number of classes.
        grid: (rows, columns) of the attention; the image must be the grid times a power of two.
        width: features per cell.
        attention_dim: size of local and global features where they are added up.
        kernel: of the strided convolutions, see `GridCNN`.

    A ValueError if the grid does not fit the image.
    """

    def __init__(
        self,
        channels: int,
        size: tuple[int, int],
        n_classes: int,
        *,
        grid: tuple[int, int] = (8, 8),
        width: int = 32,
        attention_dim: int = 32,
        kernel: int = 4,
    ) -> None:
        super().__init__()
        self.cnn = GridCNN(channels, size, grid, width, kernel=kernel)
        self.local = nn.Conv2d(width, attention_dim, 1, bias=False)
        self.glob = nn.Linear(width, attention_dim)
        self.score = nn.Conv2d(attention_dim, 1, 1)
        self.classifier = nn.Linear(width, n_classes)

    def forward(self, batch: Batch) -> Output:
        """Logits (B, C), attention (B, R)."""
        features = self.cnn(checked_image(batch, self.cnn.channels, self.cnn.size))
        glob = self.glob(features.mean((2, 3)))[..., None, None]
        attention = torch.softmax(self.score(torch.tanh(self.local(features) + glob)).flatten(1), dim=-1)
        pooled = (features * attention.view(-1, 1, *self.cnn.grid)).sum((2, 3))
        return Output(self.classifier(pooled), attention)


MODELS = {"pooling": AttentionPoolingCNN}


def make_model(task: Task, seed: int, name: str = "pooling", **sizes) -> AttentionModel:
    """See `ssan.make_model`; `sizes` go to the model's constructor."""
    shape = task.train.select(torch.arange(1)).image.shape[1:]
    with seeded(seed):
        model = MODELS[name](shape[0], tuple(shape[1:]), task.n_classes, **sizes)
    # Channels last in memory: a quarter less time in training on a CPU, the same numbers to rounding.
    return model.to(memory_format=torch.channels_last)
