"""Data files on demand: `fetch(name)` returns a folder whose files have the right SHA-256, wherever they came from.

Order: the cache, a mirror (`SSAN_DATA_MIRROR`), then the sources of the table in `ssan.data.catalogue`. A file enters
the cache by one rename, after its checksum has been compared, so a killed or failing fetch leaves no half file under a
real name, and callers at the same time wait for each other.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

import pooch
from filelock import FileLock
from tqdm import tqdm

from ssan.data.archives import unpack_zip, unpacked_problem
from ssan.data.catalogue import File, look_up
from ssan.data.sources import Mirror, Source

DIR_VARIABLE = "SSAN_DATA_DIR"
MIRROR_VARIABLE = "SSAN_DATA_MIRROR"
_STAMPS = ".stamps.json"
_STAGING = ".incoming-"


class FetchError(RuntimeError):
    """A data set cannot be had; the message says what was tried and what to do."""


def data_dir(root: str | os.PathLike | None = None) -> Path:
    """The cache: `root`, else `$SSAN_DATA_DIR`, else `.cache/data` in the repository; outside one, the user's cache."""
    chosen = root or os.environ.get(DIR_VARIABLE)
    if chosen:
        return Path(chosen).expanduser().absolute()
    repository = Path(__file__).resolve().parents[3]
    return repository / ".cache/data" if (repository / "pyproject.toml").is_file() else pooch.os_cache("ssan") / "data"


def fetch(name: str, root: str | os.PathLike | None = None, *, verify: bool = False) -> Path:
    """The folder of a data set, complete and checked; what is missing or damaged is fetched first.

    Args:
        name: one of `ssan.data.catalogue.DATA_SETS`.
        root: the cache, see `data_dir`.
        verify: hash cached files again even if size and time of change are those of the last check. Without it,
            truncated and rewritten files are noticed, decay of the disk is not.

    Raises:
        ValueError: on an unknown name.
        FetchError: if the cache cannot be written (before anything is downloaded), or every source failed.
    """
    data_set = look_up(name)
    folder = data_dir(root) / name
    if not problems(folder, data_set.files, verify=verify):
        return folder
    with _staging(folder, name) as staging:
        # Another process may have fetched it while this one waited for its turn.
        wrong = problems(folder, data_set.files, verify=verify)
        for file, problem in wrong.items():
            if problem != "missing":
                _say(f"{folder / file}: {problem}; putting it right")
        absent = {file.name: file for file in data_set.files if file.name in wrong}
        tried = [f"cache {folder}: " + "; ".join(f"{name} {problem}" for name, problem in wrong.items())]
        mirror = _mirror(name)
        tried += [f"mirror: {MIRROR_VARIABLE} is not set"] * (mirror is None)
        for source in (*([] if mirror is None else [mirror]), *data_set.sources):
            if absent:
                _take(source, absent, staging, folder, tried)
        if absent:
            raise FetchError(_advice(name, absent.values(), tried))
        for file in data_set.files:
            if file.unpack and unpacked_problem(folder / file.name, folder / file.unpack, verify=verify):
                unpack_zip(folder / file.name, staging / file.unpack)
                shutil.rmtree(folder / file.unpack, ignore_errors=True)
                os.replace(staging / file.unpack, folder / file.unpack)
    return folder


def state(name: str, root: str | os.PathLike | None = None) -> str:
    """`cached`, `damaged` (cached, but not as it should be), `in mirror` (by name and size) or `missing`.

    Raises:
        ValueError: on an unknown name.
    """
    files = look_up(name).files
    wrong = problems(data_dir(root) / name, files)
    if not wrong:
        return "cached"
    if any(problem != "missing" for problem in wrong.values()):
        return "damaged"
    mirror = _mirror(name)
    there = mirror is not None and all(_size(mirror.path / file.name) == file.bytes for file in files)
    return "in mirror" if there else "missing"


def problems(folder: Path, files: Sequence[File], *, verify: bool = False) -> dict[str, str]:
    """What is wrong with the cached `files`: name -> `missing` or a description. Empty if nothing is.

    A file that was checked before and has the same size and time of change since is not hashed again. A folder of
    unpacked files is named by a `/` at the end.
    """
    stamps = _read_stamps(folder)
    wrong, fresh = {}, {}
    for file in files:
        path = folder / file.name
        size = _size(path)
        if size is None:
            wrong[file.name] = "missing"
        elif size != file.bytes:
            wrong[file.name] = f"has {size} bytes instead of {file.bytes}"
        else:
            stamp = _stamp(path, file)
            if (verify or stamps.get(file.name) != stamp) and (found := pooch.file_hash(str(path))) != file.sha256:
                wrong[file.name] = f"has SHA-256 {found} instead of {file.sha256}"
            else:
                fresh[file.name] = stamp
                if file.unpack and (problem := unpacked_problem(path, folder / file.unpack, verify=verify)):
                    wrong[f"{file.unpack}/"] = problem
    if any(stamps.get(key) != value for key, value in fresh.items()):
        _write_stamps(folder, {**stamps, **fresh})
    return wrong


def _take(source: Source, files: dict[str, File], staging: Path, folder: Path, tried: list[str]) -> None:
    """Moves what `source` has of `files` into the cache and out of `files`; failures are added to `tried`."""
    try:
        source.deliver(list(files), staging)
    except Exception as error:  # Whatever stops one source, the next may work; the reason is reported.
        tried.append(f"{source}: {_short(error)}")
    for name, file in list(files.items()):
        arrived = staging / name
        if _size(arrived) is None:
            continue
        if (found := pooch.file_hash(str(arrived))) != file.sha256:
            arrived.unlink()
            tried.append(f"{source}: {name} has SHA-256 {found} instead of {file.sha256}: refused")
            _say(tried[-1])
            continue
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        os.replace(arrived, folder / name)
        _write_stamps(folder, {**_read_stamps(folder), name: _stamp(folder / name, file)})
        del files[name]


@contextmanager
def _staging(folder: Path, name: str) -> Iterator[Path]:
    """A temporary folder beside the final files, for one process at a time."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=folder).close()
    except OSError as error:
        raise FetchError(
            f"cannot write to the data cache {folder} ({error.strerror or error}), so {name!r} was not fetched. "
            f"What to do: make the folder writable, or set {DIR_VARIABLE} to a folder that is."
        ) from error
    with FileLock(folder / ".lock"):
        for left_over in folder.glob(f"{_STAGING}*"):  # of a process that was killed: it would hold the lock otherwise
            shutil.rmtree(left_over, ignore_errors=True)
        with tempfile.TemporaryDirectory(dir=folder, prefix=_STAGING) as staging:
            yield Path(staging)


def _mirror(name: str) -> Mirror | None:
    path = os.environ.get(MIRROR_VARIABLE)
    return Mirror(Path(path).expanduser().absolute() / name) if path else None


def _stamp(path: Path, file: File) -> list:
    status = path.stat()
    return [status.st_size, status.st_mtime_ns, file.sha256]


def _read_stamps(folder: Path) -> dict[str, list]:
    try:
        stamps = json.loads((folder / _STAMPS).read_text())
    except (OSError, ValueError):
        return {}
    return stamps if isinstance(stamps, dict) else {}


def _write_stamps(folder: Path, stamps: dict[str, list]) -> None:
    # Stamps only save time: a cache that may be read but not written works without them.
    with suppress(OSError), tempfile.NamedTemporaryFile("w", dir=folder, prefix=_STAMPS, delete=False) as out:
        json.dump(stamps, out)
        out.close()
        os.replace(out.name, folder / _STAMPS)


def _size(path: Path) -> int | None:
    try:
        return path.stat().st_size if path.is_file() else None
    except OSError:
        return None


def _advice(name: str, absent: Iterable[File], tried: Sequence[str]) -> str:
    wanted = (f"    {name}/{file.name}  {file.bytes} bytes, SHA-256 {file.sha256}" for file in absent)
    lines = [f"cannot get the data set {name!r}. Tried:", *(f"  - {line}" for line in tried)]
    lines += ["What to do: check the network (proxy, pip's index) and call again, or put", *wanted]
    lines += [f"  into a folder and set {MIRROR_VARIABLE} to that folder."]
    return "\n".join(lines)


def _short(error: Exception) -> str:
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text if len(text) <= 500 else text[:500] + '…'}"


def _say(message: str) -> None:
    tqdm.write(message, file=sys.stderr)
