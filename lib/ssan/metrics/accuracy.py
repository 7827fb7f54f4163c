"""Whether the answer is right."""

from __future__ import annotations

import torch
from torch import Tensor

from ssan.metrics.checks import check_finite


def accuracy(logits: Tensor, label: Tensor) -> Tensor:
    """1 where the highest-scoring class is the ground truth, else 0.

    `[argmax_c logits_c = label]`. Values 0 and 1, higher is better. Ties go to the lowest class. Depends on no
    parameter; blind to how confident the answer is.

    Args:
        logits: (B, C), finite.
        label: (B,) int64, in [0, C).

    Returns:
        (B,) float32.

    Raises:
        ValueError: on other shapes, labels outside the classes, NaN or infinite logits.
    """
    if logits.dim() != 2 or label.shape != logits.shape[:1]:
        raise ValueError(f"expected logits (B, C) and label (B,), got {tuple(logits.shape)} and {tuple(label.shape)}")
    if label.is_floating_point() or label.dtype == torch.bool:
        raise ValueError(f"label must hold class numbers (int64), got {label.dtype}")
    outside = (label < 0) | (label >= logits.shape[1])
    if bool(outside.any()):
        raise ValueError(f"label {int(label[outside][0])} is not one of the {logits.shape[1]} classes")
    check_finite(logits=logits)
    return (logits.argmax(-1) == label).to(torch.float32)
