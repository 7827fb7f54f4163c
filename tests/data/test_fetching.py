"""The cache of data files: order of sources, checksums, damage, interruption, company."""

import hashlib
import json
import os
import subprocess
import sys
import textwrap
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from ssan.data import catalogue, fetching
from ssan.data.catalogue import DataSet, File, look_up
from ssan.data.fetching import FetchError, data_dir, fetch, state
from tests.data.test_archives import zip_of

CONTENT = {"a.txt": b"alpha", "sub/b.txt": b"beta beta"}


def file_of(name: str, content: bytes, **more) -> File:
    return File(name, hashlib.sha256(content).hexdigest(), len(content), **more)


@dataclass
class Shelf:
    """A source that has some files in memory, and keeps count of what it was asked for."""

    content: dict[str, bytes]
    name: str = "shelf"
    asked: list[list[str]] = field(default_factory=list)

    def __str__(self):
        return self.name

    def deliver(self, names, folder):
        self.asked.append(list(names))
        for name in names:
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_bytes(self.content[name])


@pytest.fixture
def shelf(tmp_path, monkeypatch):
    """The only data set is `toy`, with one source, an empty cache and no mirror."""
    source = Shelf(dict(CONTENT))
    use(monkeypatch, source)
    monkeypatch.setenv("SSAN_DATA_DIR", str(tmp_path / "cache"))
    monkeypatch.delenv("SSAN_DATA_MIRROR", raising=False)
    return source


def use(monkeypatch, *sources, files=None):
    """Replaces the table by one that holds `toy` alone."""
    files = files or tuple(file_of(name, content) for name, content in CONTENT.items())
    monkeypatch.setattr(catalogue, "DATA_SETS", {"toy": DataSet(files, sources, "free", "Toy 2000")})


@pytest.fixture
def mirror(tmp_path, monkeypatch):
    folder = tmp_path / "mirror"
    for name, content in CONTENT.items():
        (folder / "toy" / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / "toy" / name).write_bytes(content)
    monkeypatch.setenv("SSAN_DATA_MIRROR", str(folder))
    return folder / "toy"


def is_complete(folder: Path) -> bool:
    found = {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*.txt")}
    return found == CONTENT and not list(folder.glob(f"{fetching._STAGING}*"))


def test_fetch_once_then_from_the_cache(shelf, tmp_path):
    assert fetch("toy") == tmp_path / "cache/toy"
    assert fetch("toy") == tmp_path / "cache/toy"
    assert is_complete(tmp_path / "cache/toy")
    assert shelf.asked == [["a.txt", "sub/b.txt"]]


def test_a_checked_file_is_not_hashed_again(shelf, monkeypatch):
    folder = fetch("toy")
    hashed = []
    file_hash = fetching.pooch.file_hash
    monkeypatch.setattr(fetching.pooch, "file_hash", lambda path: hashed.append(path) or file_hash(path))
    fetch("toy")
    assert hashed == []
    os.utime(folder / "a.txt", (1, 1))
    fetch("toy")
    assert hashed == [str(folder / "a.txt")]
    fetch("toy", verify=True)
    assert len(hashed) == 3
    (folder / fetching._STAMPS).write_text("[not what it was")
    fetch("toy")
    assert len(hashed) == 5
    assert len(shelf.asked) == 1


def test_mirror_comes_before_the_sources(shelf, mirror, tmp_path):
    assert state("toy") == "in mirror"
    fetch("toy")
    assert is_complete(tmp_path / "cache/toy")
    assert shelf.asked == []
    assert state("toy") == "cached"
    assert mirror.is_dir()


def test_incomplete_mirror_is_completed_by_the_sources(shelf, mirror, tmp_path):
    (mirror / "a.txt").unlink()
    assert state("toy") == "missing"
    fetch("toy")
    assert shelf.asked == [["a.txt"]]
    assert is_complete(tmp_path / "cache/toy")


@pytest.mark.usefixtures("shelf")
def test_wrong_hash_in_the_mirror_is_refused_and_named(mirror, monkeypatch, tmp_path, capsys):
    (mirror / "a.txt").write_bytes(b"ALPHA")
    fetch("toy")
    assert is_complete(tmp_path / "cache/toy")
    said = capsys.readouterr().err
    assert f"mirror {mirror}: a.txt has SHA-256 {hashlib.sha256(b'ALPHA').hexdigest()}" in said
    assert "refused" in said

    use(monkeypatch)
    monkeypatch.setenv("SSAN_DATA_DIR", str(tmp_path / "another"))
    with pytest.raises(FetchError, match=r"mirror .*a\.txt has SHA-256 .* refused"):
        fetch("toy")
    assert [path.name for path in (tmp_path / "another/toy").rglob("*.txt")] == ["b.txt"]


@pytest.mark.parametrize(
    ("damage", "said"), [(b"alphb", "has SHA-256"), (b"alp", "has 3 bytes instead of 5"), (b"", "has 0 bytes")]
)
def test_damaged_file_is_noticed_and_fetched_again(shelf, capsys, damage, said):
    folder = fetch("toy")
    (folder / "a.txt").write_bytes(damage)
    # Whatever the clock's resolution, a write later than the check has another time.
    os.utime(folder / "a.txt", ns=(10**18, 10**18))
    assert state("toy") == "damaged"
    capsys.readouterr()
    fetch("toy")
    assert is_complete(folder)
    assert shelf.asked[1:] == [["a.txt"]]
    message = capsys.readouterr().err
    assert str(folder / "a.txt") in message
    assert said in message


@pytest.mark.usefixtures("shelf")
def test_decay_that_leaves_size_and_time_is_found_by_verify():
    folder = fetch("toy")
    before = (folder / "a.txt").stat()
    (folder / "a.txt").write_bytes(b"alphb")
    os.utime(folder / "a.txt", ns=(before.st_atime_ns, before.st_mtime_ns))
    fetch("toy", verify=True)
    assert is_complete(folder)


@pytest.mark.usefixtures("shelf")
def test_damaged_file_without_any_source_stays_an_error(monkeypatch, tmp_path):
    (fetch("toy") / "a.txt").write_bytes(b"alp")
    use(monkeypatch, Shelf({}, "an empty shelf"))
    with pytest.raises(FetchError, match=r"cache .*: a\.txt has 3 bytes instead of 5"):
        fetch("toy")
    assert (tmp_path / "cache/toy/sub/b.txt").read_bytes() == CONTENT["sub/b.txt"]


@pytest.mark.usefixtures("shelf")
def test_failure_lists_everything_that_was_tried(mirror, monkeypatch, tmp_path):
    (mirror / "a.txt").unlink()
    wrong = Shelf({"a.txt": b"wrong", "sub/b.txt": b"wrong"}, "wrong shelf")
    use(monkeypatch, Shelf({}, "empty shelf"), wrong)
    with pytest.raises(FetchError) as caught:
        fetch("toy")
    text = str(caught.value)
    places = [f"cache {tmp_path / 'cache/toy'}", f"mirror {mirror}", "empty shelf: KeyError", "wrong shelf: a.txt has"]
    assert [text.find(place) for place in places] == sorted(text.find(place) for place in places)
    assert all(place in text for place in places)
    assert "set SSAN_DATA_MIRROR" in text
    assert look_up("toy").files[0].sha256 in text
    assert "toy/sub/b.txt" not in text  # the mirror had it
    monkeypatch.delenv("SSAN_DATA_MIRROR")
    with pytest.raises(FetchError, match="mirror: SSAN_DATA_MIRROR is not set"):
        fetch("toy")


@pytest.mark.parametrize("obstacle", ["file", "file above", "permission"])
def test_unwritable_cache_is_an_error_before_any_download(shelf, tmp_path, monkeypatch, obstacle):
    if obstacle == "permission":
        (tmp_path / "cache").mkdir()

        def denied(*_, **__):
            raise PermissionError(13, "Permission denied")

        monkeypatch.setattr(fetching.tempfile, "TemporaryFile", denied)
    else:
        where = tmp_path / ("cache" if obstacle == "file above" else "cache/toy")
        where.parent.mkdir(exist_ok=True)
        where.write_text("in the way")
    with pytest.raises(FetchError, match=r"cannot write to the data cache .*cache/toy \(.+\).*SSAN_DATA_DIR"):
        fetch("toy")
    assert shelf.asked == []


@pytest.mark.usefixtures("shelf")
def test_complete_cache_need_not_be_writable(monkeypatch):
    folder = fetch("toy")
    (folder / fetching._STAMPS).unlink()

    def denied(*_, **__):
        raise PermissionError(13, "Permission denied")

    for name in ("TemporaryFile", "NamedTemporaryFile", "TemporaryDirectory"):
        monkeypatch.setattr(fetching.tempfile, name, denied)
    assert fetch("toy") == folder


def test_names_and_places(shelf, tmp_path, monkeypatch):
    with pytest.raises(ValueError, match="unknown data set 'tow': expected one of toy"):
        fetch("tow")
    with pytest.raises(ValueError, match="unknown data set"):
        state("tow")
    assert fetch("toy", tmp_path / "chosen") == tmp_path / "chosen/toy"
    assert shelf.asked
    monkeypatch.delenv("SSAN_DATA_DIR")
    assert data_dir() == Path(__file__).parents[2] / ".cache/data"
    for name in ("../x", "/x", "a/../../x"):
        with pytest.raises(ValueError, match="must stay in its data set's folder"):
            File(name, "", 0)
        with pytest.raises(ValueError, match="must stay in its data set's folder"):
            File("x", "", 0, unpack=name)


@pytest.mark.usefixtures("shelf")
def test_archive_is_unpacked_and_kept_right(tmp_path, monkeypatch, capsys):
    packed = zip_of(tmp_path / "x.zip", {"in/c.txt": b"sea", "in/d.txt": b"deep"}).read_bytes()
    source = Shelf({"x.zip": packed})
    use(monkeypatch, source, files=(file_of("x.zip", packed, unpack="unpacked"),))
    inside = fetch("toy") / "unpacked/in"
    assert {path.name: path.read_bytes() for path in inside.iterdir()} == {"c.txt": b"sea", "d.txt": b"deep"}
    (inside / "c.txt").write_bytes(b"se")
    assert state("toy") == "damaged"
    fetch("toy")
    (inside / "d.txt").unlink()
    fetch("toy")
    assert {path.name: path.read_bytes() for path in inside.iterdir()} == {"c.txt": b"sea", "d.txt": b"deep"}
    assert len(source.asked) == 1  # the archive was still right
    assert "in/c.txt is not as in the archive" in capsys.readouterr().err


SCRIPT = """
    import hashlib, os, signal, sys, time
    from pathlib import Path
    from ssan.data import catalogue, fetching
    from ssan.data.catalogue import DATA_SETS, DataSet, File

    content = b"alpha" * 100_000

    class Slow:
        def deliver(self, names, folder):
            with open(sys.argv[1] + "/asked", "a") as log:
                log.write("asked\\n")
            with open(folder / "a.txt", "wb") as out:
                out.write(content[:1000])
                time.sleep(0.5)
                out.write(content[1000:])

    DATA_SETS["toy"] = DataSet((File("a.txt", hashlib.sha256(content).hexdigest(), len(content)),), (Slow(),), "", "")
    if sys.argv[2] == "killed":
        os.replace = lambda *_: os.kill(os.getpid(), signal.SIGKILL)
    folder = fetching.fetch("toy", sys.argv[1] + "/cache")
    assert (folder / "a.txt").read_bytes() == content
    print(sorted(path.name for path in folder.iterdir()))
"""


def start(tmp_path: Path, how: str) -> subprocess.Popen:
    (tmp_path / "script.py").write_text(textwrap.dedent(SCRIPT))
    command = [sys.executable, str(tmp_path / "script.py"), str(tmp_path), how]
    environment = {name: value for name, value in os.environ.items() if name != "SSAN_DATA_MIRROR"}
    return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True)


def test_killed_before_the_rename_leaves_no_file_and_the_next_call_tidies_up(tmp_path):
    with start(tmp_path, "killed") as process:
        process.communicate(timeout=60)
    assert process.returncode == -9
    left = {path.name for path in (tmp_path / "cache/toy").iterdir()}
    assert "a.txt" not in left
    assert any(name.startswith(fetching._STAGING) for name in left)
    with start(tmp_path, "undisturbed") as process:
        output, _ = process.communicate(timeout=60)
    assert process.returncode == 0
    assert output.strip() == str([".lock", fetching._STAMPS, "a.txt"])


def test_processes_at_once_fetch_once(tmp_path):
    processes = [start(tmp_path, "together") for _ in range(3)]
    outputs = [process.communicate(timeout=60)[0] for process in processes]
    assert [process.returncode for process in processes] == [0, 0, 0]
    assert (tmp_path / "asked").read_text() == "asked\n"
    assert all("a.txt" in output for output in outputs)


def test_the_table_is_sound():
    for name, data_set in catalogue.DATA_SETS.items():
        assert data_set.sources, name
        assert data_set.licence, name
        assert data_set.cite, name
        assert len({file.name for file in data_set.files}) == len(data_set.files)
        for file in data_set.files:
            assert len(bytes.fromhex(file.sha256)) == 32
            assert file.bytes > 0
            for source in data_set.sources:
                assert file.name in getattr(source, "members", {file.name: ()}), (name, str(source))


@pytest.mark.usefixtures("shelf")
def test_stamps_are_plain_json():
    stamps = json.loads((fetch("toy") / fetching._STAMPS).read_text())
    assert set(stamps) == set(CONTENT)
