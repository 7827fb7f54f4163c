"""The command line that fetches and lists data sets."""

import dataclasses
import json
import subprocess
import sys
from pathlib import Path

import pytest

from data_scripts import fetch as command
from ssan.data import catalogue
from tests.data.test_fetching import CONTENT, Shelf, use


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """An empty cache, and a table of two data sets: `toy`, which can be had, and `lost`, which cannot."""
    use(monkeypatch, Shelf(dict(CONTENT)))
    table = catalogue.DATA_SETS
    table["lost"] = dataclasses.replace(table["toy"], sources=(Shelf({}, "empty shelf"),), licence="free to use")
    monkeypatch.setattr(command, "DATA_SETS", table)
    monkeypatch.setenv("SSAN_DATA_DIR", str(tmp_path / "cache"))
    monkeypatch.delenv("SSAN_DATA_MIRROR", raising=False)
    return tmp_path / "cache"


def test_fetch_prints_where_the_data_is(cache, capsys):
    assert command.main(["toy"]) == 0
    assert capsys.readouterr().out == f"toy: {cache / 'toy'}\n"
    assert (cache / "toy/a.txt").read_bytes() == CONTENT["a.txt"]


def test_dir_overrides_the_environment(cache, tmp_path):
    assert command.main(["toy", "--dir", str(tmp_path / "other")]) == 0
    assert (tmp_path / "other/toy/a.txt").exists()
    assert not cache.exists()


def test_one_failure_does_not_keep_the_rest(cache, capsys):
    assert command.main(["--all"]) == 1
    out, err = capsys.readouterr()
    assert out == f"toy: {cache / 'toy'}\n"
    assert "cannot get the data set 'lost'" in err
    assert "empty shelf" in err


def test_decay_is_found(cache, capsys):
    command.main(["toy"])
    stamps = (cache / "toy/.stamps.json").read_text()
    (cache / "toy/a.txt").write_bytes(b"alphb")
    status = (cache / "toy/a.txt").stat()
    # The stamp says that this content was checked: only hashing again can tell.
    old = json.loads(stamps)
    old["a.txt"][1] = status.st_mtime_ns
    (cache / "toy/.stamps.json").write_text(json.dumps(old))
    capsys.readouterr()
    assert command.main(["toy"]) == 0
    assert "a.txt: has SHA-256" in capsys.readouterr().err
    assert (cache / "toy/a.txt").read_bytes() == CONTENT["a.txt"]


def test_list_is_an_aligned_table_of_what_is_where(cache, tmp_path, monkeypatch, capsys):
    command.main(["toy"])
    for name, content in CONTENT.items():
        (tmp_path / "mirror/lost" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "mirror/lost" / name).write_bytes(content)
    capsys.readouterr()

    assert command.main(["--list"]) == 0
    heading, *rows, place = capsys.readouterr().out.splitlines()
    columns = [heading.index(word) for word in ("name", "size", "licence", "state", "cite")]
    cells = [[row[a:b].strip() for a, b in zip(columns, [*columns[1:], None], strict=True)] for row in rows]
    assert sorted(cells) == [
        ["lost", "0.0 MB", "free to use", "missing", "Toy 2000"],
        ["toy", "0.0 MB", "free", "cached", "Toy 2000"],
    ]
    assert place == f"cache: {cache}"

    monkeypatch.setenv("SSAN_DATA_MIRROR", str(tmp_path / "mirror"))
    assert "in mirror" in command.table()
    (cache / "toy/a.txt").write_bytes(b"alp")
    assert "damaged" in command.table()
    assert not (cache / "lost").exists()  # listing fetches nothing


@pytest.mark.parametrize(
    ("arguments", "said"),
    [([], "name a data set"), (["toy", "tow", "--all"], "unknown data set tow: expected toy, lost")],
)
@pytest.mark.usefixtures("cache")
def test_wrong_arguments(capsys, arguments, said):
    with pytest.raises(SystemExit) as stopped:
        command.main(arguments)
    assert stopped.value.code == 2
    assert said in " ".join(capsys.readouterr().err.split())


def test_as_a_program_from_anywhere(tmp_path):
    script = Path(command.__file__).resolve()
    done = subprocess.run(
        [sys.executable, str(script), "--list", "--dir", str(tmp_path)], cwd=tmp_path, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert [line.split()[0] for line in done.stdout.splitlines()] == ["name", *catalogue.DATA_SETS, "cache:"]
