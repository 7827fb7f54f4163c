"""The search on disk: shard by shard, by any number of processes, to be killed and resumed at any moment.

A shard holds the surrogates of a fixed number of examples, in the order of the split. What is in a shard depends on
these examples alone, so the files are the same bytes whether one process wrote them or many, in one go or in ten. That
holds for one device, one number of threads and one number of variants per chunk, on which rounding depends.
"""

from __future__ import annotations

import hashlib
import platform
from collections.abc import Iterator, Sequence
from importlib.metadata import version
from pathlib import Path

import torch
from torch import Tensor
from tqdm.auto import tqdm

from ssan.attention import AttentionModel
from ssan.files import config_hash, read_json, weights_hash, write_json
from ssan.regions import Regions
from ssan.runtime import Processes
from ssan.samplers import Sampler
from ssan.search.find import check_search, find_surrogates, regions_of
from ssan.search.surrogates import Surrogates, concatenate
from ssan.selectors import make_selector
from ssan.task import Split

MANIFEST = "search.json"


def search_to_disk(
    model_or_teachers: AttentionModel | Sequence[AttentionModel],
    split: Split,
    sampler: Sampler,
    folder: str | Path,
    *,
    selector: str = "best",
    score: str = "logit",
    regions: Regions | None = None,
    tie_tolerance: float | None = None,
    accelerate: bool = True,
    autocast: torch.dtype | None = None,
    perturbations_per_eval: int | None = None,
    examples_per_shard: int = 1024,
    processes: Processes | None = None,
    device: torch.device | str = "auto",
    show_progress: bool = False,
) -> list[Path]:
    """Find the surrogates of `split` and keep them in `folder`; shards that are there already are not searched again.

    Example:
        >>> ssan.search_to_disk(baseline, task.train, ssan.Pairs(), "runs/trec")          # killed? run it again
        >>> surrogates = ssan.load_surrogates("runs/trec")

    Args:
        model_or_teachers, sampler, selector, score, regions, tie_tolerance, accelerate, autocast: as in
            `find_surrogates`; they and the examples, the weights, the kind of device and the versions of torch and ssan
            are written down, and a folder made from anything else is refused.
        split: the examples.
        folder: where to; made if it is not there. One folder for one search.
        perturbations_per_eval, device, show_progress: as in `find_surrogates`.
        examples_per_shard: at least 1.
        processes: which process of how many this is: each takes every `world`-th shard, without talking to the others.

    Returns:
        The files of all shards, this process's and others', in order.

    Raises:
        ValueError: if the folder holds another search, a shard is damaged, or as `find_surrogates`.
        OSError: if a shard cannot be written. Finished shards stay, and the same call goes on behind them.
    """
    if examples_per_shard < 1:
        raise ValueError(f"examples_per_shard must be at least 1, got {examples_per_shard}")
    if not len(split):
        raise ValueError("search_to_disk got a split without examples")
    processes, folder = processes or Processes(), Path(folder)
    teachers = check_search(model_or_teachers, selector, score, perturbations_per_eval, tie_tolerance)
    device = processes.device(device)
    options = {"selector": selector, "score": score, "tie_tolerance": tie_tolerance, "accelerate": accelerate}
    options |= {"autocast": autocast, "regions": regions or regions_of(teachers, split)}
    header = {
        "examples": _ids_hash(split.ids),
        "n_examples": len(split),
        "examples_per_shard": examples_per_shard,
        "checkpoint": [weights_hash(teacher) for teacher in teachers],
        "sampler": repr(sampler),
        "selector": repr(make_selector(selector)),
        "score": score,
        "regions": repr(options["regions"]),
        "config": config_hash(options),
        "device": device.type,
        "versions": f"python {platform.python_version()} ssan {version('ssan')} torch {torch.__version__}",
    }
    _claim(folder, header)
    paths = list(_paths(folder, header))
    shards = list(enumerate(zip(paths, torch.arange(len(split)).split(examples_per_shard), strict=True)))
    for number, (path, rows) in tqdm(processes.share(shards), unit="shard", disable=not show_progress):
        if path.exists():
            Surrogates.load(path, header | {"shard": number})  # whole, and of this search?
            continue
        options |= {"perturbations_per_eval": perturbations_per_eval, "device": device}
        surrogates = find_surrogates(teachers, split.select(rows), sampler, **options)
        try:
            surrogates.save(path, header | {"shard": number})
        except OSError as error:
            whole = f"{sum(each.exists() for each in paths)} of {len(paths)} shards are whole"
            message = f"{error.strerror}; {whole}: make room and run the same search again"
            raise OSError(error.errno, message, str(path)) from error
    return paths


def load_surrogates(folder: str | Path) -> Surrogates:
    """All surrogates of a finished search, in the order of the split.

    Raises:
        FileNotFoundError: if there is no search, or it is not finished, with the first shard that is missing.
        ValueError: if a file is damaged or belongs to another search.
    """
    folder = Path(folder)
    if not (folder / MANIFEST).exists():
        raise FileNotFoundError(f"{folder} holds no search: it has no {MANIFEST}")
    header = read_json(folder / MANIFEST)
    try:
        missing = next((path for path in _paths(folder, header) if not path.exists()), None)
    except (KeyError, TypeError, ZeroDivisionError) as error:
        raise ValueError(f"{folder / MANIFEST} does not describe a search ({error!r}): delete the folder") from error
    if missing is not None:
        n = len(list(folder.glob("shard-*.safetensors")))
        raise FileNotFoundError(
            f"{folder} holds {n} of {missing.stem.split('-')[-1]} shards, the first that is missing is {missing.name}: "
            "run the same search again, it goes on where it stopped"
        )
    paths = enumerate(_paths(folder, header))
    surrogates = concatenate([Surrogates.load(path, header | {"shard": number}) for number, path in paths])
    if _ids_hash(surrogates.ids) != header["examples"]:
        raise ValueError(f"the shards in {folder} do not add up to the examples that were searched: delete the folder")
    return surrogates


def _ids_hash(ids: Tensor) -> str:
    return hashlib.sha256(ids.cpu().contiguous().numpy().tobytes()).hexdigest()[:16]


def _paths(folder: Path, header: dict) -> Iterator[Path]:
    n_shards = -(-header["n_examples"] // header["examples_per_shard"])
    return (folder / f"shard-{number:05d}-of-{n_shards:05d}.safetensors" for number in range(n_shards))


def _claim(folder: Path, header: dict) -> None:
    """Write down what `folder` is for, or make sure that it is for this."""
    path = folder / MANIFEST
    if not path.exists():
        # Several processes may get here at once; they write the same bytes.
        write_json(path, header)
        return
    written = read_json(path)
    different = [name for name in sorted(header.keys() | written.keys()) if header.get(name) != written.get(name)]
    if different:
        changes = "; ".join(f"{name} was {written.get(name)!r}, is now {header.get(name)!r}" for name in different)
        raise ValueError(f"{folder} holds another search ({changes}): use another folder, or delete it to search again")
