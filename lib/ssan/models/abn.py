"""Attention Branch Network."""

from __future__ import annotations

from itertools import pairwise

import torch.nn.functional as F
from torch import Tensor, nn

from ssan.batch import Batch
from ssan.models.attention import Output, as_distribution
from ssan.models.cnn import ResidualUnit, as_grid, cells, checked_image, convolution, halvings
from ssan.regions import Encoded


class BranchOutput(Output):
    """An `Output` that also carries the logits of the attention branch, (B, C), for the auxiliary loss."""

    branch_logits: Tensor

    @classmethod
    def of(cls, logits: Tensor, attention: Tensor, branch_logits: Tensor) -> BranchOutput:
        output = cls(logits, attention)
        output.branch_logits = branch_logits
        return output


class AttentionBranchNetwork(nn.Module):
    """A small ResNet with an attention branch (ABN, Fukui et al. 2019).

    The attention branch classifies by itself from class-wise maps, and makes one sigmoid map M of them; the perception
    branch classifies from features * (1 + M). Both are trained with cross-entropy: the second one by whoever
    trains the model, the first one by adding `auxiliary_loss`. The sigmoid map becomes the attention of the `Output` by
    `as_distribution`.

    Args:
        channels: of the image.
        size: (height, width) of the image.
        n_classes: number of classes.
        grid: (rows, columns) of the map; the image must be the grid times a power of two.
        width: features per cell.
        units: residual units per level and per branch.
    """

    def __init__(
        self,
        channels: int,
        size: tuple[int, int],
        n_classes: int,
        *,
        grid: tuple[int, int] = (8, 8),
        width: int = 32,
        units: int = 1,
    ) -> None:
        super().__init__()
        self.channels, self.size, self.grid = channels, tuple(size), tuple(grid)
        n = halvings(size, grid)
        widths = [max(8, width >> (n - i)) for i in range(n + 1)]
        levels = [nn.Conv2d(channels, widths[0], 3, padding=1, bias=False)]
        for a, b in pairwise(widths):
            levels += [ResidualUnit(a, b, stride=2), *(ResidualUnit(b, b) for _ in range(units - 1))]
        self.extractor = nn.Sequential(*levels)
        self.branch = nn.Sequential(
            *(ResidualUnit(width, width) for _ in range(units)),
            nn.BatchNorm2d(width),
            convolution(width, n_classes, kernel=1),
        )
        self.branch_score = nn.Conv2d(n_classes, n_classes, 1)
        self.map = nn.Sequential(nn.Conv2d(n_classes, 1, 3, padding=1, bias=False), nn.BatchNorm2d(1), nn.Sigmoid())
        self.perception = nn.Sequential(
            *(ResidualUnit(width, width) for _ in range(units)), nn.BatchNorm2d(width), nn.ReLU()
        )
        self.classifier = nn.Linear(width, n_classes)

    def encode(self, batch: Batch) -> Encoded:
        """Features (B, R, width) before the two branches."""
        return Encoded(cells(self.extractor(checked_image(batch, self.channels, self.size))))

    def attend(self, encoded: Encoded) -> BranchOutput:
        """Logits (B, C) of the perception branch, attention (B, R), and the attention branch's own logits."""
        features = as_grid(encoded.features, self.grid)
        responses = self.branch(features)
        weights = self.map(responses)
        seen = self.perception(features * (1 + weights)).mean((2, 3))
        own = self.branch_score(responses).mean((2, 3))
        return BranchOutput.of(self.classifier(seen), as_distribution(weights.flatten(1)), own)

    def forward(self, batch: Batch) -> BranchOutput:
        return self.attend(self.encode(batch))

    def auxiliary_loss(self, batch: Batch, output: Output) -> Tensor:
        """Mean cross-entropy of the attention branch, a scalar; to be added to the loss.

        Raises:
            TypeError: if `output` is not what this model returned.
        """
        if not hasattr(output, "branch_logits"):
            raise TypeError("auxiliary_loss needs the output of this model's forward, with branch_logits")
        return F.cross_entropy(output.branch_logits, batch.label)
