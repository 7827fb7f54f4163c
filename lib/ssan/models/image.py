"""Image classification with attention pooling, and the factory for all image classifiers."""

from __future__ import annotations

from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import nn

from ssan.batch import Batch
from ssan.data.task import Task
from ssan.models.abn import AttentionBranchNetwork
from ssan.models.attention import Output
from ssan.models.cnn import as_grid, cells, checked_image, convolution, halvings, mass_on_grid
from ssan.models.ran import ResidualAttentionNetwork
from ssan.models.stages import ImageStages
from ssan.regions import Encoded
from ssan.seeding import seeded


class AttentionPoolingCNN(nn.Module):
    """A CNN whose only way from features to classes is attention over space, at one or several scales.

    After "Learn to Pay Attention" (Jetley et al. 2018) with parametrised compatibility (`pc`): the score of a local
    feature is a 1x1 convolution of local + global feature, softmax over space, and the weighted sums of all scales are
    concatenated for the classifier. One difference: a tanh between the sum and the convolution. Without it the
    global feature adds the same number to every score of a map and the softmax takes it out again.

    The global feature is a layer on the mean of the coarsest features, computed in `attend`, so that hiding a region
    hides it there too. Scales are the grid, then twice as fine, then four times; `encode` keeps the finer features
    beside the cell they lie in, and their maps are brought to the grid by `mass_on_grid`.

    Args:
        channels: of the image.
        size: (height, width) of the image.
        n_classes: number of classes.
        grid: (rows, columns) of the attention; the image must be the grid times a power of two.
        width: features per cell of the coarsest scale; every finer one has half as many.
        scales: how many; at least one halving must remain between the image and the finest.
        attention_dim: size of local and global features where they are added up.

    Raises:
        ValueError: if the grid does not fit the image, or there are too many scales for it.
    """

    def __init__(
        self,
        channels: int,
        size: tuple[int, int],
        n_classes: int,
        *,
        grid: tuple[int, int] = (8, 8),
        width: int = 32,
        scales: int = 1,
        attention_dim: int = 32,
    ) -> None:
        super().__init__()
        self.channels, self.size, self.grid = channels, tuple(size), tuple(grid)
        n = halvings(size, grid)
        if not 1 <= scales <= n:
            raise ValueError(f"scales must be in [1, {n}] for {size[0]}x{size[1]} images and this grid, got {scales}")
        widths = [max(8, width >> (n - 1 - i)) for i in range(n)]
        self.levels = nn.ModuleList(convolution(a, b, stride=2) for a, b in pairwise([channels, *widths]))
        # One more convolution where cells are few: on the grid itself, where it costs least.
        self.levels[-1].append(convolution(width, width))
        self.local_dims = widths[::-1][:scales]  # from the grid to the finest scale
        self.local = nn.ModuleList(nn.Conv2d(d, attention_dim, 1, bias=False) for d in self.local_dims)
        self.glob = nn.Linear(width, attention_dim)
        self.score = nn.ModuleList(nn.Conv2d(attention_dim, 1, 1) for _ in self.local_dims)
        self.classifier = nn.Linear(sum(self.local_dims), n_classes)

    def encode(self, batch: Batch) -> Encoded:
        """Features (B, R, D) of the grid's cells: the coarsest scale, then what finer ones hold inside each cell."""
        x, maps = checked_image(batch, self.channels, self.size), []
        for level in self.levels:
            x = level(x)
            maps.append(x)
        chosen = maps[::-1][: len(self.local_dims)]
        return Encoded(torch.cat([cells(F.pixel_unshuffle(x, 1 << k)) for k, x in enumerate(chosen)], dim=-1))

    def image_stages(self) -> ImageStages | None:
        """The parts of `encode`, for searches that share them; None with several scales, which read layers between."""
        if len(self.local_dims) > 1:
            return None
        return ImageStages(nn.Sequential(*self.levels), cells, lambda _: None)

    def attend(self, encoded: Encoded) -> Output:
        """Logits (B, C), attention (B, R) or, with several scales, (B, scales, R)."""
        parts = encoded.features.split([d << (2 * k) for k, d in enumerate(self.local_dims)], dim=-1)
        glob = self.glob(parts[0].mean(1))[..., None, None]
        maps, seen = [], []
        for k, part in enumerate(parts):
            features = F.pixel_shuffle(as_grid(part, self.grid), 1 << k)
            score = self.score[k](torch.tanh(self.local[k](features) + glob))
            attention = torch.softmax(score.flatten(1), dim=-1).view(-1, *features.shape[2:])
            maps.append(mass_on_grid(attention, self.grid))
            seen.append((features * attention[:, None]).sum((2, 3)))
        attention = maps[0] if len(maps) == 1 else torch.stack(maps, dim=1)
        return Output(self.classifier(torch.cat(seen, dim=-1)), attention)

    def forward(self, batch: Batch) -> Output:
        return self.attend(self.encode(batch))


MODELS = {"pooling": AttentionPoolingCNN, "abn": AttentionBranchNetwork, "ran": ResidualAttentionNetwork}


def make_model(task: Task, seed: int, name: str = "pooling", **sizes) -> nn.Module:
    """A new image classifier for `task`, its initial weights a pure function of `seed`.

    Args:
        task: images; their shape and the number of classes are read off it.
        seed: of the initial weights; the global random state is left alone.
        name: `pooling` (`AttentionPoolingCNN`), `abn` (`AttentionBranchNetwork`) or `ran` (`ResidualAttentionNetwork`).
        **sizes: passed on to the model's constructor.

    Raises:
        ValueError: if `name` is unknown.
    """
    if name not in MODELS:
        raise ValueError(f"unknown model {name!r}: expected one of {tuple(MODELS)}")
    shape = task.train.select(torch.arange(1)).image.shape[1:]
    with seeded(seed):
        model = MODELS[name](shape[0], tuple(shape[1:]), task.n_classes, **sizes)
    # Channels last in memory: a quarter less time in training on a CPU, the same numbers to rounding.
    return model.to(memory_format=torch.channels_last)
