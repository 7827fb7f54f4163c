"""Taking files out of zip and tar archives without ever leaving the folder they are meant for."""

from __future__ import annotations

import gzip
import shutil
import tarfile
import zipfile
import zlib
from collections.abc import Iterable, Sequence
from contextlib import ExitStack
from pathlib import Path, PurePosixPath
from typing import IO


def leaves_folder(name: str) -> bool:
    """Whether a path in an archive or table points outside the folder it is relative to."""
    path = PurePosixPath(name.replace("\\", "/"))
    return path.is_absolute() or ".." in path.parts


def extract(archive: Path, members: Sequence[str], target: Path) -> None:
    """Writes one file of an archive to `target`, and nothing anywhere else: no path in the archive is followed.

    Args:
        archive: a zip or tar file, compressed or not.
        members: path of the file in the archive; with more parts, all but the last are archives inside the archive;
            empty for the archive itself. A last part that ends in `.gz` is decompressed.
        target: where to write.

    Raises:
        ValueError: if the archive names paths outside its folder (then nothing is taken from it), has no such member,
            or the member is not a regular file.
    """
    with ExitStack() as stack:
        content: IO[bytes] = stack.enter_context(archive.open("rb"))
        for member in members:
            content = stack.enter_context(_open_member(content, member, archive.name, stack))
        if members and members[-1].endswith(".gz"):
            content = stack.enter_context(gzip.GzipFile(fileobj=content))
        write_whole(content, target)


def write_whole(content: IO[bytes], target: Path) -> None:
    """Copies `content` to `target`, which gets its name only when all of it is there."""
    partial = target.with_name(target.name + ".part")
    with partial.open("wb") as out:
        shutil.copyfileobj(content, out)
    partial.rename(target)


def unpack_zip(archive: Path, folder: Path) -> None:
    """Writes all files of a zip archive into `folder`, which is made.

    Raises:
        ValueError: if the archive names a path outside `folder`; nothing is written then.
    """
    with zipfile.ZipFile(archive) as opened:
        _refuse_escapes(opened.namelist(), archive.name)
        folder.mkdir(parents=True)
        opened.extractall(folder)


def unpacked_problem(archive: Path, folder: Path, *, verify: bool = False) -> str | None:
    """What is wrong with `folder` as the content of a zip archive: `missing`, or a description. None if nothing is.

    Args:
        archive: the zip file, taken to be right.
        folder: what `unpack_zip` made of it.
        verify: compare contents (by CRC-32), not only sizes.
    """
    if not folder.is_dir():
        return "missing"
    with zipfile.ZipFile(archive) as opened:
        for entry in opened.infolist():
            path = folder / entry.filename
            if entry.is_dir():
                continue
            if not path.is_file():
                return f"{entry.filename} is missing from {folder.name}/"
            if path.stat().st_size != entry.file_size or (verify and zlib.crc32(path.read_bytes()) != entry.CRC):
                return f"{folder.name}/{entry.filename} is not as in the archive"
    return None


def _open_member(content: IO[bytes], name: str, archive: str, stack: ExitStack) -> IO[bytes]:
    if zipfile.is_zipfile(content):
        unzipped = stack.enter_context(zipfile.ZipFile(content))
        _refuse_escapes(unzipped.namelist(), archive)
        member = unzipped.open(name) if name in unzipped.namelist() else None
    else:
        content.seek(0)
        untarred = stack.enter_context(tarfile.TarFile.open(fileobj=content))
        _refuse_escapes(untarred.getnames(), archive)
        # A link would be followed to another member: only what the table means by name is taken.
        regular = name in untarred.getnames() and untarred.getmember(name).isreg()
        member = untarred.extractfile(name) if regular else None
    if member is None:
        raise ValueError(f"{archive} has no regular file {name!r}")
    return member


def _refuse_escapes(names: Iterable[str], archive: str) -> None:
    if escaping := [name for name in names if leaves_folder(name)]:
        raise ValueError(f"{archive} contains {escaping[0]!r}, which leaves its folder: refused")
