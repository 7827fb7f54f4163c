"""LICENCES.md: under what licences the data sets, the weights and all locked packages are, as they say themselves.

python figures/make_licences.py
"""

from __future__ import annotations

import re
from importlib.metadata import PackageNotFoundError, metadata
from pathlib import Path

from ssan.data.catalogue import DATA_SETS

ROOT = Path(__file__).resolve().parents[1]
HEAD = """# Licences

Written by `python figures/make_licences.py`. ssan itself is under the MIT licence ([LICENSE](LICENSE)).

## Data sets and weights

None is part of this repository: each is fetched when it is first used, and keeps its licence.
"""
PACKAGES = """
## Packages

Every package of `requirements.lock`, with what its own metadata says on Linux with Python 3.11; a wheel may hold other
libraries under licences of their own. ssan passes none of them on. What asks for a second look comes first.
"""
# Kind of licence -> what is in its name; the first that fits. A test wants nothing to be unclear.
KINDS = {
    "proprietary": "Proprietary",
    "copyleft": "GPL|MPL|EPL|CDDL|Mozilla|GNU",
    "none stated": "none stated",
    "not installed": "not installed",
    "permissive": "Apache|BSD|ISC|MIT|PSF|Python Software",
    "unclear": "",
}


def pins() -> list[tuple[str, str, str]]:
    """Name, version and marker ("" for none) of every package in the lock."""
    text = (ROOT / "requirements.lock").read_text()
    return re.findall(r"^([\w.-]+)==([^ \n]+)(?: ; ([^\\\n]+?))?(?: \\)?$", text, flags=re.M)


def licence(name: str, marker: str) -> str:
    """What an installed package declares: an expression, else classifiers, else the first line of a free text."""
    try:
        about = metadata(name)
    except PackageNotFoundError:
        return f"not installed on Linux: for `{marker}`"
    classifiers = [text.split(" :: ")[-1] for text in about.get_all("Classifier", []) if text.startswith("License ::")]
    return about["License-Expression"] or ", ".join(classifiers) or (about["License"] or "none stated").split("\n")[0]


def kind(text: str) -> str:
    """A key of KINDS."""
    return next(name for name, pattern in KINDS.items() if re.search(pattern, text))


def text() -> str:
    """All of LICENCES.md."""
    rows = [HEAD, "| name | licence | whose work |", "|---|---|---|"]
    rows += [f"| `{name}` | {data_set.licence} | {data_set.cite} |" for name, data_set in DATA_SETS.items()]
    rows += [PACKAGES, "| kind | licence | package | version |", "|---|---|---|---|"]
    found = [(licence(name, marker), name, version) for name, version, marker in pins()]
    found.sort(key=lambda row: (list(KINDS).index(kind(row[0])), row[0].lower(), row[1]))
    return "\n".join([*rows, *(f"| {kind(row[0])} | {' | '.join(row)} |" for row in found), ""])


if __name__ == "__main__":
    (ROOT / "LICENCES.md").write_text(text())
