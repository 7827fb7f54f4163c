"""Attention while a net trains: rows of accuracy and attention quality epoch by epoch."""

from __future__ import annotations

import pandas as pd
import torch

from ssan.conditions import condition
from ssan.experiment import Experiment
from ssan.quality import map_quality
from ssan.training import fit, predict

# Enough test examples for a smooth curve, few enough to look at after every other epoch.
N_EXAMPLES = 400


def epoch_rows(one: Experiment, names: list[str], every: int = 2) -> pd.DataFrame:
    """Train each condition once more from scratch and measure it on the way.

    Args:
        one: the experiment; targets are made if they are not there yet.
        names: conditions that start from scratch.
        every: epochs between two measurements.

    Returns:
        Rows: task, seed, condition, epoch, train_loss, attention_loss, accuracy (on the first test examples), and what
        `map_quality` says of the attention there.
    """
    test = one.task.test.select(torch.arange(min(N_EXAMPLES, len(one.task.test))))
    rows = []
    for name in names:
        of = condition(name)
        supervision = None
        if of.target is not None:
            supervision = one.supervision(one.target(of.target), one.settings.weight, of)
        config = one.settings.training(of, one.seed)
        measured: list[dict[str, float]] = []

        def look(epoch: int, model, measured=measured) -> None:
            if epoch % every:
                return
            logits, attention = predict(model, test, device=one.device)
            accuracy = float((logits.argmax(1) == test.label).double().mean())
            measured.append({"epoch": epoch, "accuracy": accuracy} | map_quality(attention, test, one.regions))

        model = one.make_model(one.task, one.seed)
        fitted = fit(model, one.task, config, supervision, device=one.device, after_epoch=look)
        named = {"task": one.task.name, "seed": one.seed, "condition": name}
        for found in measured:
            losses = fitted.history[found["epoch"] - 1]
            told = {"train_loss": losses["loss"], "attention_loss": losses["attention_loss"]}
            rows.append(named | found | told)
    return pd.DataFrame(rows)
