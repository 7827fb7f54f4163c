"""Masks on feature cells: what a network made of the image beforehand is hidden, not the image."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ssan.regions import Regions
from ssan.samplers.base import pair
from ssan.task import Batch


@dataclass(frozen=True)
class FeatureGrid(Regions):
    """Every cell of a feature map is a region; hiding it replaces its vector in `Batch.features`. Our design.

    For models that read features made beforehand, so that a search runs only what stands behind them.

    Args:
        grid: (rows, columns) of the feature map.
        fill: `zero`, or `mean` (the example's own mean feature).

    A ValueError on an unknown fill, or a batch without features or with another number of them.
    """

    grid: tuple[int, int] = (8, 8)
    fill: str = "zero"

    def __post_init__(self) -> None:
        if self.fill not in ("zero", "mean"):
            raise ValueError(f"unknown fill {self.fill!r}: expected 'zero' or 'mean'")
        pair("grid", tuple(self.grid))

    def count(self, batch: Batch) -> Tensor:
        """(B,) int64: rows x columns for every example."""
        if batch.features is None:
            raise ValueError("FeatureGrid needs features in the batch: model.prepared(split) makes them beforehand")
        if batch.features.shape[1] != self.grid[0] * self.grid[1]:
            raise ValueError(f"FeatureGrid {self.grid} does not fit features of {batch.features.shape[1]} regions")
        return torch.full((len(batch),), batch.features.shape[1], dtype=torch.long, device=batch.device)

    def hide(self, batch: Batch, masks: Tensor) -> Batch:
        """`batch` with the feature vectors replaced where `masks` (B, R) is False."""
        features = batch.features
        fill = features.mean(1, keepdim=True) if self.fill == "mean" else features.new_zeros(1)
        return batch.replace(features=torch.where(masks[..., None], features, fill))
