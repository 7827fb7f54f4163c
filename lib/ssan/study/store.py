"""What an experiment keeps on disk: every net and every search is made once and read from then on."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from ssan.attention import AttentionModel
from ssan.files import load_model, notes_of
from ssan.search import Surrogates


class Store:
    """The files of one seed of one task, in `folder`.

    Attributes:
        needed: files that were asked for since it was last cleared: the seconds it took to make each, as the file says.
    """

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)
        self.needed: dict[Path, float] = {}

    def net(
        self, name: str, made_from: str, new: Callable[[], AttentionModel], train: Callable[[Path], object]
    ) -> AttentionModel:
        """A net: trained by `train`, which writes it to the path it is given, if its file is not there, and read.

        `made_from` is the hash of everything that decides it; `new` makes a net for the weights to be put into.
        """
        path = self.folder / f"{name}-{made_from}.safetensors"
        if not path.exists():
            train(path)
        self.needed[path] = float(notes_of(path).get("seconds", "nan"))
        return load_model(path, new(), made_from)

    def surrogates(self, name: str, made_from: str, search: Callable[[], tuple[Surrogates, float]]) -> Surrogates:
        """The result of a search: read if its file is there, else made by `search` (result, seconds) and kept."""
        path = self.folder / f"surrogates-{name}-{made_from}.safetensors"
        if not path.exists():
            result, seconds = search()
            result.save(path, {"from": made_from, "seconds": round(seconds, 3)})
        self.needed[path] = float(notes_of(path).get("seconds", "nan"))
        return Surrogates.load(path, {"from": made_from})

    def cost(self) -> dict[str, float]:
        """What was needed since `needed` was cleared: `trainings`, `searches`, and the `seconds` of both."""
        searches = sum(path.name.startswith("surrogates-") for path in self.needed)
        seconds = round(sum(self.needed.values()), 2)
        return {"trainings": len(self.needed) - searches, "searches": searches, "seconds": seconds}
