"""The data sets, each as a `Task`; torchtext, torchvision and pandas are imported when one is loaded."""

from __future__ import annotations

import importlib

from ssan.task import Task

# Task -> module and function that load it.
TASKS = {
    "trec": ("ssan.data.text", "trec_task"),
    "movie": ("ssan.data.text", "movie_task"),
    "trec_minilm": ("ssan.data.minilm", "trec_minilm_task"),
    "movie_minilm": ("ssan.data.minilm", "movie_minilm_task"),
    "shapes": ("ssan.data.vqa", "shapes_task"),
    "cluttered_fashion": ("ssan.data.image", "cluttered_fashion_task"),
}


def load_task(name: str, *, n_train: int | None = None, seed: int = 0, **options: object) -> Task:
    """A data set by name; what is not there is fetched.

    Args:
        name: `trec`, `movie` (text), `trec_minilm`, `movie_minilm` (the same for a pretrained transformer),
            `cluttered_fashion` (images), `shapes` (questions).
        n_train: number of training examples (of `shapes`: images), nested for one seed; None takes all there are, of
            generated data the loader's default.
        seed: names the training subset; of generated data, the data.
        **options: further arguments of the loader, see `ssan.data.text`, `ssan.data.minilm`, `ssan.data.vqa`
            and `ssan.data.image`.

    Raises:
        ValueError: if there is no such task, or as its loader.
        FetchError: if its files cannot be had.
    """
    if name not in TASKS:
        raise ValueError(f"unknown task {name!r}: expected one of {', '.join(TASKS)}")
    module, function = TASKS[name]
    try:
        load = getattr(importlib.import_module(module), function)
    except ModuleNotFoundError as error:
        extra = "study,hf" if name.endswith("_minilm") else "study"
        raise ModuleNotFoundError(f"the task {name!r} needs {error.name}: pip install 'ssan[{extra}]'") from error
    return load(**({} if n_train is None else {"n_train": n_train}), seed=seed, **options)
