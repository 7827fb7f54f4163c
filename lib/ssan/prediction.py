"""What a trained model says of a split."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ssan.data.task import Split
from ssan.models.attention import attention_map, evaluating


def pick_device(device: str | torch.device = "auto") -> torch.device:
    """`auto` is CUDA where there is one, else the CPU."""
    if device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    return torch.device(device)


@torch.no_grad()
def predict(
    model: nn.Module, split: Split, *, device: str | torch.device = "auto", batch_size: int = 256
) -> tuple[Tensor, Tensor]:
    """Logits (N, C) and the one attention map (N, R) of every example of `split`, on the CPU, in evaluation mode.

    Raises:
        ValueError: if the split is empty.
    """
    if not len(split):
        raise ValueError("the split has no examples to predict; training without validation needs validate=False")
    device = pick_device(device)
    model.to(device)
    logits, maps = [], []
    with evaluating([model]):
        for rows in torch.arange(len(split)).split(batch_size):
            output = model(split.select(rows).to(device))
            logits.append(output.logits.cpu())
            maps.append(attention_map(model, output).cpu())
    width = max(attention.shape[1] for attention in maps)
    return torch.cat(logits), torch.cat([F.pad(attention, (0, width - attention.shape[1])) for attention in maps])


def evaluate(model: nn.Module, split: Split, *, device: str | torch.device = "auto") -> float:
    """Accuracy on `split`, in [0, 1]."""
    logits, _ = predict(model, split, device=device)
    return float((logits.argmax(-1) == split.label.cpu()).double().mean())
