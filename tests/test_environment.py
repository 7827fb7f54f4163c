"""One environment, said in four places: pyproject.toml, requirements.lock, environment.yml, and what is installed."""

import ast
import importlib.metadata
import re
import sys
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name
from packaging.version import Version

import ssan
from figures import make_licences

ROOT = Path(__file__).resolve().parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
EXTRA = PROJECT["optional-dependencies"]


def entries(text):
    """Requirement -> its hashes, each a word such as `sha256:1f…`, of a lock."""
    lines = [line for line in text.replace("\\\n", "").splitlines() if line and line[0] != "#"]
    return {line.split("--hash=")[0].strip(): re.findall(r"--hash=(\S+)", line) for line in lines}


HASHES = entries((ROOT / "requirements.lock").read_text())
LINES = list(HASHES)
LOCK = {canonicalize_name(Requirement(line).name): Requirement(line) for line in LINES}
EXTRAS = {name: [line for line in lines if not line.startswith("ssan")] for name, lines in EXTRA.items()}
DIRECT = [*PROJECT["dependencies"], *(line for lines in EXTRAS.values() for line in lines)]
# What is imported under another name than it is installed by.
IMPORTED_AS = {"PIL": "pillow", "ot": "pot"}
# Only where torch has it (Linux), so it cannot be asked for; imported after a look whether it is there.
COMES_WITH_TORCH = {"triton"}
# Run by another Python, which has what is compared with and need not be installed here.
OF_ANOTHER_PYTHON = {"tests/benchmarks/xaitk_rise.py"}


def applies(requirement, extra=""):
    return requirement.marker is None or requirement.marker.evaluate({"extra": extra})


def pinned(requirement):
    (pin,) = requirement.specifier
    return pin.version


@pytest.mark.parametrize("line", LINES)
def test_every_line_of_the_lock_is_one_exact_pin(line):
    requirement = Requirement(line)
    assert [pin.operator for pin in requirement.specifier] == ["=="], f"{line} does not pin one version"
    assert "*" not in str(requirement.specifier)
    assert requirement.url is None
    assert not requirement.extras


@pytest.mark.parametrize("line", LINES)
def test_every_pin_has_the_hashes_of_its_files(line):
    assert HASHES[line]
    assert all(re.fullmatch("sha256:[0-9a-f]{64}", each) for each in HASHES[line])
    assert len(set(HASHES[line])) == len(HASHES[line])


def test_what_is_built_for_each_platform_has_hashes_for_many():
    """Not those of one machine alone: Linux, macOS and Windows, on each Python."""
    assert min(len(HASHES[str(LOCK[name])]) for name in ("numpy", "torch", "safetensors", "pillow", "pandas")) > 9


def test_nothing_is_pinned_twice():
    text = (ROOT / "requirements.lock").read_text()
    assert len(LOCK) == len(LINES) == len(re.findall(r"^[^\s#]", text, flags=re.M)) > 50


def test_every_way_in_checks_hashes_and_asks_one_index_at_a_time():
    ways = [ROOT / "Makefile", ROOT / "environment.yml", *(ROOT / "binder").iterdir()]
    for path in [*ways, *(ROOT / ".devcontainer").iterdir()]:
        assert not re.search("extra-index-url|find-links", path.read_text()), path
        for line in path.read_text().splitlines():
            if "-m pip install" in line or line.startswith("pip install"):
                alone = "--editable ." in line or "--index-url" in line
                assert "--no-deps" in line if alone else "--require-hashes" in line, line


@pytest.mark.parametrize("line", DIRECT)
def test_the_lock_has_every_direct_dependency_at_a_version_it_admits(line):
    wanted = Requirement(line)
    name = canonicalize_name(wanted.name)
    assert name in LOCK, f"{name} is in pyproject.toml, but not in requirements.lock"
    assert wanted.specifier.contains(pinned(LOCK[name])), f"{LOCK[name]} is not {wanted}"
    assert applies(LOCK[name]), f"{LOCK[name]} would not be installed here, but ssan needs it"


def test_what_is_installed_is_the_lock():
    wrong = {}
    for name, requirement in LOCK.items():
        if applies(requirement):
            try:
                found = importlib.metadata.version(name)
            except importlib.metadata.PackageNotFoundError:
                found = "missing"
            if found == "missing" or Version(found) != Version(pinned(requirement)):
                wrong[name] = (found, str(requirement))
    assert not wrong, f"run `make .venv`: {wrong}"


def test_the_lock_is_closed():
    """Whatever a locked package needs here is locked too, at a version it admits."""
    wrong = []
    for name, requirement in LOCK.items():
        if not applies(requirement):
            continue
        for line in importlib.metadata.requires(name) or []:
            needed = Requirement(line)
            if not applies(needed):
                continue
            held = LOCK.get(canonicalize_name(needed.name))
            if held is None or not applies(held):
                wrong.append(f"{name} needs {needed}, which is not locked")
            elif not needed.specifier.contains(pinned(held), prereleases=True):
                wrong.append(f"{name} needs {needed}, locked is {held}")
    assert not wrong


def environment_yml():
    """The packages for conda, and the lines for pip, of a file as plain as ours."""
    text = (ROOT / "environment.yml").read_text()
    entries = re.findall(r"^( +)- (.+)$", text.split("dependencies:")[1], flags=re.M)
    shallow = min(len(indent) for indent, _ in entries)
    conda = [entry for indent, entry in entries if len(indent) == shallow]
    return conda, [entry for indent, entry in entries if len(indent) > shallow]


def test_the_pip_part_of_the_conda_environment_is_the_lock():
    conda, pip = environment_yml()
    assert "pip:" in conda
    assert pip == ["--require-hashes", "-r requirements.lock"]
    assert "pip install --no-deps --no-build-isolation --editable ." in (ROOT / "environment.yml").read_text()


def test_python_versions_agree():
    conda, _ = environment_yml()
    (python,) = (entry.split("=")[-1] for entry in conda if entry.startswith("python"))
    admitted = SpecifierSet(PROJECT["requires-python"])
    assert admitted.contains(python)
    assert admitted.contains(".".join(map(str, sys.version_info[:3])))


def test_versions_of_the_package_agree():
    assert ssan.__version__ == PROJECT["version"] == importlib.metadata.version("ssan")
    assert re.search(r"^version: (.+)$", (ROOT / "CITATION.cff").read_text(), flags=re.M)[1] == PROJECT["version"]


@pytest.mark.skipif(
    sys.platform != "linux" or sys.version_info[:2] != (3, 11), reason="read off what Linux installs with Python 3.11"
)
def test_licences_stand_as_the_script_writes_them():
    assert (ROOT / "LICENCES.md").read_text() == make_licences.text(), "run python figures/make_licences.py"
    assert "| unclear |" not in make_licences.text()


def test_the_workflow_has_the_pythons_that_the_package_names():
    """Actions are pinned to one version, and may only read."""
    workflow = (ROOT / ".github/workflows/test.yml").read_text()
    named = [text.split(" :: ")[-1] for text in PROJECT["classifiers"] if "Python :: 3." in text]
    assert set(named) <= set(re.search(r"python: \[(.+)\]", workflow)[1].replace('"', "").split(", "))
    assert "permissions:\n  contents: read\n" in workflow
    assert all(re.fullmatch(r"actions/[a-z-]+@v\d+\.\d+\.\d+", use) for use in re.findall(r"uses: (.+)", workflow))


def imports_of(path):
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name.split(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and not node.level:
            yield node.module.split(".")[0]


@pytest.mark.parametrize("folder", ["lib", "data_scripts", "figures", "tests"])
def test_whatever_is_imported_is_a_declared_dependency(folder):
    for_users = ("study", "lab", "hf", "timm")
    declared = DIRECT if folder == "tests" else [*PROJECT["dependencies"], *(x for e in for_users for x in EXTRAS[e])]
    known = {canonicalize_name(Requirement(line).name) for line in declared} | COMES_WITH_TORCH
    files = sorted(p for p in (ROOT / folder).rglob("*.py") if p.relative_to(ROOT).as_posix() not in OF_ANOTHER_PYTHON)
    ours = {"ssan", "tests", "data_scripts", "figures", *(path.stem for path in files)}
    wrong = {}
    for path in files:
        for module in set(imports_of(path)) - sys.stdlib_module_names - ours:
            if canonicalize_name(IMPORTED_AS.get(module, module)) not in known:
                wrong.setdefault(module, str(path.relative_to(ROOT)))
    assert not wrong
