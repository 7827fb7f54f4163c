"""Every kind of source, against a server, an index and a Debian package made on the spot: no network."""

import functools
import gzip
import hashlib
import http.server
import os
import shutil
import subprocess
import threading
from pathlib import Path

import pytest

from ssan.data import sources
from ssan.data.sources import DebianPackage, IndexPackage, Mirror, Url
from tests.data.test_archives import tar_of, zip_of


class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_):
        pass


@pytest.fixture
def served(tmp_path, monkeypatch):
    """A folder, and the address at which a server on this machine shows it."""
    folder = tmp_path / "served"
    folder.mkdir()
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    handler = functools.partial(Quiet, directory=str(folder))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield folder, f"http://127.0.0.1:{server.server_port}/"
        server.shutdown()
        thread.join()


@pytest.fixture
def index(tmp_path, monkeypatch):
    """A folder in which pip finds its packages, and nowhere else."""
    folder = tmp_path / "index"
    folder.mkdir()
    for name in [name for name in os.environ if name.startswith("PIP_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    monkeypatch.setenv("PIP_DISABLE_PIP_VERSION_CHECK", "1")
    return folder


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def package(archive: Path, members: dict[str, tuple[str, ...]], **changes) -> IndexPackage:
    settings = {"sha256": sha256(archive), "bytes": archive.stat().st_size, "wheel": archive.suffix == ".whl"}
    return IndexPackage("toy-data", "1.0", members=members, **{**settings, **changes})


def wheel(folder: Path) -> Path:
    info = "toy_data-1.0.dist-info"
    return zip_of(
        folder / "toy_data-1.0-py3-none-any.whl",
        {
            "toy_data/data/words.txt": b"the words",
            f"{info}/METADATA": b"Metadata-Version: 2.1\nName: toy-data\nVersion: 1.0\n",
            f"{info}/WHEEL": b"Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
            f"{info}/RECORD": b"",
        },
    )


def test_mirror_gives_what_it_has_and_names_what_it_lacks(tmp_path):
    (tmp_path / "mirror/sub").mkdir(parents=True)
    (tmp_path / "mirror/sub/b").write_bytes(b"bee")
    with pytest.raises(FileNotFoundError, match="not there: a"):
        Mirror(tmp_path / "mirror").deliver(["a", "sub/b"], tmp_path / "got")
    assert (tmp_path / "got/sub/b").read_bytes() == b"bee"


def test_url_downloads_each_file(served, tmp_path, capfd):
    folder, address = served
    (folder / "a.txt").write_bytes(b"alpha" * 1000)
    (folder / "b.gz").write_bytes(gzip.compress(b"beta"))
    Url(address).deliver(["sub/a.txt"], tmp_path / "got")
    Url(address, suffix=".gz").deliver(["b"], tmp_path / "got")
    assert (tmp_path / "got/sub/a.txt").read_bytes() == b"alpha" * 1000
    assert (tmp_path / "got/b").read_bytes() == b"beta"
    assert "100%" in capfd.readouterr().err


def test_url_that_fails_leaves_no_file_under_its_name(served, tmp_path):
    folder, address = served
    (folder / "bad.gz").write_bytes(gzip.compress(os.urandom(5000))[:2000])
    with pytest.raises(Exception, match="404"):
        Url(address).deliver(["absent"], tmp_path)
    with pytest.raises(EOFError):
        Url(address, suffix=".gz").deliver(["bad"], tmp_path)
    assert not (tmp_path / "absent").exists()
    assert not (tmp_path / "bad").exists()


def test_wheel_from_an_index(index, tmp_path, capfd):
    archive = wheel(index)
    members = {"words.txt": ("toy_data/data/words.txt",), "kept.whl": ()}
    package(archive, members).deliver(["words.txt", "kept.whl"], tmp_path)
    assert (tmp_path / "words.txt").read_bytes() == b"the words"
    assert (tmp_path / "kept.whl").read_bytes() == archive.read_bytes()
    assert {path.name for path in tmp_path.iterdir()} == {"index", "words.txt", "kept.whl"}  # no work folder is left
    assert "toy-data: 100%" in capfd.readouterr().err


def test_source_archive_from_an_index_runs_only_if_its_hash_is_right(index, tmp_path):
    trace = tmp_path / "setup-was-run"
    setup = f"open({str(trace)!r}, 'w').close()\nfrom setuptools import setup\nsetup(name='toy-data', version='1.0')\n"
    top = "toy-data-1.0"
    members = {
        f"{top}/setup.py": setup.encode(),
        f"{top}/PKG-INFO": b"Metadata-Version: 1.0\nName: toy-data\nVersion: 1.0\n",
        f"{top}/words.txt": b"the words",
    }
    archive = tar_of(index / f"{top}.tar.gz", members)
    wanted = {"words.txt": (f"{top}/words.txt",)}
    with pytest.raises(RuntimeError, match="Expected sha256 0000"):
        package(archive, wanted, sha256="0" * 64).deliver(["words.txt"], tmp_path)
    assert not trace.exists()
    assert not (tmp_path / "words.txt").exists()
    package(archive, wanted).deliver(["words.txt"], tmp_path)
    assert (tmp_path / "words.txt").read_bytes() == b"the words"


class Listing(list):
    """What `os.scandir` returns, read already."""

    def __enter__(self):
        return self

    def __exit__(self, *_):
        pass

    def __next__(self):
        if not self:
            raise StopIteration
        return self.pop(0)


@pytest.mark.parametrize("gone", ["pip-unpack", "words.part"])
def test_what_is_removed_while_it_is_looked_at_does_not_end_a_download(gone, tmp_path, monkeypatch):
    (tmp_path / "pip-unpack").mkdir()
    (tmp_path / "pip-unpack/words.txt").write_bytes(b"the words")
    (tmp_path / "words.part").write_bytes(b"the")
    (tmp_path / "archive").write_bytes(b"all of it")
    before, scandir = sources._total_size(tmp_path), os.scandir

    def scan_and_remove(path):
        """What a folder holds, of which something is gone as soon as it is known."""
        found = Listing(scandir(path))
        if str(path) == str(tmp_path):
            shutil.rmtree(tmp_path / gone) if gone == "pip-unpack" else (tmp_path / gone).unlink()
        return found

    monkeypatch.setattr(os, "scandir", scan_and_remove)
    arrived = sources._total_size(tmp_path)
    assert before == len(b"the words") + len(b"the") + len(b"all of it")
    assert arrived == before - {"pip-unpack": len(b"the words"), "words.part": len(b"the")}[gone]


def test_index_without_the_package_says_so(index, tmp_path):
    archive = wheel(tmp_path)
    assert not list(index.iterdir())
    with pytest.raises(RuntimeError, match=r"status 1: .*No matching distribution found for toy-data==1.0"):
        package(archive, {"words.txt": ("toy_data/data/words.txt",)}).deliver(["words.txt"], tmp_path)


@pytest.fixture
def apt(tmp_path, monkeypatch):
    """A Debian package, and an `apt-get` that delivers it once its lists have been updated somewhere of one's own."""
    if shutil.which("dpkg-deb") is None:
        pytest.skip("no dpkg-deb here")
    tree = tmp_path / "tree"
    (tree / "DEBIAN").mkdir(parents=True)
    (tree / "DEBIAN/control").write_text(
        "Package: toy-data\nVersion: 1\nArchitecture: all\nMaintainer: t <t@example.org>\nDescription: toy\n"
    )
    (tree / "usr/share").mkdir(parents=True)
    (tree / "usr/share/words.gz").write_bytes(gzip.compress(b"the words"))
    deb, tools = tmp_path / "toy.deb", tmp_path / "tools"
    subprocess.run(["dpkg-deb", "--build", tree, deb], check=True, stdout=subprocess.DEVNULL)
    tools.mkdir()
    (tools / "apt-get").write_text(
        f"""#!/bin/sh
echo "$*" >> {tmp_path}/calls
case "$*" in
  update*Dir::State=*) exit 0 ;;
  download*Dir::State=*toy-data) cp {deb} ./toy-data_1_all.deb ;;
  *) echo "E: Unable to locate package" >&2; exit 100 ;;
esac
"""
    )
    (tools / "apt-get").chmod(0o755)
    monkeypatch.setenv("PATH", str(tools), prepend=os.pathsep)
    return tmp_path / "calls"


def test_debian_package_with_lists_of_our_own(apt, tmp_path):
    source = DebianPackage("toy-data", 1000, {"raw/words": "./usr/share/words.gz"})
    (tmp_path / "got").mkdir()
    source.deliver(["raw/words"], tmp_path / "got")
    assert (tmp_path / "got/raw/words").read_bytes() == b"the words"
    assert [line.split()[0] for line in apt.read_text().splitlines()] == ["download", "update", "download"]
    assert [path.name for path in (tmp_path / "got").iterdir()] == ["raw"]


def test_debian_package_that_is_not_there(apt, tmp_path):
    with pytest.raises(RuntimeError, match=r"status 100: .*Unable to locate package"):
        DebianPackage("other", 1000, {"words": "./words"}).deliver(["words"], tmp_path)
    assert apt.exists()


def test_machine_without_apt(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(FileNotFoundError, match="no apt-get here"):
        DebianPackage("toy-data", 1000, {"words": "./words"}).deliver(["words"], tmp_path)
