"""The one place that touches PyTorch's global generators: seeds them for a while, then puts them back."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch


@contextmanager
def seeded(seed: int, device: torch.device | str = "cpu") -> Iterator[None]:
    """Inside, the CPU's generator, and that of `device` if it is a CUDA device, start from `seed`.

    Afterwards they are as they were, and no other device's is ever touched. Needed because layers initialise
    themselves and drop out from the global generators and take no others.

    Args:
        seed: of the generators.
        device: where numbers will be drawn, beside the CPU.
    """
    device = torch.device(device)
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        # Not torch.manual_seed: that seeds every device there is, and for good.
        torch.default_generator.manual_seed(seed)
        if device.type == "cuda":
            with torch.cuda.device(device):
                torch.cuda.manual_seed(seed)
        yield
