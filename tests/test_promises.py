"""Every promise in SECURITY.md names a test that exists; and the one promise that is about the source itself."""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
TABLE = re.findall(r"^\| (.+) \| (.+) \|$", (ROOT / "SECURITY.md").read_text(), flags=re.MULTILINE)[1:]
# The one place that may start programs starts none through a shell but apt-get's, whose only argument is a name.
STARTS_PROGRAMS = {"data/sources.py"}


def test_the_table_is_read_whole():
    assert len(TABLE) == (ROOT / "SECURITY.md").read_text().count("::test_") > 20


@pytest.mark.parametrize(("promise", "named"), TABLE)
def test_every_promise_has_its_test(promise, named):
    path, _, name = named.strip("`").partition("::")
    tree = ast.parse((ROOT / path).read_text())
    (test,) = (node for node in tree.body if isinstance(node, ast.FunctionDef) and node.name == name)
    assert any(isinstance(node, ast.Assert | ast.With) for node in ast.walk(test)), promise
    assert not [each for each in test.decorator_list if "skip" in ast.unparse(each) or "xfail" in ast.unparse(each)]


def test_no_code_runs_from_files():
    """No pickle, `eval`, `exec`, `os.system` or shell; `torch.load` reads pickles, so it is not used either."""
    banned = {"eval", "exec", "compile", "os.system", "os.popen", "torch.load", "pickle.load", "pickle.loads"}
    banned |= {"pd.read_pickle", "yaml.load", "joblib.load", "marshal.loads"}
    for path in sorted((ROOT / "lib/ssan").rglob("*.py")):
        name = path.relative_to(ROOT / "lib/ssan").as_posix()
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import | ast.ImportFrom):
                modules = (
                    [node.module or ""] if isinstance(node, ast.ImportFrom) else [each.name for each in node.names]
                )
                assert not {"pickle", "marshal", "shelve", "dill"} & {each.split(".")[0] for each in modules}, name
                assert "subprocess" not in modules or name in STARTS_PROGRAMS, name
            if isinstance(node, ast.Call):
                assert ast.unparse(node.func) not in banned, f"{name}:{node.lineno}"
                assert not [each for each in node.keywords if each.arg in ("shell", "allow_pickle")], (
                    f"{name}:{node.lineno}"
                )
