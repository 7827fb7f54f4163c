"""The search on disk: shard by shard, by any number of processes, to be killed and resumed at any moment.

A shard holds the surrogates of a fixed number of examples, in the order of the split. What is in a shard depends on
these examples alone, so the files are the same bytes whether one process wrote them or many, in one go or in ten. That
holds for one device, one number of threads and one number of variants per chunk, on which rounding depends.
"""

from __future__ import annotations

import hashlib
import json
import platform
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path

import torch
from torch import Tensor, nn
from tqdm.auto import tqdm

from ssan.checkpoint import config_hash, write_atomically
from ssan.data.task import Split
from ssan.distributed import Processes
from ssan.regions import Regions, default_regions
from ssan.samplers import Sampler
from ssan.search import checked, find_surrogates
from ssan.selectors import make_selector
from ssan.surrogates import Surrogates, concatenate, peek

MANIFEST = "search.json"


def search_to_disk(
    model_or_teachers: nn.Module | Sequence[nn.Module],
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
    device: torch.device | str = "cpu",
    show_progress: bool = False,
) -> list[Path]:
    """Find the surrogates of `split` and keep them in `folder`; shards that are there already are not searched again.

    Example:
        >>> search_to_disk(baseline, task.train, Pairs(), "runs/trec")          # killed? run it again
        >>> found = load_surrogates("runs/trec")

    Args:
        model_or_teachers, sampler, selector, score, regions, tie_tolerance, accelerate, autocast: as in
            `find_surrogates`; they and the examples, the weights, the kind of device and the versions of torch and ssan
            are written down, and a folder made from anything else is refused.
        perturbations_per_eval: as in `find_surrogates`.
        split: the examples.
        folder: where to; made if it is not there. One folder for one search.
        examples_per_shard: at least 1.
        processes: which process of how many this is: each takes every `world`-th shard, without talking to the others.
        device: where to search; models are moved there.
        show_progress: show a progress bar over this process's shards.

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
    teachers = checked(model_or_teachers, selector, score, perturbations_per_eval)
    for teacher in teachers:
        teacher.to(device)
    if regions is None:
        regions = getattr(teachers[0], "regions", None) or default_regions(split.select(torch.arange(1)))
    options = {"selector": selector, "score": score, "tie_tolerance": tie_tolerance}
    options |= {"accelerate": accelerate, "autocast": autocast, "regions": regions}
    header = {
        "examples": ids_hash(split.ids),
        "n_examples": len(split),
        "examples_per_shard": examples_per_shard,
        "checkpoint": [weights_hash(teacher) for teacher in teachers],
        "sampler": repr(sampler),
        "seed": getattr(sampler, "seed", None),
        "selector": repr(make_selector(selector)),
        "score": score,
        "regions": repr(regions),
        "config": config_hash(options),
        "device": torch.device(device).type,
        "versions": _versions(),
    }
    _claim(folder, header)
    shards = _shards(folder, header, split.ids)
    with tqdm(processes.share(shards), unit="shard", disable=not show_progress) as own:
        for path, rows, expected in own:
            if path.exists():
                _check(path, expected, split.ids[rows])
                continue
            for left in path.parent.glob(f"{path.name}*.part"):  # by a process that was killed while it wrote
                left.unlink(missing_ok=True)
            batch = split.select(rows).to(device)
            found = find_surrogates(teachers, batch, sampler, perturbations_per_eval=perturbations_per_eval, **options)
            try:
                found.save(path, expected)
            except OSError as error:
                done = sum(other.exists() for other, _, _ in shards)
                raise OSError(
                    error.errno,
                    f"cannot write {path.name}, {done} of {len(shards)} shards are whole: make room and run the same "
                    f"search again ({error.strerror})",
                    str(folder),
                ) from error
    return [path for path, _, _ in shards]


def load_surrogates(folder: str | Path) -> Surrogates:
    """All surrogates of a finished search, in the order of the split.

    Raises:
        FileNotFoundError: if there is no search, or it is not finished, with the shards that are missing.
        ValueError: if a shard is damaged or belongs to another search.
    """
    folder = Path(folder)
    if not (folder / MANIFEST).exists():
        raise FileNotFoundError(f"{folder} holds no search: it has no {MANIFEST}")
    header = json.loads((folder / MANIFEST).read_text())
    n_shards = _n_shards(header)
    paths = [folder / _name(number, n_shards) for number in range(n_shards)]
    missing = [path.name for path in paths if not path.exists()]
    if missing:
        raise FileNotFoundError(
            f"{len(missing)} of {n_shards} shards are missing in {folder}, the first is {missing[0]}: "
            "run the same search again, it goes on where it stopped"
        )
    found = concatenate([Surrogates.load(path, header | {"shard": i}) for i, path in enumerate(paths)])
    if ids_hash(found.ids) != header["examples"]:
        raise ValueError(f"the shards in {folder} do not add up to the examples that were searched: delete the folder")
    return found


def ids_hash(ids: Tensor) -> str:
    """Sixteen hex digits that change whenever an id or the order of ids does."""
    return hashlib.sha256(ids.cpu().contiguous().numpy().tobytes()).hexdigest()[:16]


def weights_hash(model: nn.Module) -> str:
    """Sixteen hex digits that change whenever a name, shape, type or bit of the model's weights does."""
    digest = hashlib.sha256()
    for name, value in sorted(model.state_dict().items()):
        digest.update(f"{name} {tuple(value.shape)} {value.dtype}".encode())
        digest.update(value.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()[:16]


def _versions() -> str:
    return f"python {platform.python_version()} ssan {version('ssan')} torch {torch.__version__}"


def _n_shards(header: dict) -> int:
    return -(-header["n_examples"] // header["examples_per_shard"])


def _name(number: int, n_shards: int) -> str:
    return f"shard-{number:05d}-of-{n_shards:05d}.safetensors"


def _shards(folder: Path, header: dict, ids: Tensor) -> list[tuple[Path, Tensor, dict]]:
    """(file, rows of the split, header) of every shard."""
    rows = torch.arange(len(ids)).split(header["examples_per_shard"])
    return [(folder / _name(number, len(rows)), own, header | {"shard": number}) for number, own in enumerate(rows)]


def _claim(folder: Path, header: dict) -> None:
    """Write down what `folder` is for, or make sure that it is for this."""
    path = folder / MANIFEST
    if not path.exists():
        # Several processes may get here at once; they write the same bytes.
        write_atomically(path, (json.dumps(header, indent=1, sort_keys=True) + "\n").encode())
        return
    try:
        found = json.loads(path.read_text())
    except json.JSONDecodeError as error:
        raise ValueError(f"{path} is not a search's description ({error}): use another folder") from error
    different = [name for name in sorted(header.keys() | found.keys()) if header.get(name) != found.get(name)]
    if different:
        told = "; ".join(f"{name} was {found.get(name)!r}, is now {header.get(name)!r}" for name in different)
        raise ValueError(f"{folder} holds another search ({told}): use another folder, or delete it to search again")


def _check(path: Path, expected: dict, ids: Tensor) -> None:
    """A glance at a finished shard: whole, of this search, of these examples. Its maps are not read."""
    found, found_ids = peek(path)
    if found != expected or not torch.equal(found_ids, ids.cpu()):
        raise ValueError(f"{path} belongs to another search: delete it to search again, or use another folder")
