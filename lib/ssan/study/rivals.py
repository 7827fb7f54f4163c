"""What a reviewer would try instead: other regressions as selectors, other objectives than an attention loss.

`ridge` is the regression of LIME, used to teach. `Lasso` and `KernelShap` are its nearest relatives, on the same
forward passes. The objectives have no target: they are added to the loss of a net whose attention nobody supervises.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from ssan.attention import AttentionModel, Output, evaluating
from ssan.models.attach import AttachedModel
from ssan.regions import Regions
from ssan.search import SCORES, Surrogates
from ssan.selectors import Chunk, Clean, Ridge, make_selector
from ssan.task import Batch


@dataclass
class Lasso(Ridge):
    """Lasso instead of ridge: minimises `|y - X w|^2 / 2 + strength * n |w|_1`, n the largest number of variants.

    By coordinate descent on the sums that `Ridge` keeps, until no coefficient moves by 1e-6 of the largest; clipped,
    normalised. Source: Tibshirani 1996; LIME's choice of features (Ribeiro et al. 2016).

    Args:
        strength: above 0, in units of the score times the share of variants that hide a region.
    """

    strength: float = 0.02

    def _solve(self, covariance: Tensor, right: Tensor) -> Tensor:
        scale, penalty = covariance.diagonal().clamp(min=1e-12), self.strength * float(self._n.max())
        w = torch.zeros_like(right)
        for _ in range(1000):
            before = w.clone()
            for j in range(w.shape[1]):
                rest = right[:, j] - w @ covariance[:, j] + w[:, j] * covariance[j, j]
                w[:, j] = F.softshrink(rest, penalty) / scale[j]
            if float((w - before).abs().max()) <= 1e-6 * float(w.abs().max()):
                break
        return w


@dataclass
class KernelShap(Ridge):
    """`Ridge` with every variant weighted by Shapley's kernel: the more, the fewer regions it hides, or keeps.

    A variant that keeps k of R regions has the weight `(R - 1) / (binomial(R, k) k (R - k))`, scaled to 1 in the mean
    of an example's variants, and the fit goes through the clean score. For masks that keep half: others would have
    to be weighted by how likely they were drawn. Source: Lundberg and Lee 2017, who pin the empty input as well.
    """

    strength: float = 1e-3

    def update(self, chunk: Chunk, improved: Tensor) -> None:  # noqa: ARG002
        exists = self._clean.exists[chunk.rows, : chunk.kept.shape[1]]
        hidden = (~chunk.kept.bool() & exists).double()
        n, gone = exists.sum(1).double(), hidden.sum(1)
        inner = (gone > 0) & (gone < n)
        choices = (torch.lgamma(n + 1) - torch.lgamma(gone + 1) - torch.lgamma(n - gone + 1)).exp()
        weight = ((n - 1) / (choices * gone * (n - gone)).clamp(min=1)).where(inner, 0)
        # Scores are relative to the clean input, which pins the intercept to 0.
        score = (chunk.score - self._clean.score[chunk.rows]).double()
        self._n.index_add_(0, chunk.rows, inner.double()[:, None])
        self._score.index_add_(0, chunk.rows, weight[:, None])
        self._hidden_score[:, : hidden.shape[1]].index_add_(0, chunk.rows, hidden * (weight * score)[:, None])
        for row in chunk.rows.unique():
            some = hidden[chunk.rows == row]
            gram = self._gram[row, : hidden.shape[1], : hidden.shape[1]]
            gram += (some * weight[chunk.rows == row, None]).T @ some

    def values(self) -> Tensor:
        """(B, W): the coefficients."""
        mean = self._score / (self._n - 1).clamp(min=1)  # `Ridge` counts the clean input
        eye = self.strength * torch.eye(self._gram.shape[1], dtype=self._gram.dtype, device=self._gram.device)
        gram = self._gram / mean.clamp(min=1e-12)[..., None] + eye
        return -torch.linalg.solve(gram, self._hidden_score / mean.clamp(min=1e-12))


def counterfactual(model: AttachedModel, batch: Batch, output: Output, regions: Regions) -> Tensor:  # noqa: ARG001
    """Cross-entropy of the effect of attention: logits, less those with the same weights dealt out at random.

    Source: counterfactual attention learning (CAL, Rao et al. 2021), whose counterfactual maps are random. Here each
    query's weights are dealt anew among the positions that exist.
    """

    def dealt(weights: Tensor) -> Tensor:
        exists = torch.arange(weights.shape[-1], device=weights.device) < batch.lengths[:, None]
        order = torch.rand(exists.shape, device=weights.device).masked_fill(~exists, 2).argsort(-1)
        return weights.gather(-1, order[:, None, None].expand_as(weights))

    model.tap.instead = dealt
    try:
        without = model(batch).logits
    finally:
        model.tap.instead = None
    return F.cross_entropy(output.logits - without, batch.label)


def saliency_guided(model: AttentionModel, batch: Batch, output: Output, regions: Regions) -> Tensor:
    """Divergence of the answer from that without the half of the words that the gradient calls unimportant.

    `KL(f(x) || f(x without the words of the smallest gradients))`. Source: saliency-guided training (Ismail et al.
    2021), whose gradients are those of the input; here they are those of what the frozen layers make of it.
    """
    states = batch.features.detach().requires_grad_()
    with evaluating([model]), torch.enable_grad():
        score = SCORES["logit"](model(batch.replace(features=states)).logits, batch.label)
        (gradient,) = torch.autograd.grad(score.sum(), states)
    exists = regions.exists(batch)
    salience = regions.pool(gradient[:, : batch.tokens.shape[1]].norm(dim=-1), batch).masked_fill(~exists, torch.inf)
    rank = salience.argsort(1).argsort(1)
    kept = (rank >= exists.sum(1, keepdim=True) // 2) | ~exists
    masked = model(regions.hide(batch, kept))
    return F.kl_div(masked.logits.log_softmax(1), output.logits.log_softmax(1), log_target=True, reduction="batchmean")


# What may be added to the loss instead of targets: (model, batch, output, regions) -> a scalar.
OBJECTIVES: dict[str, Callable[..., Tensor]] = {"counterfactual": counterfactual, "saliency_guided": saliency_guided}
SELECTORS = {"lasso": Lasso, "kernel_shap": KernelShap}


class Together:
    """Several selectors on the forward passes of one search; their targets lie side by side, see `apart`."""

    def __init__(self, names: tuple[str, ...]) -> None:
        self.selectors = [SELECTORS[name]() if name in SELECTORS else make_selector(name) for name in names]

    def start(self, clean: Clean) -> None:
        for selector in self.selectors:
            selector.start(clean)

    def update(self, chunk: Chunk, improved: Tensor) -> None:
        for selector in self.selectors:
            selector.update(chunk, improved)

    def finish(self) -> Tensor:
        """(B, W * K): for every region a target of each of the K selectors, so that regions may be added behind."""
        return torch.stack([selector.finish() for selector in self.selectors], dim=-1).flatten(1)

    @staticmethod
    def apart(found: Surrogates, names: tuple[str, ...]) -> dict[str, Surrogates]:
        """The surrogates of every selector, by name."""
        maps = found.attention.unflatten(1, (-1, len(names))).unbind(-1)
        return {name: dataclasses.replace(found, attention=each) for name, each in zip(names, maps, strict=True)}
