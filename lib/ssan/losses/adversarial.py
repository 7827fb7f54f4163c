"""Attention pulled by discriminators, which learn to tell attention maps from targets while the model trains.

The sister paper (arXiv 1911.08618) compares losses with two of these and finds them best: one discriminator for whole
maps (AAN), and one for every region (PAAN). Its formulas are not public. What is here is the plain game of Goodfellow
et al. 2014 in its non-saturating form; nets, inputs and optimiser are our design.

No discriminator is told which example a map belongs to. What is matched is the distribution of the targets over the
training set, not the pairing: dealing the targets out anew among the examples of a batch changes nothing.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import functional_call

from ssan.distributed import Processes, mean_over_processes
from ssan.losses.masks import masked
from ssan.seeding import seeded


class ImageDiscriminator(nn.Module):
    """One verdict on every map: positive where it takes the map for a target.

    Args:
        n_regions: width of the maps.
        hidden: width of its hidden layer.
    """

    def __init__(self, n_regions: int, hidden: int = 64) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(n_regions, hidden), nn.LeakyReLU(0.2), nn.Linear(hidden, 1))

    def forward(self, maps: Tensor) -> Tensor:
        """Maps (B, R) -> verdicts (B, 1)."""
        return self.layers(maps)


class PixelDiscriminators(nn.Module):
    """A verdict on every region of every map, each by a discriminator of its own that sees this region's weight alone.

    Args:
        n_regions: width of the maps, and number of discriminators.
        hidden: width of their hidden layers.
    """

    def __init__(self, n_regions: int, hidden: int = 16) -> None:
        super().__init__()
        self.into, self.out = (nn.Parameter(torch.randn(n_regions, hidden)) for _ in range(2))
        self.into_bias, self.out_bias = (
            nn.Parameter(torch.randn(n_regions, hidden)),
            nn.Parameter(torch.zeros(n_regions)),
        )
        with torch.no_grad():
            self.out.div_(hidden**0.5)

    def forward(self, maps: Tensor) -> Tensor:
        """Maps (B, R) -> verdicts (B, R)."""
        states = F.leaky_relu(maps[..., None] * self.into + self.into_bias, 0.2)
        return (states * self.out).sum(-1) + self.out_bias


class Adversary:
    """An attention loss that learns: `-log D(a)`, D(a) being the probability that the attention map is a target.

    `observe` is the discriminators' step, `-log D(t) - log(1 - D(a))`; the training loop calls it before the loss, once
    for every batch. The loss is the mean over the verdicts on a map: one, or one for every region that exists.

    Range [0, inf). Where attention and targets have the same distribution, the best discriminators know nothing and the
    loss is log 2; it is not 0 there, nor at an example's own target. It ignores which target belongs to whom, see the
    module's docstring.

    Args:
        discriminator: maps (B, n_regions) -> verdicts (B, 1) or (B, n_regions).
        n_regions: the widest maps it takes; narrower ones are padded with nothing.
        learning_rate: of its optimiser (Adam).
        processes: the connected processes that train it together: gradients are averaged, so that all have the same.
    """

    def __init__(
        self,
        discriminator: nn.Module,
        n_regions: int,
        learning_rate: float = 5e-3,
        processes: Processes | None = None,
    ) -> None:
        self.discriminator, self.n_regions = discriminator, n_regions
        self.processes = processes or Processes()
        self.optimizer = torch.optim.Adam(discriminator.parameters(), learning_rate, betas=(0.5, 0.999), fused=True)

    def __call__(self, attention: Tensor, target: Tensor, exists: Tensor | None = None) -> Tensor:  # noqa: ARG002
        """(B,): how surely each map of `attention` (B, R) is found out. The `target` is not looked at."""
        maps, real = self._seen(attention, exists)
        # The discriminators' weights as constants: this loss is the model's, theirs is `observe`'s.
        weights = {name: value.detach() for name, value in self.discriminator.named_parameters()}
        return self._mean(F.softplus(-functional_call(self.discriminator, weights, (maps,))), real)

    def observe(self, attention: Tensor, target: Tensor, exists: Tensor | None = None, share: float = 1.0) -> Tensor:
        """One step of the discriminators on a batch.

        Args:
            attention, target, exists: as in a call; nothing flows back into the attention.
            share: weight of this process's part of the batch, see `Processes.part`.

        Returns:
            Their loss before the step, `2 log 2` where they know nothing.
        """
        (maps, real), (goals, _) = self._seen(attention.detach(), exists), self._seen(target, exists)
        wrong = F.softplus(self.discriminator(maps)) + F.softplus(-self.discriminator(goals))
        loss = self._mean(wrong, real).mean()
        parameters = list(self.discriminator.parameters())
        gradients = torch.autograd.grad(loss * share, parameters)
        for parameter, gradient in zip(parameters, gradients, strict=True):
            parameter.grad = mean_over_processes(gradient, self.processes)
        self.optimizer.step()
        return loss.detach()

    def _seen(self, maps: Tensor, exists: Tensor | None) -> tuple[Tensor, Tensor]:
        """What discriminators see of maps, (B, n_regions), and which of the regions exist.

        That is log(1 + n a) for n regions: log 2 for uniform maps of any size, so that peaks do not drown the rest.
        """
        width = maps.shape[-1]
        if width > self.n_regions:
            raise ValueError(
                f"the discriminators take maps of up to {self.n_regions} regions, got {width}: "
                "make targets as wide as the widest attention map"
            )
        weight = next(self.discriminator.parameters())
        if (weight.device, weight.dtype) != (maps.device, maps.dtype):  # as they are at the first use
            self.discriminator.to(maps)
        exists = torch.ones_like(maps, dtype=torch.bool) if exists is None else exists
        (maps,) = masked(exists, maps)
        seen = torch.log1p(maps * exists.sum(-1, keepdim=True))
        return tuple(F.pad(one, (0, self.n_regions - width)) for one in (seen, exists))

    @staticmethod
    def _mean(values: Tensor, real: Tensor) -> Tensor:
        """(B,): the mean over verdicts, of those on regions only where the regions exist."""
        if values.shape[-1] == 1:
            return values.squeeze(-1)
        (values,) = masked(real, values)
        return values.sum(-1) / real.sum(-1)


DISCRIMINATORS = {"adversarial_image": ImageDiscriminator, "adversarial_pixel": PixelDiscriminators}


def adversary(name: str, n_regions: int, seed: int, processes: Processes | None = None) -> Adversary:
    """A new adversary called `adversarial_image` or `adversarial_pixel`; `seed` decides its initial weights."""
    with seeded(seed):
        return Adversary(DISCRIMINATORS[name](n_regions), n_regions, processes=processes)
