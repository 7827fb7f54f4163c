"""The study: conditions x seeds -> rows. Resumable at any moment, deterministic per seed.

    python -m ssan.study                      # the profile in SSAN_PROFILE (default: `default`)
    python -m ssan.study --profile full --tasks trec movie --workers 2

Rows are written one by one under `runs/`; a study that was killed goes on where it stopped, and one whose settings
changed starts anew beside the old. When all rows of a task are there they become `figures/results/PROFILE/TASK.csv`.
"""

from __future__ import annotations

import argparse
import functools
import importlib
import multiprocessing
import os
from concurrent.futures import FIRST_EXCEPTION, ProcessPoolExecutor, wait
from pathlib import Path

import pandas as pd
import torch
from tqdm.auto import tqdm

from ssan.checkpoint import config_hash, write_atomically
from ssan.conditions import condition
from ssan.data.task import Task
from ssan.epochs import epoch_rows
from ssan.experiment import Experiment
from ssan.gallery import surrogate_rows, text_examples
from ssan.gallery_images import image_examples, surrogate_images
from ssan.gallery_losses import loss_maps
from ssan.plans import MAIN_TASKS, PROFILES, Plan, plan, profile_name
from ssan.report import report
from ssan.settings import Settings

__all__ = [
    "PROFILES",
    "Experiment",
    "Plan",
    "Settings",
    "condition",
    "experiment",
    "load_task",
    "make_model",
    "plan",
    "profile_name",
    "run",
]

ROOT = Path(__file__).resolve().parents[2]
# Tasks of which single examples are shown in figures.
GALLERIES = ("trec", "movie", "shapes", "cluttered_fashion")

# Task -> (module and function that load it, module whose `make_model` makes its models).
TASKS = {
    "trec": ("ssan.data.text", "text_task", "ssan.models.text"),
    "movie": ("ssan.data.text", "text_task", "ssan.models.text"),
    "shapes": ("ssan.data.vqa", "shapes_task", "ssan.models.vqa"),
    "easy_vqa": ("ssan.data.easy_vqa", "easy_vqa_task", "ssan.models.vqa"),
    "cluttered_fashion": ("ssan.data.image", "cluttered_fashion_task", "ssan.models.image"),
}


def load_task(settings: Settings, seed: int) -> Task:
    """The task of `settings`, with the training subset (of generated data: the data) that `seed` names."""
    module, function, _ = TASKS[settings.task]
    named = (settings.task,) if function == "text_task" else ()
    load = getattr(importlib.import_module(module), function)
    return load(*named, n_train=settings.n_train, seed=seed, **dict(settings.task_options))


def make_model(settings: Settings, task: Task, seed: int) -> torch.nn.Module:
    """A new model for `task`, as `settings` want it."""
    module = importlib.import_module(TASKS[settings.task][2])
    return module.make_model(task, seed, **dict(settings.model))


def experiment(of: Plan, seed: int, profile: str, runs: Path = ROOT / "runs", device: str = "auto") -> Experiment:
    """One seed of a plan, with its folder under `runs`."""
    task = load_task(of.settings, seed)
    folder = _folder(of, profile, runs) / f"seed-{seed}"
    return Experiment(of.settings, seed, task, functools.partial(make_model, of.settings), folder, device)


def run_seed(of: Plan, seed: int, profile: str, runs: Path, device: str = "auto") -> list[dict[str, object]]:
    """All rows of one seed, in order; those made before are read."""
    # More threads than one gain nothing on models this small, and two seeds run side by side.
    torch.set_num_threads(1)
    parent = multiprocessing.parent_process()
    one, rows = experiment(of, seed, profile, runs, device), []
    others: dict[int, Experiment] = {}
    for name, start in of.units:
        _end_with(parent)
        rows.append(one.row(name, start, profile))
    for cell in of.variations:
        _end_with(parent)
        where = one
        if cell.n_train is not None:
            if cell.n_train not in others:
                others[cell.n_train] = experiment(of.of_size(cell.n_train), seed, profile, runs, device)
            where = others[cell.n_train]
        rows.append(where.row(cell.condition, cell.start, profile, axis=cell.axis, value=cell.value))
    return rows


def _end_with(parent) -> None:
    if parent is not None and not parent.is_alive():
        raise SystemExit("the study was ended; its workers end with it")


def _folder(of: Plan, profile: str, runs: Path) -> Path:
    return runs / profile / f"{of.settings.task}-{config_hash(of.settings)}"


def _rows_made(of: Plan, profile: str, runs: Path) -> int:
    cells = [(of, name, start) for name, start in of.units]
    cells += [(of.of_size(cell.n_train), cell.condition.name, cell.start) for cell in of.variations]
    return sum(
        any((_folder(own, profile, runs) / f"seed-{seed}" / "rows").glob(f"{name}-{start}-*.json"))
        for seed in of.seeds
        for own, name, start in cells
    )


def run(
    tasks: list[str],
    profile: str | None = None,
    *,
    workers: int = 1,
    runs: Path = ROOT / "runs",
    results: Path = ROOT / "figures" / "results",
    show_progress: bool = True,
) -> pd.DataFrame:
    """Run what is missing of a study and collect its rows.

    Args:
        tasks: names of tasks.
        profile: see `profile_name`.
        workers: seeds run side by side, each in a process of its own with one thread.
        runs: where checkpoints, surrogates and single rows are kept.
        results: a CSV per task is written to `results/PROFILE`.
        show_progress: show a progress bar over rows.

    Returns:
        All rows of all tasks.
    """
    profile = profile_name(profile)
    plans = {task: plan(task, profile) for task in tasks}
    total = sum((len(of.units) + len(of.variations)) * len(of.seeds) for of in plans.values())
    with (
        tqdm(total=total, unit="row", disable=not show_progress) as bar,
        ProcessPoolExecutor(workers, mp_context=multiprocessing.get_context("spawn")) as pool,
    ):
        jobs = {
            pool.submit(run_seed, of, seed, profile, runs): (task, seed)
            for task, of in plans.items()
            for seed in of.seeds
        }
        waiting = set(jobs)
        while waiting:
            done, waiting = wait(waiting, timeout=1, return_when=FIRST_EXCEPTION)
            bar.update(sum(_rows_made(of, profile, runs) for of in plans.values()) - bar.n)
            for job in done:
                if job.exception() is not None:
                    pool.shutdown(wait=False, cancel_futures=True)
                    job.result()
    tables = []
    for task in plans:
        found = {seed: job.result() for job, (name, seed) in jobs.items() if name == task}
        rows = pd.DataFrame([row for seed in sorted(found) for row in found[seed]])
        write_atomically(results / profile / f"{task}.csv", rows.to_csv(index=False).encode())
        tables.append(rows)
        if any(cell.varies_loss for cell in plans[task].variations):
            maps = loss_maps(experiment(plans[task], plans[task].seeds[0], profile, runs), plans[task].variations)
            write_atomically(results / profile / f"{task}_maps.csv", maps.to_csv(index=False).encode())
        if task in GALLERIES and "supervised_best" in plans[task].conditions:
            few = 3 if profile == "full" else 1
            shown = [experiment(plans[task], seed, profile, runs) for seed in plans[task].seeds[:few]]
            _write_gallery(shown, results / profile)
    return pd.concat(tables, ignore_index=True)


def _write_gallery(shown: list[Experiment], folder: Path) -> None:
    """Rows of single examples of the first seed, and of single epochs of all: the targets are there already."""
    one = shown[0]
    name = one.task.name
    if one.train_batch.image is None:
        conditions = [("supervised_best", "continued"), ("supervised_importance", "continued")]
        kinds = {"examples": text_examples(one, conditions), "surrogates": surrogate_rows(one)}
    else:
        conditions = [("supervised_best", "scratch"), ("supervised_ridge", "scratch")]
        kinds = {"images": image_examples(one, conditions), "variants": surrogate_images(one)}
    if len(shown) > 1:
        ours = "supervised_importance" if one.train_batch.image is None else "supervised_ridge"
        ceiling = [] if one.train_batch.boxes is None else ["oracle"]
        names = ["baseline", "supervised_best", ours, *ceiling]
        kinds["epochs"] = pd.concat([epoch_rows(each, names) for each in shown], ignore_index=True)
    for kind, rows in kinds.items():
        write_atomically(folder / f"{name}_{kind}.csv", rows.to_csv(index=False).encode())


def main(arguments: list[str] | None = None) -> None:
    """The command line; see the module's docstring."""
    parser = argparse.ArgumentParser(prog="python -m ssan.study", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--profile", choices=PROFILES, help="default: SSAN_PROFILE, else `default`")
    parser.add_argument("--tasks", nargs="+", default=list(MAIN_TASKS), help="default: %(default)s")
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1, help="processes; default: one a core")
    asked = parser.parse_args(arguments)
    print(report(run(asked.tasks, asked.profile, workers=asked.workers)))


if __name__ == "__main__":
    main()
