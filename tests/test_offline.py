"""Without a network. All tests run so, see `tests/offline`; here it is made sure that this blocks anything."""

import socket
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]


def python(*arguments, cwd=ROOT):
    return subprocess.run([sys.executable, *arguments], capture_output=True, text=True, cwd=cwd)


def test_the_network_is_blocked_here_and_in_processes_that_are_started():
    for ask in (
        lambda: socket.create_connection(("192.0.2.1", 80), timeout=5),
        lambda: socket.getaddrinfo("pypi.org", 443),
        lambda: urllib.request.urlopen("http://192.0.2.1", timeout=5),
    ):
        with pytest.raises(OSError, match=r"network is blocked|refused"):
            ask()
    child = python("-c", "import socket; socket.create_connection(('192.0.2.1', 80), timeout=5)")
    assert "the network is blocked: 192.0.2.1" in child.stderr


def test_importing_needs_no_network():
    """Every module of the library, in a new process whose every attempt to connect is an error."""
    files = sorted((ROOT / "lib").rglob("ssan/**/*.py"))
    names = {".".join(path.relative_to(ROOT / "lib").with_suffix("").parts).removesuffix(".__init__") for path in files}
    imports = [name for name in sorted(names) if not name.endswith("__main__")]
    assert len(imports) > 90
    assert python("-c", f"import importlib\nfor name in {imports}: importlib.import_module(name)").returncode == 0


def test_a_notebook_on_cached_data_needs_no_network(tmp_path, monkeypatch):
    """The first that loads data, cell by cell in a process without a network; `make unit` has filled the cache."""
    monkeypatch.setenv("SSAN_PROFILE", "smoke")
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path / "ipython"))
    notebook = ROOT / "notebooks/01_data_and_baseline.ipynb"
    ran = python("-m", "IPython", "--colors=NoColor", notebook, cwd=notebook.parent)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert "Traceback" not in ran.stdout + ran.stderr
