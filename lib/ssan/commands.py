r"""The command lines of the search and of training, alone or under torchrun.

    python -m ssan.training --task trec --n-train all --out runs/baseline.safetensors
    torchrun --nproc-per-node 2 -m ssan.search --task trec --n-train all --checkpoint runs/baseline.safetensors \
        --out runs/found
    torchrun --nproc-per-node 2 -m ssan.training --task trec --n-train all --surrogates runs/found \
        --out runs/supervised.safetensors

Every process runs on one thread unless `--threads` says otherwise, since rounding depends on their number: so one
process and several write the same bytes.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from torch import nn

from ssan.checkpoint import config_hash, load_model, save_model
from ssan.data.task import Task
from ssan.distributed import Processes, connected
from ssan.losses import LOSS_NAMES, prepare_target
from ssan.regions import Regions
from ssan.samplers import HideWindows, KeepK, KeepWindows, Pairs, RandomMasks, Rise, Singles
from ssan.scorer import SCORES
from ssan.search_store import load_surrogates, search_to_disk
from ssan.selectors import SELECTORS
from ssan.training import Supervision, TrainConfig, fit
from ssan.variants import Sampler

SAMPLERS = {
    "pairs": Pairs,
    "singles": Singles,
    "random": RandomMasks,
    "keep_k": KeepK,
    "keep_windows": KeepWindows,
    "hide_windows": HideWindows,
    "rise": Rise,
}


def search(arguments: Sequence[str] | None = None) -> None:
    """`python -m ssan.search`: the surrogates of a task's training split, shard by shard."""
    parser = _parser("ssan.search", "Find surrogates, shard by shard; run it again to go on where it stopped.")
    parser.add_argument("--checkpoint", type=Path, nargs="+", required=True, help="weights; of several, scores average")
    parser.add_argument("--out", type=Path, required=True, help="folder for the shards; one folder per search")
    parser.add_argument("--sampler", choices=SAMPLERS, default="pairs")
    for name, kind, told in (
        ("n-masks", int, "number of random masks"),
        ("keep", float, "probability that a region is kept"),
        ("k", int, "number of regions kept"),
        ("window", int, "side of the windows, in regions"),
        ("stride", int, "distance of the windows"),
        ("cells", int, "steps of RISE's lattice"),
    ):
        parser.add_argument(f"--{name}", type=kind, help=f"of the sampler: {told}")
    parser.add_argument("--mask-seed", dest="sampler_seed", type=int, help="of the sampler: its seed")
    parser.add_argument("--selector", choices=SELECTORS, default="best")
    parser.add_argument("--score", choices=SCORES, default="logit")
    parser.add_argument("--examples-per-shard", type=int, default=1024)
    parser.add_argument("--perturbations-per-eval", type=int, help="variants at once; default: by size")
    parser.add_argument("--autocast", choices=["bfloat16", "float16"], help="run the models in this precision")
    parser.add_argument("--plain", action="store_true", help="run every variant through the model")
    asked = parser.parse_args(arguments)

    def work(processes: Processes, device: torch.device) -> None:
        task, make = _task(asked)
        search_to_disk(
            [_load(path, make(task)) for path in asked.checkpoint],
            task.train,
            make_sampler(asked.sampler, vars(asked) | {"seed": asked.sampler_seed}, task.regions),
            asked.out,
            selector=asked.selector,
            score=asked.score,
            regions=task.regions,
            accelerate=not asked.plain,
            autocast=getattr(torch, asked.autocast) if asked.autocast else None,
            perturbations_per_eval=asked.perturbations_per_eval,
            examples_per_shard=asked.examples_per_shard,
            processes=processes,
            device=device,
            show_progress=processes.rank == 0,
        )

    _run(asked, work)


def train(arguments: Sequence[str] | None = None) -> None:
    """`python -m ssan.training`: a model of a task, without or with supervision of its attention."""
    parser = _parser("ssan.training", "Train the model of a task; with --surrogates, supervise its attention.")
    parser.add_argument("--out", type=Path, required=True, help="file for the weights")
    parser.add_argument("--surrogates", type=Path, help="folder that ssan.search wrote for the same task and seed")
    parser.add_argument("--loss", choices=LOSS_NAMES, default="kl", help="of the attention")
    parser.add_argument("--weight", type=float, default=0.2, help="of the attention loss")
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--batch-size", type=int, default=32, help="examples per step, over all processes")
    parser.add_argument("--learning-rate", type=float, default=2e-3)
    parser.add_argument("--keep", choices=["best", "last"], default="best")
    asked = parser.parse_args(arguments)

    def work(processes: Processes, device: torch.device) -> None:
        task, make = _task(asked)
        config = TrainConfig(asked.epochs, asked.batch_size, asked.learning_rate, keep=asked.keep, seed=asked.seed)
        supervision = None
        if asked.surrogates is not None:
            supervision = _supervision(asked.surrogates, task, asked.loss, asked.weight)
        model = make(task)
        with connected(processes, device):
            fitted = fit(model, task, config, supervision, device=device, processes=processes, show_progress=True)
        if processes.rank == 0:
            targets = None if supervision is None else [asked.surrogates.name, asked.loss, asked.weight]
            save_model(asked.out, model, config_hash(config, task.fingerprint(), targets))
            print(json.dumps(fitted.history[-1] if fitted.history else {}))

    _run(asked, work)


def make_sampler(name: str, options: dict[str, object], regions: Regions) -> Sampler:
    """The sampler called `name`, with those of the `options` that it takes and that are given.

    Raises:
        ValueError: if it needs an option that is not given, or has no use for one that is.
    """
    kind = SAMPLERS[name]
    fields = {field.name: field for field in dataclasses.fields(kind)}
    required = [name for name, field in fields.items() if field.default is dataclasses.MISSING]
    known = {field.name for sampler in SAMPLERS.values() for field in dataclasses.fields(sampler)} - {"grid"}
    given = {option: value for option, value in options.items() if option in known and value is not None}
    useless = sorted(given.keys() - fields.keys())
    missing = [name for name in required if name not in given]
    if useless or missing:
        told = [f"takes no {option}" for option in useless] + [f"needs {option}" for option in missing]
        raise ValueError(f"the sampler {name!r} {', '.join(told)}")
    grid = {"grid": regions.grid} if "grid" in fields and hasattr(regions, "grid") else {}
    return kind(**given, **grid)


def _parser(name: str, description: str) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog=f"python -m {name}", description=description)
    parser.add_argument("--task", required=True, help="a task of the study, see ssan.study")
    parser.add_argument(
        "--n-train", type=_number_or_all, help="a number drawn by --seed, or `all`; default: the study's"
    )
    parser.add_argument("--seed", type=int, default=0, help="of that draw, initial weights and batch order")
    parser.add_argument("--task-options", type=json.loads, default={}, help="JSON: more of the task's loader")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda or cuda:N")
    parser.add_argument("--threads", type=int, default=1, help="of every process; default: 1")
    return parser


def _number_or_all(value: str) -> int | str:
    return value if value == "all" else int(value)


def _run(asked: argparse.Namespace, work: Callable[[Processes, torch.device], None]) -> None:
    torch.set_num_threads(asked.threads)
    try:
        processes = Processes.from_environment()
        work(processes, processes.device(asked.device))
    except (ValueError, OSError) as error:
        raise SystemExit(f"error: {error}") from error


def _task(asked: argparse.Namespace) -> tuple[Task, Callable[[Task], nn.Module]]:
    """The task, and what makes a model for it; as the study has them."""
    from ssan.study import load_task, make_model, plan  # the study imports the search

    settings = plan(asked.task, "full").settings
    options = tuple((dict(settings.task_options) | asked.task_options).items())
    n_train = settings.n_train if asked.n_train is None else None if asked.n_train == "all" else asked.n_train
    settings = dataclasses.replace(settings, n_train=n_train, task_options=options)
    return load_task(settings, asked.seed), lambda task: make_model(settings, task, asked.seed)


def _load(path: Path, model: nn.Module) -> nn.Module:
    try:
        with safe_open(path, framework="pt") as file:
            trained_from = (file.metadata() or {}).get("trained_from")
    except SafetensorError as error:
        raise ValueError(f"{path} is not a whole checkpoint ({error}): train again") from error
    return load_model(path, model, trained_from)


def _supervision(folder: Path, task: Task, loss: str, weight: float) -> Supervision:
    found = load_surrogates(folder)
    n = task.regions.count(task.train.select(torch.arange(len(task.train))))
    exists = torch.arange(found.attention.shape[1]) < n[:, None] if len(n) == len(found) else None
    target = found.attention if exists is None else prepare_target(found.attention, exists)
    return Supervision(found.ids, target, loss, weight)
