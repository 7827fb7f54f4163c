"""What each profile of the study runs of each task."""

from __future__ import annotations

import dataclasses
import os
from dataclasses import dataclass

from ssan import ablations
from ssan.ablations import Variation
from ssan.conditions import ALL_IMAGE_CONDITIONS, FULL_ONLY, TEXT_CONDITIONS, condition
from ssan.samplers import HideWindows, Pairs
from ssan.settings import Settings
from ssan.training import TrainConfig

PROFILES = ("smoke", "default", "full")


# One of each kind; what they need, package indexes have.
MAIN_TASKS = ("movie", "shapes", "cluttered_fashion")


@dataclass(frozen=True)
class Plan:
    """What a profile runs of one task.

    Attributes:
        settings: what all rows share.
        conditions: the names of what is compared.
        seeds: one row each of every condition and start.
        starts: conditions that know others are run from these alone.
        variations: ablations, run after the conditions.
    """

    settings: Settings
    conditions: tuple[str, ...]
    seeds: tuple[int, ...]
    starts: tuple[str, ...] = ("scratch", "continued")
    variations: tuple[Variation, ...] = ()

    @property
    def units(self) -> list[tuple[str, str]]:
        """(condition, start) of every row of one seed, baseline first."""
        return [(name, start) for name in self.conditions for start in condition(name).starts if start in self.starts]

    def of_size(self, n_train: int | None) -> Plan:
        """The same plan with another number of training examples; None leaves it."""
        if n_train is None:
            return self
        return dataclasses.replace(self, settings=dataclasses.replace(self.settings, n_train=n_train))


def profile_name(profile: str | None = None) -> str:
    """`profile`, else the environment's SSAN_PROFILE, else `default`.

    Raises:
        ValueError: if it is none of `smoke`, `default`, `full`.
    """
    name = profile or os.environ.get("SSAN_PROFILE") or "default"
    if name not in PROFILES:
        raise ValueError(f"unknown profile {name!r}: expected one of {', '.join(PROFILES)} (SSAN_PROFILE)")
    return name


_TEXT = TrainConfig(epochs=20, batch_size=32, learning_rate=2e-3, keep="last", validate=False)
# Three times as long would change nothing: training accuracy is near 1 by then, and test accuracy stands still.
_SHAPES = TrainConfig(epochs=60, batch_size=32, learning_rate=2e-3, keep="last", validate=False)
_FASHION = TrainConfig(epochs=20, batch_size=32, learning_rate=5e-3, keep="last", validate=False)
_EASY = TrainConfig(epochs=12, batch_size=64, learning_rate=2e-3, keep="last", validate=False)
# Whether a thing is of the colour asked for is a product of question and image. One hop and an MLP only add the two: on
# easy_vqa .953 after 60 epochs, where this reaches .998 after 12.
_BILINEAR = (("name", "mlb"), ("rank", 256), ("hidden", 128))
_WINDOWS = HideWindows(2, grid=(8, 8))
# Questions about one object: what the answer depends on is one box.
_ONE_OBJECT = (("non_relational", 2), ("relational", 0))
_BOTH_KINDS = (("non_relational", 2), ("relational", 2))


def plan(task: str, profile: str | None = None) -> Plan:
    """What `profile` runs of `task`.

    Raises:
        ValueError: if the task or the profile is unknown.
    """
    profile = profile_name(profile)
    plans = _plans()
    if task not in plans:
        raise ValueError(f"unknown task {task!r}: expected one of {', '.join(plans)}")
    full = plans[task]
    if profile == "full":
        return full
    few = tuple(name for name in full.conditions if name not in FULL_ONLY)
    if profile == "default":
        return dataclasses.replace(full, conditions=few, seeds=full.seeds[:3])
    train = dataclasses.replace(full.settings.train, epochs=2)
    small = dataclasses.replace(full.settings, n_train=60, train=train, n_quality=40)
    tried = full.variations[::12]
    return dataclasses.replace(full, settings=small, conditions=few, seeds=full.seeds[:2], variations=tried)


def _plans() -> dict[str, Plan]:
    """The full study."""
    seeds, scratch = tuple(range(100, 110)), ("scratch",)
    shapes = Settings("shapes", 500, _WINDOWS, _SHAPES, weight=0.3, task_options=_ONE_OBJECT)
    fashion = Settings("cluttered_fashion", 1000, _WINDOWS, _FASHION, weight=0.3, task_options=(("n_test", 4000),))
    few = ("baseline", "supervised_best", "supervised_ridge", "self", "oracle")
    fewer = ("baseline", "supervised_ridge", "oracle")

    def other(settings: Settings, epochs: int, **changes) -> Settings:
        return dataclasses.replace(settings, train=dataclasses.replace(settings.train, epochs=epochs), **changes)

    return {
        # About a tenth of either's training sentences: little data is where supervision can matter.
        "trec": Plan(Settings("trec", 445, Pairs(), _TEXT), TEXT_CONDITIONS, seeds),
        # Movie's test sentences stand in the order of the file, nearly all positive ones first: all are measured.
        "movie": Plan(Settings("movie", 800, Pairs(), _TEXT, n_quality=None), TEXT_CONDITIONS, seeds),
        "shapes": Plan(shapes, ALL_IMAGE_CONDITIONS, seeds, scratch),
        "cluttered_fashion": Plan(fashion, _without(*_SHAPES_ONLY), seeds, scratch),
        "shapes_ablations": Plan(shapes, ("baseline", "oracle"), seeds, scratch, _varied(_WINDOWS.grid)),
        "cluttered_fashion_ablations": Plan(fashion, ("baseline", "oracle"), seeds, scratch, _varied_less()),
        "trec_ablations": Plan(Settings("trec", 445, Pairs(), _TEXT), ("baseline",), seeds, scratch, _varied(None)),
        # How good the baseline is with all the data, and what is left to gain there.
        "trec_all": Plan(Settings("trec", None, Pairs(), _TEXT), ("baseline",), seeds[:3]),
        "shapes_4000": Plan(other(shapes, 30, n_train=4000), fewer, seeds[:2], scratch),
        "shapes_4000_mlb": Plan(other(shapes, 15, n_train=4000, model=_BILINEAR), fewer, seeds[:3], scratch),
        "shapes_mlb": Plan(other(shapes, 30, model=_BILINEAR), _without(*_SHAPES_ONLY), seeds, scratch),
        # Hidden cells that look like nothing in the data.
        "shapes_fill": Plan(_filled(shapes), _FILL_CONDITIONS, seeds, scratch),
        "cluttered_fashion_fill": Plan(_filled(fashion), _FILL_CONDITIONS, seeds, scratch),
        # Two hops, and questions that relate objects.
        "shapes_san": Plan(
            other(shapes, 60, model=(("name", "san"),), task_options=_BOTH_KINDS), few, seeds[:2], scratch
        ),
        "easy_vqa": Plan(
            Settings("easy_vqa", None, _WINDOWS, _EASY, weight=0.3, model=(*_BILINEAR, ("cnn_steps", 2000))),
            fewer[:-1],
            seeds[:1],
            scratch,
        ),
    }


# What `shapes` has shown to make no difference worth its time: a third round, a first one, seven instead of three.
_SHAPES_ONLY = ("supervised_masked_3x3", "masked_self_3", "masked_oracle", "ensemble_7")


def _without(*names: str) -> tuple[str, ...]:
    return tuple(name for name in ALL_IMAGE_CONDITIONS if name not in names)


_FILL_CONDITIONS = ("baseline", "augmentation", "supervised_masked_3", "oracle")


def _filled(settings: Settings) -> Settings:
    """The same with hidden cells in the mean colour of the image instead of that of the ground."""
    return dataclasses.replace(settings, task_options=(*settings.task_options, ("fill", "mean")))


def _varied(grid: tuple[int, int] | None) -> tuple[Variation, ...]:
    """Every axis; on images and the fill and the size of the training set too."""
    found = ablations.losses() + ablations.selectors() + ablations.scores() + ablations.masks(grid)
    found += ablations.teaching()
    if grid is not None:
        names = ("baseline", "self", "supervised_ridge", "oracle")
        found += ablations.cheaper(grid) + ablations.fills()
        found += ablations.sizes((125, 250), names)
    return tuple(found)


def _varied_less() -> tuple[Variation, ...]:
    """The axes that image classification may answer differently, with one weight a loss."""
    weights = {name: own[-2:-1] for name, own in ablations.LOSS_WEIGHTS.items()}
    found = ablations.losses(weights) + ablations.selectors() + ablations.fills()
    return tuple(found + [cell for cell in ablations.masks((8, 8)) if cell.axis == "masks"])
