"""Files that are whole or not there, and say in a header what they were made from and the SHA-256 of what they hold."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from filelock import FileLock
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

_HALF = ".ssan.part"  # ends the names of files that are being written


def config_hash(*configs: Any) -> str:
    """Twelve hex digits that change whenever any of the (frozen dataclass) configs, strings or numbers does."""

    def plain(value: Any) -> Any:
        if dataclasses.is_dataclass(value):
            fields = {f.name: getattr(value, f.name) for f in dataclasses.fields(value)}
            return {"class": type(value).__name__, **fields}
        return repr(value)

    text = json.dumps(configs, sort_keys=True, default=plain)
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def weights_hash(model: nn.Module) -> str:
    """Sixteen hex digits that change whenever a name, shape, type or bit of the model's weights does."""
    return _sha256({}, model.state_dict())[:16]


def _sha256(content: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> str:
    digest = hashlib.sha256(json.dumps(content, sort_keys=True).encode() if content else b"")
    for name, value in sorted(tensors.items()):
        digest.update(f"{name} {tuple(value.shape)} {value.dtype}".encode())
        digest.update(value.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def write_atomically(path: Path, blob: bytes) -> None:
    """Write `blob` to `path`: whole or not at all, whenever the process ends. An OSError names the file that stays."""
    half = path.with_name(path.name + _HALF)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        # Who holds the lock is the only one who writes here: what is half written was left by a process that died.
        with FileLock(path.parent / ".lock"):
            for left in path.parent.glob(f"*{_HALF}"):
                left.unlink()
            try:
                with half.open("xb") as file:
                    file.write(blob)
                    file.flush()
                    os.fsync(file.fileno())
                os.replace(half, path)
            except BaseException:
                half.unlink(missing_ok=True)
                raise
    except OSError as error:
        raise OSError(error.errno, f"cannot write this file, {error.strerror}", str(path)) from error


def _sealed(content: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> str:
    """`content` as JSON, and in it the SHA-256 of `content` and `tensors`."""
    return json.dumps({**content, "sha256": _sha256(content, tensors)}, sort_keys=True, indent=1)


def _unsealed(text: str, tensors: Mapping[str, Tensor]) -> dict[str, Any]:
    content = dict(json.loads(text))
    if content.pop("sha256") != _sha256(content, tensors):
        raise ValueError("what it holds has another SHA-256 than was written down")
    return content


@contextmanager
def _named(path: str | Path) -> Iterator[None]:
    """Whatever is wrong with what is in a file is said in the same words."""
    try:
        yield
    except (SafetensorError, AttributeError, KeyError, RecursionError, TypeError, ValueError) as error:
        what = f"{type(error).__name__}: {error}"
        raise ValueError(f"{path} is not a whole file of this version ({what}): delete it and make it again") from error


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    """Write a JSON object, atomically, and in it the SHA-256 of the rest."""
    write_atomically(path, f"{_sealed(content, {})}\n".encode())


def read_json(path: Path) -> dict[str, Any]:
    """What `write_json` wrote; a ValueError that names the file if it was changed since."""
    with _named(path):
        return _unsealed(path.read_text(), {})


def save_tensors(path: str | Path, tensors: Mapping[str, Tensor], notes: Mapping[str, Any]) -> None:
    """Write a safetensors file, atomically; in its header `notes`, as JSON, and the SHA-256 of them and the tensors."""
    # Cloned, because safetensors refuses tensors that share memory. One entry: it writes several in no fixed order.
    like = torch.contiguous_format
    alone = {name: value.detach().cpu().clone(memory_format=like) for name, value in tensors.items()}
    write_atomically(Path(path), safetensors.torch.save(alone, metadata={"ssan": _sealed(notes, alone)}))


def load_tensors(path: str | Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """The tensors and notes that `save_tensors` wrote; a ValueError that names the file if a bit was changed since."""
    with _named(path), safe_open(path, framework="pt") as file:
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        return tensors, _unsealed(file.metadata()["ssan"], tensors)


def notes_of(path: str | Path) -> dict[str, Any]:
    """The notes in the header of such a file; nothing else of it is read or checked."""
    with _named(path), safe_open(path, framework="pt") as file:
        return dict(json.loads(file.metadata()["ssan"]))


def save_model(path: str | Path, model: nn.Module, trained_from: str, **notes: str) -> None:
    """Write the weights of `model`, with the hash of what they were `trained_from`, and any notes, in the header."""
    save_tensors(path, model.state_dict(), {"trained_from": trained_from, **notes})


def load_model(path: str | Path, model: nn.Module, trained_from: str) -> nn.Module:
    """Load what `save_model` wrote into `model`, and return it.

    A ValueError names the file if it is damaged, was trained from something else, or does not fit the model.
    """
    state, notes = load_tensors(path)
    if notes.get("trained_from") != trained_from:
        made = f"{path} was trained from config {notes.get('trained_from')}, asked for is {trained_from}"
        raise ValueError(f"{made}: delete it or move it")
    try:
        model.load_state_dict(state)
    except RuntimeError as error:
        raise ValueError(f"{path} does not fit the model; remove it, and it is made anew: {error}") from error
    return model
