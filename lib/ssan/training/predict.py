"""What a trained model says of a split."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from ssan.attention import AttentionModel, as_models, evaluating
from ssan.runtime import pick_device
from ssan.task import Split


@torch.no_grad()
def predict(
    model: AttentionModel, split: Split, *, device: str | torch.device = "auto", batch_size: int = 256
) -> tuple[Tensor, Tensor]:
    """Logits (N, C) and the one attention map (N, R) of every example of `split`, on the CPU, in evaluation mode.

    A ValueError if the split is empty or `batch_size` below 1, a TypeError if the model is no `AttentionModel`.
    """
    (model,), device = as_models(model), pick_device(device)
    if batch_size < 1:
        raise ValueError(f"batch_size must be at least 1, got {batch_size}")
    if not len(split):
        raise ValueError("the split has no examples to predict; training without validation needs validate=False")
    model.to(device)
    logits, maps = [], []
    with evaluating([model]):
        for rows in torch.arange(len(split), device=split.ids.device).split(batch_size):
            output = model(split.select(rows).to(device))
            logits.append(output.logits.cpu())
            maps.append(model.attention_map(output).cpu())
    width = max(attention.shape[1] for attention in maps)
    return torch.cat(logits), torch.cat([F.pad(attention, (0, width - attention.shape[1])) for attention in maps])


def evaluate(model: AttentionModel, split: Split, *, device: str | torch.device = "auto") -> float:
    """Accuracy on `split`, in [0, 1]."""
    logits, _ = predict(model, split, device=device)
    return float((logits.argmax(-1) == split.label.cpu()).double().mean())
