"""Tiny random inputs and closed-form models that several tests share."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from ssan.attention import AttentionModel, Output
from ssan.models.text import SelfAttentiveLSTM, TextConfig
from ssan.regions import ImageGrid, TokenRegions
from ssan.runtime import seeded
from ssan.task import Batch, Task

PAD = 1
GPU = [pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")]


def generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def sentences(rows: list[list[int]], label: list[int] | None = None, ids: list[int] | None = None) -> Batch:
    """A batch of the given token ids, padded on the right with `PAD`."""
    lengths = torch.tensor([len(row) for row in rows])
    tokens = torch.full((len(rows), int(lengths.max())), PAD)
    for i, row in enumerate(rows):
        tokens[i, : len(row)] = torch.tensor(row)
    return Batch(
        ids=torch.arange(len(rows)) if ids is None else torch.tensor(ids),
        label=torch.zeros(len(rows), dtype=torch.long) if label is None else torch.tensor(label),
        tokens=tokens,
        lengths=lengths,
    )


def random_sentences(n: int, seed: int = 0, *, vocabulary: int = 20, longest: int = 9, classes: int = 3) -> Batch:
    """`n` sentences of 1 to `longest` tokens; ids are large and in no order. Unknown words (id 0) are among them."""
    g = generator(seed)
    lengths = torch.randint(1, longest + 1, (n,), generator=g).tolist()
    rows = []
    for length in lengths:
        row = torch.randint(0, vocabulary, (length,), generator=g)
        rows.append(torch.where(row == PAD, 0, row).tolist())
    label = torch.randint(0, classes, (n,), generator=g)
    ids = torch.randperm(10 * n, generator=g)[:n] + 2**33
    return sentences(rows, label.tolist(), ids.tolist())


def exists(batch: Batch) -> Tensor:
    return torch.arange(batch.tokens.shape[1]) < batch.lengths[:, None]


def random_maps(mask: Tensor, seed: int = 0, dtype: torch.dtype = torch.float32) -> Tensor:
    """Random distributions over the regions where `mask` (B, R) is True."""
    weights = torch.rand(mask.shape, generator=generator(seed), dtype=dtype).add(0.05) * mask
    return weights / weights.sum(-1, keepdim=True)


def text_model(
    seed: int = 0, *, vocabulary: int = 20, classes: int = 3, scale: float = 3.0, dtype=torch.float32, **config
) -> SelfAttentiveLSTM:
    """A small random model whose weights are large enough for uneven attention and scores that differ."""
    sizes = {"embedding_dim": 6, "hidden": 5, "attention_dim": 7} | config
    with seeded(seed):
        model = SelfAttentiveLSTM(vocabulary, classes, TextConfig(**sizes))
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(scale)
    return model.to(dtype)


def text_task(n_train: int = 24, seed: int = 0, *, classes: int = 3, vocabulary: int = 20, longest: int = 7) -> Task:
    """Sentences of random words, one of which, in a random place, decides the label: learnable for the right reason."""
    splits = []
    for k, n in enumerate((n_train, 12, 12)):
        batch = random_sentences(n, 100 * seed + k, vocabulary=vocabulary, longest=longest, classes=classes)
        # Words 2 to classes + 1 tell the class; they are taken out everywhere and put in once.
        tokens = torch.where((batch.tokens > 1) & (batch.tokens < classes + 2), 0, batch.tokens)
        place = (torch.rand(n, generator=generator(seed + k)) * batch.lengths).long()
        tokens[torch.arange(n), place] = batch.label + 2
        splits.append(batch.replace(tokens=tokens))
    names = tuple(f"class {c}" for c in range(classes))
    words = ("<unk>", "<pad>", *(f"word {w}" for w in range(2, vocabulary)))
    return Task("tiny", *splits, class_names=names, regions=TokenRegions(), words=words)


class Additive(AttentionModel):
    """logits = sum over tokens of `weight[token]` (V, C); the attention is a softmax over `salience[token]` (V,).

    Weights that are small whole numbers make every score exact, so that equal variants score equal to the last bit.
    """

    def __init__(self, weight: Tensor, salience: Tensor) -> None:
        super().__init__()
        self.weight, self.salience = nn.Parameter(weight), nn.Parameter(salience)
        self.sizes: list[int] = []

    def forward(self, batch: Batch) -> Output:
        self.sizes.append(len(batch))
        mask = exists(batch)
        logits = (self.weight[batch.tokens] * mask[..., None]).sum(1)
        return Output(logits, torch.softmax(self.salience[batch.tokens].masked_fill(~mask, -torch.inf), -1))


def additive(seed: int = 0, *, vocabulary: int = 20, classes: int = 3, dtype=torch.float64) -> Additive:
    """An `Additive` model with random whole weights; the unknown word (id 0) weighs nothing."""
    g = generator(seed)
    weight = torch.randint(-9, 10, (vocabulary, classes), generator=g).to(dtype)
    weight[0] = 0
    return Additive(weight, torch.randn(vocabulary, generator=g, dtype=dtype))


class Returns(AttentionModel):
    """Returns what `function(batch)` does: for outputs that break the contract."""

    def __init__(self, function) -> None:
        super().__init__()
        self.function = function

    def forward(self, batch: Batch):
        return self.function(batch)


class PatchModel(AttentionModel):
    """Features of the cells of a grid (or `Batch.features`, where there are some), attention over them, classes."""

    def __init__(self, grid: tuple[int, int] = (2, 3), seed: int = 0, classes: int = 3, channels: int = 2) -> None:
        super().__init__()
        g = generator(seed)
        self.grid = grid
        self.feature = nn.Parameter(torch.randn(channels, 4, generator=g, dtype=torch.float64))
        self.query = nn.Parameter(torch.randn(4, generator=g, dtype=torch.float64) * 3)
        self.classes = nn.Parameter(torch.randn(4, classes, generator=g, dtype=torch.float64) * 3)

    def features_of(self, image: Tensor) -> Tensor:
        cells = nn.functional.adaptive_avg_pool2d(image, self.grid).flatten(2).transpose(1, 2)
        return torch.tanh(cells @ self.feature)

    def forward(self, batch: Batch) -> Output:
        features = self.features_of(batch.image) if batch.features is None else batch.features
        attention = torch.softmax(features @ self.query, -1)
        return Output((attention[:, None] @ features).squeeze(1) @ self.classes, attention)


def random_images(n: int, seed: int = 0, size: tuple[int, int] = (8, 12), channels: int = 2, classes: int = 3) -> Batch:
    """`n` random double-precision images of `size` (H, W)."""
    g = generator(seed)
    return Batch(
        ids=torch.randperm(10 * n, generator=g)[:n],
        label=torch.randint(0, classes, (n,), generator=g),
        image=torch.rand(n, channels, *size, generator=g, dtype=torch.float64),
    )


def image_task(grid: tuple[int, int] = (2, 3)) -> Task:
    """Random images with random labels, divided into `grid`."""
    return Task("images", *(random_images(n, n) for n in (11, 5, 5)), ("a", "b", "c"), ImageGrid(grid))


def contents(folder: Path) -> dict[str, str]:
    """Name -> hash of every file of a folder, but for the one that says who writes there."""
    return {
        path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in folder.iterdir() if path.name != ".lock"
    }


# For tests of losses: maps of 7 regions, of which not all exist.
LENGTHS = [7, 3, 1, 5, 2]
EXISTS = torch.arange(7) < torch.tensor(LENGTHS)[:, None]
WHOLE = torch.ones_like(EXISTS)


def pair(seed: int = 0, exists: Tensor = EXISTS) -> list[Tensor]:
    """Attention and target, in double precision."""
    return [random_maps(exists, seed + k, torch.float64) for k in (1, 2)]


def peaked(seed: int, n: int = 6, dim: int = 200) -> Tensor:
    """Maps as uneven as attention can be, from one-hot to flat, where half the squared distance is up to 1."""
    scores = torch.randn(n, dim, generator=generator(seed), dtype=torch.float64)
    return torch.softmax(scores * torch.linspace(0, 60, n, dtype=torch.float64)[:, None], -1)
