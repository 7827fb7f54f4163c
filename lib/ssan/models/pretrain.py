"""Pretraining a CNN on what is to be seen in an image, not where.

Stacked attention networks (Yang et al. 2016) read a VGG that was trained on ImageNet labels and stays frozen. Our
small tasks do the same in small: the CNN learns from image-level labels of the training images. Trained end to end on
a few thousand images instead, a model with attention can settle on attention at chance level.
"""

from __future__ import annotations

import hashlib

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ssan.data.pixels import ImageSplit, as_float
from ssan.models.cnn import GridCNN
from ssan.runtime import seeded
from ssan.task import Task

_PRETRAINED: dict[str, GridCNN] = {}


class PresenceHead(nn.Module):
    """Features (B, width, rows, columns) -> presence logits (B, P): the largest of all cells."""

    def __init__(self, width: int, n_labels: int) -> None:
        super().__init__()
        self.score = nn.Conv2d(width, n_labels, 1)

    def forward(self, features: Tensor) -> Tensor:
        return self.score(features).amax((2, 3))


def pretrain_cnn(
    task: Task,
    seed: int,
    *,
    grid: tuple[int, int] = (8, 8),
    width: int = 32,
    kernel: int = 4,
    steps: int = 500,
    batch_size: int = 64,
    learning_rate: float = 1e-2,
) -> GridCNN:
    """Train a `GridCNN` on the image-level labels of the training images, and freeze it. Our design.

    Args:
        task: its training split must be an `ImageSplit` with `presence`; nothing else of the task is looked at.
        seed: of initial weights and batch order; the global random state is left alone.
        grid, width, kernel: (rows, columns) of the features, how many per cell, and of what kernel: see `GridCNN`.
        steps, batch_size, learning_rate: of Adam, images per step, and the peak of its one-cycle learning rate.

    Returns:
        The CNN in evaluation mode, its parameters without gradient.

    A ValueError if the training split has no image-level labels.
    """
    split = task.train
    if not isinstance(split, ImageSplit) or split.presence is None:
        raise ValueError(
            f"the training split of {task.name} has no image-level labels (presence) to pretrain on: give it an "
            "ImageSplit with presence, or hand the model a CNN of your own"
        )
    with seeded(seed):
        cnn = GridCNN(split.images.shape[1], tuple(split.images.shape[2:]), grid, width, kernel=kernel)
        head = PresenceHead(width, split.presence.shape[1])
        parameters = [*cnn.parameters(), *head.parameters()]
        optimizer = torch.optim.Adam(parameters, lr=learning_rate)
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, learning_rate, total_steps=steps)
        rows = torch.empty(0, dtype=torch.long)
        for _ in range(steps):
            if len(rows) < min(batch_size, len(split.images)):
                rows = torch.cat([rows, torch.randperm(len(split.images))])
            chosen, rows = rows[:batch_size], rows[batch_size:]
            images = _turned(as_float(split.images[chosen], split.mean, split.std))
            logits = head(cnn(images))
            known = ~split.presence[chosen].isnan()
            wrong = F.binary_cross_entropy_with_logits(logits[known], split.presence[chosen][known], reduction="sum")
            loss = wrong / known.sum().clamp(min=1)
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            optimizer.step()
            schedule.step()
    return cnn.eval().requires_grad_(False)


def pretrained_cnn(task: Task, **settings) -> GridCNN:
    """`pretrain_cnn(task, 0, **settings)`, done once in a process for each set of training images and settings."""
    split = task.train
    key = hashlib.sha256(repr((task.name, task.fingerprint(), sorted(settings.items()))).encode())
    if isinstance(split, ImageSplit) and split.presence is not None:
        key.update(split.images.numpy().tobytes() + split.presence.numpy().tobytes())
    if key.hexdigest() not in _PRETRAINED:
        _PRETRAINED[key.hexdigest()] = pretrain_cnn(task, 0, **settings)
    return _PRETRAINED[key.hexdigest()]


def _turned(images: Tensor) -> Tensor:
    """One of the mirrorings and quarter turns of the image, the same for the whole batch: presence stays what it is.

    With 500 images of shapes this is what lets the CNN tell new circles from new squares.
    """
    turn = int(torch.randint(8, ()))
    images = images.flip(-1) if turn & 1 else images
    images = images.flip(-2) if turn & 2 else images
    return images.transpose(-1, -2) if turn & 4 and images.shape[-1] == images.shape[-2] else images
