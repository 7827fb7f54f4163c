"""How to train, as data."""

from __future__ import annotations

import math
from dataclasses import dataclass


@dataclass(frozen=True)
class TrainConfig:
    """How to train. Travels with checkpoints and rows.

    Attributes:
        epochs: passes over the training split; 0 is allowed and leaves the model as it is.
        batch_size: examples per step.
        learning_rate: of Adam.
        weight_decay: decoupled (AdamW).
        clip_norm: gradients are scaled down to this norm; None leaves them.
        clamp_gradient: every gradient entry is clamped to [-x, x], as the released code does with 0.1; None does not.
        recreate_optimizer: a new optimiser every epoch, as the released code has it: its moments start from zero.
        keep: `best` weights by validation accuracy (the first on ties), or `last`.
        hop_penalty: weight of the penalty on hops that look at the same place (Lin et al. 2017).
        validate: compute validation accuracy after every epoch; needed to keep the best.
        seed: of batch order and dropout.
        entropy_penalty: weight of the mean entropy of the attention, in nats: above 0 it sharpens attention without
            any target, a control; below 0 it flattens.

    A ValueError names the field, what was given and what is expected.
    """

    epochs: int = 20
    batch_size: int = 32
    learning_rate: float = 2e-3
    weight_decay: float = 0.0
    clip_norm: float | None = 1.0
    clamp_gradient: float | None = None
    recreate_optimizer: bool = False
    keep: str = "best"
    hop_penalty: float = 0.0
    validate: bool = True
    seed: int = 0
    entropy_penalty: float = 0.0

    def __post_init__(self) -> None:
        for name, at_least in (("epochs", 0), ("batch_size", 1), ("seed", -(2**63))):
            value = getattr(self, name)
            if not isinstance(value, int) or isinstance(value, bool) or not at_least <= value < 2**63:
                raise ValueError(f"{name} must be a whole number of at least {at_least}, below 2**63; got {value!r}")
        for name in ("learning_rate", "weight_decay", "hop_penalty", "entropy_penalty", "clip_norm", "clamp_gradient"):
            value = getattr(self, name)
            if value is None and name in ("clip_norm", "clamp_gradient"):
                continue  # None leaves gradients as they are
            if not isinstance(value, int | float) or not math.isfinite(value):
                raise ValueError(f"{name} must be a finite number, got {value!r}")
            if name in ("learning_rate", "clip_norm", "clamp_gradient") and value <= 0:
                raise ValueError(f"{name} must be above 0, got {value}")
        if self.weight_decay < 0:
            raise ValueError(f"weight_decay must be at least 0, got {self.weight_decay}")
        if self.keep not in ("best", "last"):
            raise ValueError(f"keep must be 'best' or 'last', got {self.keep!r}")
        if self.keep == "best" and not self.validate:
            raise ValueError("keep='best' needs validate=True; to train without validation say keep='last'")

    @classmethod
    def as_released(cls, seed: int = 0) -> TrainConfig:
        """The released code's training: batches of one, optimiser recreated each epoch, entries clamped to 0.1."""
        accidents = {"clip_norm": None, "clamp_gradient": 0.1, "recreate_optimizer": True}
        return cls(epochs=10, batch_size=1, learning_rate=1e-3, keep="last", seed=seed, **accidents)
