"""The study: conditions x seeds -> rows. Resumable at any moment, deterministic per seed.

    python -m ssan.study                      # the profile in SSAN_PROFILE (default: `default`)
    python -m ssan.study --profile full --tasks trec movie --workers 2

Without `--tasks` these are `MAIN_TASKS` and a pretrained transformer on TREC, or on movie where TREC cannot be had.

Rows are written one by one under `runs/`; a study that was killed goes on where it stopped, and one whose settings
changed starts anew beside the old. When all rows of a task are there they become `figures/results/PROFILE/TASK.csv`.
"""

from __future__ import annotations

import argparse
import functools
import multiprocessing
import os
import threading
from collections.abc import Iterator
from concurrent.futures import FIRST_EXCEPTION, ProcessPoolExecutor, wait
from contextlib import contextmanager, suppress
from multiprocessing.connection import Connection
from pathlib import Path

import pandas as pd
import torch
from tqdm.auto import tqdm

from ssan.data import load_task
from ssan.data.fetching import FetchError, fetch
from ssan.files import config_hash, write_atomically
from ssan.models import make_model
from ssan.study.examples import changed_examples, save_examples, target_examples
from ssan.study.experiment import Experiment
from ssan.study.measure import epoch_rows
from ssan.study.plans import MAIN_TASKS, PROFILES, Plan, plan, profile_name
from ssan.study.report import report

ROOT = Path(__file__).resolve().parents[3]
# Tasks of which single examples are shown in figures.
SHOWN_TASKS = ("trec", "movie", "shapes", "cluttered_fashion")


def open_experiment(
    study: Plan, seed: int, profile: str, runs: Path = ROOT / "runs", device: str = "auto"
) -> Experiment:
    """One seed of a plan, with its folder under `runs`."""
    settings = study.settings
    task = load_task(settings.task, n_train=settings.n_train, seed=seed, **dict(settings.task_options))
    new = functools.partial(make_model, **dict(settings.model))
    return Experiment(settings, seed, task, new, _folder(study, profile, runs) / f"seed-{seed}", device)


def run_seed(study: Plan, seed: int, profile: str, runs: Path, device: str = "auto") -> list[dict[str, object]]:
    """All rows of one seed, in order; those made before are read."""
    # More threads than one gain nothing on models this small, and two seeds run side by side.
    torch.set_num_threads(1)
    cells = [(name, start, {}) for name, start in study.units]
    cells += [(cell.condition, cell.start, {"axis": cell.axis, "value": cell.value}) for cell in study.variations]
    experiment = open_experiment(study, seed, profile, runs, device)
    return [experiment.row(condition, start, profile, **named) for condition, start, named in cells]


def _end_with(study: Connection) -> None:
    """End this process, whatever it is doing, as soon as the other end of the pipe is closed, or its owner is dead."""

    def wait_for_the_end() -> None:
        with suppress(EOFError, OSError):
            study.recv_bytes()
        os._exit(1)

    threading.Thread(target=wait_for_the_end, daemon=True).start()


@contextmanager
def _closed_on_errors(end: Connection) -> Iterator[None]:
    try:
        yield
    except BaseException:
        end.close()
        raise


def _folder(study: Plan, profile: str, runs: Path) -> Path:
    return runs / profile / f"{study.settings.task}-{config_hash(study.settings)}"


def _rows_made(study: Plan, profile: str, runs: Path) -> int:
    folder = _folder(study, profile, runs)
    return sum(len(list((folder / f"seed-{seed}" / "rows").glob("*.json"))) for seed in study.seeds)


def run(
    tasks: list[str],
    profile: str | None = None,
    *,
    workers: int = 1,
    runs: Path = ROOT / "runs",
    results: Path = ROOT / "figures" / "results",
    show_progress: bool = True,
) -> pd.DataFrame:
    """Run what is missing of a study of `tasks`, and collect the rows of all of them.

    Args:
        tasks, profile: see `plan`.
        workers: seeds run side by side, each in a process of its own with one thread.
        runs: where checkpoints, surrogates and single rows are kept.
        results: a CSV per task is written to `results/PROFILE`.
        show_progress: show a bar over rows.
    """
    profile = profile_name(profile)
    plans = {task: plan(task, profile) for task in tasks}
    total = sum((len(study.units) + len(study.variations)) * len(study.seeds) for study in plans.values())
    spawn = multiprocessing.get_context("spawn")
    workers_end, our_end = spawn.Pipe(duplex=False)
    with (
        tqdm(total=total, unit="row", disable=not show_progress) as bar,
        ProcessPoolExecutor(workers, spawn, _end_with, (workers_end,)) as pool,
        _closed_on_errors(our_end),  # else leaving the pool would wait for seeds that are running
    ):
        jobs = {
            pool.submit(run_seed, study, seed, profile, runs): (task, seed)
            for task, study in plans.items()
            for seed in study.seeds
        }
        waiting = set(jobs)
        while waiting:
            done, waiting = wait(waiting, timeout=1, return_when=FIRST_EXCEPTION)
            bar.update(sum(_rows_made(study, profile, runs) for study in plans.values()) - bar.n)
            for job in done:
                job.result()
    tables = []
    for task, study in plans.items():
        made = {seed: job.result() for job, (name, seed) in jobs.items() if name == task}
        tables.append(pd.DataFrame([row for seed in sorted(made) for row in made[seed]]))
        write_atomically(results / profile / f"{task}.csv", tables[-1].to_csv(index=False).encode())
        _write_examples(task, study, profile, runs, results / profile)
    return pd.concat(tables, ignore_index=True)


def _write_examples(task: str, study: Plan, profile: str, runs: Path, folder: Path) -> None:
    """Single examples of the first seed, and single epochs of the first three: the targets are there already."""
    first = open_experiment(study, study.seeds[0], profile, runs)
    if task not in SHOWN_TASKS or "supervised_best" not in study.conditions:
        return
    text = first.train_batch.image is None
    ours, start = ("supervised_importance", study.starts[-1]) if text else ("supervised_ridge", "scratch")
    changed = changed_examples(first, [("supervised_best", start), (ours, start)], n=2 if text else 3)
    targets = target_examples(first, ("supervised_best", ours), n=3 if text else 4)
    save_examples(folder / f"{task}_examples.safetensors", pd.concat([changed, targets], ignore_index=True))
    if profile == "full":
        names = ["baseline", "supervised_best", ours, *(["oracle"] if "oracle" in study.conditions else [])]
        shown = [open_experiment(study, seed, profile, runs) for seed in study.seeds[:3]]
        rows = pd.concat([epoch_rows(each, names) for each in shown], ignore_index=True)
        write_atomically(folder / f"{task}_epochs.csv", rows.to_csv(index=False).encode())


def _default_tasks() -> list[str]:
    """One of each kind. The transformer, whose only seed takes longest, comes first."""
    try:
        fetch("trec")
    except FetchError:
        return ["movie_minilm", *MAIN_TASKS]
    return ["trec_minilm", *MAIN_TASKS]


def main(arguments: list[str] | None = None) -> None:
    """The command line; see the module's docstring."""
    parser = argparse.ArgumentParser(prog="python -m ssan.study")
    parser.add_argument("--profile", choices=PROFILES, help="default: SSAN_PROFILE, else `default`")
    parser.add_argument("--tasks", nargs="+", help="default: one of each kind, see the docstring of ssan.study.run")
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1, help="processes; default: one a core")
    asked = parser.parse_args(arguments)
    print(report(run(asked.tasks or _default_tasks(), asked.profile, workers=asked.workers)))
