"""What a model says of itself when it reads an image through layers that look at neighbourhoods only."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor, nn

from ssan.batch import Batch


@dataclass(frozen=True)
class ImageStages:
    """The parts of `encode`: `encode(batch) = Encoded(features(layers(batch.image)), context(batch))`.

    A model whose `encode` can be written like this may have a method `image_stages() -> ImageStages | None`, and the
    search with masks on images then shares what variants, questions and teachers have in common. The context must not
    depend on the image.

    Example:
        >>> def image_stages(self):                                             # no question, a vector per cell
        ...     return ImageStages(self.cnn, lambda maps: maps.flatten(2).transpose(1, 2), lambda batch: None)

    Attributes:
        layers: image (B, channels, H, W) -> maps (B, D, h, w), one layer after the other.
        features: maps (N, D, h, w) -> `Encoded.features` (N, R, …).
        context: batch -> `Encoded.context` (B, Q), or None.
    """

    layers: nn.Sequential
    features: Callable[[Tensor], Tensor]
    context: Callable[[Batch], Tensor | None]
