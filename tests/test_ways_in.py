"""Ways in beside make and conda: a development container and mybinder.org. What they say is checked; nothing is run."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import torch
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name

from ssan.data.catalogue import DATA_SETS
from tests.test_environment import DIRECT, HASHES, LOCK, PROJECT, ROOT, entries, environment_yml

CONTAINER = json.loads((ROOT / ".devcontainer" / "devcontainer.json").read_text())
README = (ROOT / "README.md").read_text()
# Packages of the lock that only a GPU needs.
OF_GPUS = re.compile(r"nvidia-|cuda-|triton")


def test_container_and_binder_have_the_python_of_the_other_ways():
    (conda,) = (entry.split("=")[-1] for entry in environment_yml()[0] if entry.startswith("python"))
    version = re.fullmatch(r"mcr\.microsoft\.com/devcontainers/python:1-(\d+\.\d+)-\w+", CONTAINER["image"])[1]
    assert version == conda
    assert SpecifierSet(PROJECT["requires-python"]).contains(version)
    assert (ROOT / "binder" / "runtime.txt").read_text() == f"python-{version}\n"


def test_the_container_makes_the_environment_that_its_editor_uses():
    assert CONTAINER["postCreateCommand"] == "make .venv"
    editor = CONTAINER["customizations"]["vscode"]
    assert editor["settings"]["python.defaultInterpreterPath"] == "${containerWorkspaceFolder}/.venv/bin/python"
    assert "ms-toolsai.jupyter" in editor["extensions"]
    assert all((ROOT / path).is_file() for path in CONTAINER["customizations"]["codespaces"]["openFiles"])


def run_post_build(folder: Path) -> tuple[list[list[str]], dict[str, list[str]]]:
    """Runs binder/postBuild beside the lock, with a pip and a Python that only write down what they are asked.

    Returns:
        The commands, each a list of words, and the requirements that pip was given, with their hashes.
    """
    (folder / "bin").mkdir()
    (folder / "requirements.lock").write_bytes((ROOT / "requirements.lock").read_bytes())
    noted, given = folder / "noted.txt", folder / "given.txt"
    for name in ("pip", "python"):
        stand_in = folder / "bin" / name
        stand_in.write_text(
            f"#!{sys.executable}\n"
            "import json, pathlib, sys\n"
            f"with open({str(noted)!r}, 'a') as noted:\n"
            f"    print(json.dumps([{name!r}, *sys.argv[1:]]), file=noted)\n"
            "if '-r' in sys.argv:\n"
            "    asked = pathlib.Path(sys.argv[sys.argv.index('-r') + 1])\n"
            f"    pathlib.Path({str(given)!r}).write_bytes(asked.read_bytes())\n"
        )
        stand_in.chmod(0o755)
    environment = os.environ | {"PATH": f"{folder / 'bin'}{os.pathsep}{os.environ['PATH']}"}
    subprocess.run([ROOT / "binder" / "postBuild"], cwd=folder, env=environment, check=True)
    return [json.loads(line) for line in noted.read_text().splitlines()], entries(given.read_text())


def test_binder_installs_the_lock_without_what_only_a_gpu_needs_and_fetches_data_that_there_are(tmp_path):
    commands, given = run_post_build(tmp_path)
    assert given.items() <= HASHES.items()
    names = {canonicalize_name(Requirement(line).name) for line in given}
    torch_alone = {"torch", "torchvision"}
    assert set(LOCK) - names - torch_alone == {name for name in LOCK if OF_GPUS.match(name)} != set()
    assert {canonicalize_name(Requirement(line).name) for line in DIRECT} - torch_alone <= names
    assert not names & torch_alone
    no_deps = ["pip", "install", "--no-cache-dir", "--no-deps"]
    versions = [str(LOCK[name]) for name in sorted(torch_alone)]
    assert commands[0] == [*no_deps, "--index-url", "https://download.pytorch.org/whl/cpu", *versions]
    assert commands[1] == [*no_deps, "--require-hashes", "-r", "cpu.lock"]
    assert ["pip", "install", "--no-cache-dir", "--no-deps", "--no-build-isolation", "--editable", "."] in commands
    assert {path.name for path in tmp_path.iterdir()} == {"bin", "requirements.lock", "noted.txt", "given.txt"}

    script, *data_sets = commands[-1][1:]
    assert (ROOT / script).is_file()
    assert set() < set(data_sets) <= set(DATA_SETS)


def test_the_readme_is_finished_and_its_pictures_say_what_they_show():
    """No word in capitals stands for a number that is still to come."""
    assert not re.findall(r"\b[A-Z]+_[A-Z0-9_]+\b", re.sub(r"```.*?```|`[^`]*`", "", README, flags=re.DOTALL))
    pictures = re.findall(r"!\[([^\]]*)\]\(([^)\s]+)", README)
    assert pictures
    for words, path in pictures:
        assert len(words.split()) >= 5, f"{path} needs words for readers who cannot see it, it has {words!r}"
        assert (ROOT / path).is_file(), path


def test_the_readmes_own_model_runs_as_it_stands(capsys):
    (block,) = (code for code in re.findall(r"```python\n(.*?)```", README, flags=re.DOTALL) if "class Mine(" in code)
    assert block.count("TrainConfig()") == 2
    with torch.random.fork_rng():
        exec(
            compile(block.replace("TrainConfig()", "TrainConfig(epochs=1)"), "README.md", "exec"),
            {"__name__": "readme"},
        )
    accuracies = [float(text) for text in re.findall(r"\d\.\d+", capsys.readouterr().out)]
    assert len(accuracies) == 2
    assert 0.3 < min(accuracies) <= max(accuracies) < 0.9
