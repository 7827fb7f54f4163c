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

    def surrogates(
        self, selector: str, score: str, made_from: dict[str, str], search: Callable[[], tuple[dict, float]]
    ) -> Surrogates:
        """What `selector` made in a search: read if its file is there, else made by `search` and kept.

        `search` gives a result for each selector that `made_from` has a hash of, and the seconds all of them took.
        """
        paths = {each: self.folder / f"surrogates-{each}-{score}-{made_from[each]}.safetensors" for each in made_from}
        if not paths[selector].exists():
            results, seconds = search()
            for each, path in paths.items():
                results[each].save(path, {"from": made_from[each], "seconds": round(seconds, 3)})
        self.needed[paths[selector]] = float(notes_of(paths[selector]).get("seconds", "nan"))
        return Surrogates.load(paths[selector], {"from": made_from[selector]})

    def cost(self) -> dict[str, float]:
        """What was needed since `needed` was cleared: `trainings`, `searches`, and the `seconds` of both."""
        searches = sum(path.name.startswith("surrogates-") for path in self.needed)
        seconds = round(sum(self.needed.values()), 2)
        return {"trainings": len(self.needed) - searches, "searches": searches, "seconds": seconds}
