"""Archives give what was asked for and write nowhere else."""

import gzip
import io
import os
import tarfile
import zipfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ssan.data.archives import extract, leaves_folder, unpack_zip, unpacked_problem

ESCAPES = ["../evil", "a/../../evil", "/evil", "..\\evil"]


def zip_of(path: Path, members: dict[str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return path


def tar_of(path: Path, members: dict[str, bytes | str]) -> Path:
    """A tar file; a member whose content is a string is a symbolic link to it."""
    with tarfile.open(path, "w:gz" if path.suffix == ".gz" else "w") as archive:
        for name, content in members.items():
            entry = tarfile.TarInfo(name)
            if isinstance(content, str):
                entry.type, entry.linkname = tarfile.SYMTYPE, content
                archive.addfile(entry)
            else:
                entry.size = len(content)
                archive.addfile(entry, io.BytesIO(content))
    return path


def snapshot(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*")}


@pytest.mark.parametrize(("make", "name"), [(zip_of, "x.zip"), (tar_of, "x.tar"), (tar_of, "x.tar.gz")])
def test_extract_writes_one_member_and_nothing_else(tmp_path, make, name):
    archive = make(tmp_path / name, {"deep/wanted": b"yes", "deep/other": b"no"})
    before = snapshot(tmp_path)
    extract(archive, ["deep/wanted"], tmp_path / "out")
    assert (tmp_path / "out").read_bytes() == b"yes"
    assert snapshot(tmp_path) - before == {"out"}


def test_extract_goes_into_archives_inside_archives_and_decompresses(tmp_path):
    inner = tar_of(tmp_path / "inner.tar.gz", {"text.gz": gzip.compress(b"words")}).read_bytes()
    outer = zip_of(tmp_path / "outer.zip", {"pkg/inner.tar.gz": inner})
    extract(outer, ["pkg/inner.tar.gz", "text.gz"], tmp_path / "text")
    assert (tmp_path / "text").read_bytes() == b"words"


def test_extract_without_members_copies_the_archive(tmp_path):
    archive = zip_of(tmp_path / "x.zip", {"a": b"1"})
    extract(archive, [], tmp_path / "copy")
    assert (tmp_path / "copy").read_bytes() == archive.read_bytes()


@pytest.mark.parametrize("evil", ESCAPES)
@pytest.mark.parametrize(("make", "name"), [(zip_of, "x.zip"), (tar_of, "x.tar.gz")])
def test_archives_that_leave_their_folder_are_refused(tmp_path, make, name, evil):
    (tmp_path / "in").mkdir()
    archive = make(tmp_path / "in" / name, {"wanted": b"yes", evil: b"gotcha"})
    before = snapshot(tmp_path)
    with pytest.raises(ValueError, match=r"evil.*leaves its folder: refused"):
        extract(archive, ["wanted"], tmp_path / "in" / "out")
    if name == "x.zip":
        with pytest.raises(ValueError, match=r"evil.*leaves its folder: refused"):
            unpack_zip(archive, tmp_path / "in" / "unpacked")
    assert snapshot(tmp_path) == before


def test_a_link_is_not_followed(tmp_path):
    (tmp_path / "secret").write_text("secret")
    archive = tar_of(tmp_path / "x.tar", {"inside": b"1", "link": str(tmp_path / "secret"), "near": "inside"})
    for name in ("link", "near", "absent"):
        with pytest.raises(ValueError, match=f"x.tar has no regular file '{name}'"):
            extract(archive, [name], tmp_path / "out")
    assert not (tmp_path / "out").exists()


@settings(max_examples=200, deadline=None)
@given(st.lists(st.sampled_from(["..", ".", "a", "b", "", "/"]), max_size=6).map("/".join))
def test_names_that_pass_stay_inside(name):
    stays = os.path.normpath(os.path.join("/top/folder", name)).startswith("/top/folder")
    assert leaves_folder(name) or stays


def test_unpacking_is_compared_with_the_archive(tmp_path):
    archive, folder = zip_of(tmp_path / "x.zip", {"a/b.txt": b"bee", "a/": b"", "c": b"sea"}), tmp_path / "unpacked"
    assert unpacked_problem(archive, folder) == "missing"
    unpack_zip(archive, folder)
    assert (folder / "a/b.txt").read_bytes() == b"bee"
    assert unpacked_problem(archive, folder, verify=True) is None
    (folder / "c").write_bytes(b"see")
    assert unpacked_problem(archive, folder) is None  # the same size: only contents can tell
    assert "unpacked/c" in unpacked_problem(archive, folder, verify=True)
    (folder / "c").write_bytes(b"se")
    assert "unpacked/c" in unpacked_problem(archive, folder)
    (folder / "a/b.txt").unlink()
    assert "a/b.txt is missing" in unpacked_problem(archive, folder)
