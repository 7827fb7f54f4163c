"""What a run depends on beside its inputs: the device, the seed of global generators, how many processes there are."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TypeVar

import torch
import torch.distributed
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from ssan.samplers.rng import check_seed

T = TypeVar("T")


def pick_device(device: str | torch.device = "auto") -> torch.device:
    """`auto` is CUDA where there is one, else the CPU; a ValueError if torch knows no such device."""
    if device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        return torch.device(device)
    except (RuntimeError, TypeError) as error:
        raise ValueError(f"unknown device {device!r}: expected 'auto', 'cpu', 'cuda' or 'cuda:N'") from error


@contextmanager
def seeded(seed: int, device: torch.device | str = "cpu") -> Iterator[None]:
    """Inside, the CPU's generator, and that of `device` if it is a CUDA device, start from `seed`.

    Afterwards they are as they were, and no other device's is ever touched. Needed because layers initialise
    themselves and drop out from the global generators and take no others. The seed is any int64.
    """
    device, seed = torch.device(device), check_seed(seed)
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        # Not torch.manual_seed: that seeds every device there is, and for good.
        torch.default_generator.manual_seed(seed)
        if device.type == "cuda":
            with torch.cuda.device(device):
                torch.cuda.manual_seed(seed)
        yield


@dataclass(frozen=True)
class Processes:
    """This process among its like: number `rank` of `world`, and `local_rank` on its machine, which names its GPU."""

    rank: int = 0
    world: int = 1
    local_rank: int = 0

    def __post_init__(self) -> None:
        if not 0 <= self.rank < self.world:
            raise ValueError(f"rank must be in [0, {self.world}), got {self.rank}")

    @classmethod
    def from_environment(cls) -> Processes:
        """What torchrun set in RANK, WORLD_SIZE and LOCAL_RANK; without torchrun there is one process."""
        variables = (("RANK", 0), ("WORLD_SIZE", 1), ("LOCAL_RANK", 0))
        return cls(*(int(os.environ.get(name) or default) for name, default in variables))

    def device(self, device: str = "auto") -> torch.device:
        """`auto`: this process's CUDA device where there is one, else the CPU. A named device is taken as it is."""
        chosen = pick_device(device)
        return torch.device("cuda", self.local_rank) if chosen == torch.device("cuda") else chosen

    def share(self, items: list[T]) -> list[T]:
        """Every `world`-th of `items`, beginning with number `rank`."""
        return items[self.rank :: self.world]

    def part(self, size: int) -> tuple[slice | list[int], float]:
        """Which places of a batch of `size` this process computes, and what to weigh their mean loss with.

        With this weight the mean over processes is the mean over the batch, whose parts need not be of one size. A
        process for which nothing is left computes the first place with weight 0: all have to take part in every step.
        """
        n = len(range(self.rank, size, self.world))
        if not n:
            return [0], 0.0
        return slice(self.rank, None, self.world), n * self.world / size


@contextmanager
def connected(processes: Processes, device: torch.device) -> Iterator[None]:
    """Inside, the processes can talk: over nccl between CUDA devices, else over gloo. One process needs no one."""
    if processes.world == 1:
        yield
        return
    torch.distributed.init_process_group("nccl" if device.type == "cuda" else "gloo")
    try:
        yield
    finally:
        torch.distributed.destroy_process_group()


def replicated(model: nn.Module, processes: Processes, device: torch.device) -> nn.Module:
    """`model`, started everywhere from the weights of process 0, with gradients that average over processes."""
    if processes.world == 1:
        return model
    return DistributedDataParallel(model, device_ids=[device] if device.type == "cuda" else None)


def mean_over_processes(values: Tensor, processes: Processes) -> Tensor:
    """The mean of `values` over processes, in all of them."""
    if processes.world > 1:
        torch.distributed.all_reduce(values)
    return values / processes.world
