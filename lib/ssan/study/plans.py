"""What each profile of the study runs of each task."""

from __future__ import annotations

import dataclasses
import os
from dataclasses import dataclass

from ssan.samplers import HideWindows, Pairs, RandomMasks, Sampler
from ssan.study import ablations
from ssan.study.ablations import Variation
from ssan.study.conditions import Condition, condition, tagged
from ssan.training import TrainConfig

PROFILES = ("smoke", "default", "full")
# One of each kind; what they need, package indexes have.
MAIN_TASKS = ("movie", "shapes", "cluttered_fashion")


@dataclass(frozen=True)
class Settings:
    """Everything that decides the rows of one task, but the seed and the condition.

    Attributes:
        task, n_train, task_options: see `ssan.load_task`.
        sampler: which masks are tried, unless a condition says otherwise.
        train: how every net is trained; the seed is replaced.
        model: keyword arguments of `ssan.make_model`.
        loss: the attention loss.
        weight: of the attention loss, training from scratch.
        continued_weight: the same, continuing from the baseline.
        n_quality: on how many test examples attention quality is measured; None is all.
        quality_every: the first ones of every so-manieth, where the order of the test set says something of the label.
    """

    task: str
    n_train: int | None
    sampler: Sampler
    train: TrainConfig
    model: tuple[tuple[str, object], ...] = ()
    loss: str = "kl"
    weight: float = 0.2
    continued_weight: float = 0.5
    n_quality: int | None = 500
    quality_every: int = 1
    task_options: tuple[tuple[str, object], ...] = ()

    def training(self, condition: Condition, seed: int, start: str = "scratch") -> TrainConfig:
        """How the nets of a condition are trained, the targets aside."""
        twice = condition.longer and start == "scratch"  # continued, the baseline's epochs are behind it
        return dataclasses.replace(
            self.train,
            seed=seed,
            epochs=(1 + twice) * self.train.epochs,
            entropy_penalty=condition.entropy_penalty or self.train.entropy_penalty,
        )


@dataclass(frozen=True)
class Plan:
    """What a profile runs of one task.

    Attributes:
        settings: what all rows share.
        conditions, seeds: what is compared, by name or itself; one row of each, and of each start, for every seed.
        starts: conditions that know others are run from these alone.
        variations: ablations, run after the conditions.
        quick: what the smaller profiles start from; None is this very plan with the conditions tagged `default`.
    """

    settings: Settings
    conditions: tuple[str | Condition, ...]
    seeds: tuple[int, ...]
    starts: tuple[str, ...] = ("scratch", "continued")
    variations: tuple[Variation, ...] = ()
    quick: Plan | None = None

    @property
    def units(self) -> list[tuple[str | Condition, str]]:
        """(condition, start) of every row of one seed, baseline first."""
        return [(name, start) for name in self.conditions for start in condition(name).starts if start in self.starts]

    def of_size(self, n_train: int | None) -> Plan:
        """The same plan with another number of training examples; None leaves it."""
        if n_train is None:
            return self
        return dataclasses.replace(self, settings=dataclasses.replace(self.settings, n_train=n_train))


def profile_name(profile: str | None = None) -> str:
    """`profile`, else the environment's SSAN_PROFILE, else `default`; a ValueError if it is none of `PROFILES`."""
    name = profile or os.environ.get("SSAN_PROFILE") or "default"
    if name not in PROFILES:
        raise ValueError(f"unknown profile {name!r}: expected one of {', '.join(PROFILES)} (SSAN_PROFILE)")
    return name


_TEXT = TrainConfig(epochs=20, batch_size=32, learning_rate=2e-3, keep="last", validate=False)
# Three times as long would change nothing: training accuracy is near 1 by then.
_SHAPES = TrainConfig(epochs=60, batch_size=32, learning_rate=2e-3, keep="last", validate=False)
_FASHION = TrainConfig(epochs=20, batch_size=32, learning_rate=5e-3, keep="last", validate=False)
_EASY = TrainConfig(epochs=12, batch_size=64, learning_rate=2e-3, keep="last", validate=False)
# Whether a thing is of the colour asked for is a product of question and image. One hop and an MLP only add the two: on
# easy_vqa .953 after 60 epochs, where this reaches .998 after 12.
_BILINEAR = (("name", "mlb"), ("rank", 256), ("hidden", 128))
# A pretrained transformer needs little; attention and answer are trained on top of 4 frozen layers.
_MINILM = TrainConfig(epochs=6, batch_size=32, learning_rate=2e-4, keep="last", validate=False)
_WINDOWS = HideWindows(2)
# Questions about one object: what the answer depends on is one box.
_ONE_OBJECT = (("non_relational", 2), ("relational", 0))
_BOTH_KINDS = (("non_relational", 2), ("relational", 2))


def plan(task: str, profile: str | None = None) -> Plan:
    """What `profile` runs of `task`; a ValueError if there is no such profile or task."""
    profile, plans = profile_name(profile), _plans()
    if task not in plans:
        raise ValueError(f"unknown task {task!r}: expected one of {', '.join(plans)}")
    full = plans[task]
    if profile == "full":
        return full
    tagged_default = tuple(n for n in full.conditions if "default" in condition(n).tags)
    few = full.quick or dataclasses.replace(full, conditions=tagged_default)
    if profile == "default":
        return dataclasses.replace(few, seeds=full.seeds[:2], starts=("scratch",))
    small = _other(few.settings, epochs=2, n_train=60, n_quality=40)
    return dataclasses.replace(few, settings=small, seeds=full.seeds[:2], variations=full.variations[::12])


def _other(settings: Settings, epochs: int, **changes) -> Settings:
    return dataclasses.replace(settings, train=dataclasses.replace(settings.train, epochs=epochs), **changes)


def _plans() -> dict[str, Plan]:
    """The full study."""
    seeds, scratch = tuple(range(100, 110)), ("scratch",)
    shapes = Settings("shapes", 500, _WINDOWS, _SHAPES, weight=0.3, task_options=_ONE_OBJECT)
    fashion = Settings("cluttered_fashion", 1000, _WINDOWS, _FASHION, weight=0.3, task_options=(("n_test", 4000),))
    # About a tenth of either's training sentences: little data is where supervision can matter.
    trec = Settings("trec", 445, Pairs(), _TEXT)
    few = ("baseline", "supervised_best", "supervised_ridge", "self", "oracle")
    fewer = ("baseline", "supervised_ridge", "oracle")
    easy_model = (*_BILINEAR, ("cnn_steps", 2000))
    return {
        "trec": Plan(trec, tagged("text"), seeds),
        # Movie's test sentences stand in the order of the file, nearly all positive ones first: all are measured.
        "movie": Plan(Settings("movie", 800, Pairs(), _TEXT, n_quality=None), tagged("text"), seeds),
        "shapes": Plan(shapes, tagged("image", "shapes"), seeds, scratch),
        "cluttered_fashion": Plan(fashion, tagged("image"), seeds, scratch),
        "shapes_ablations": Plan(shapes, ("baseline", "oracle"), seeds, scratch, _varied(on_images=True)),
        "cluttered_fashion_ablations": Plan(fashion, ("baseline", "oracle"), seeds, scratch, _varied_less()),
        "trec_ablations": Plan(trec, ("baseline",), seeds, scratch, _varied(on_images=False)),
        # How good the baseline is with all the data, and what is left to gain there.
        "trec_all": Plan(dataclasses.replace(trec, n_train=None), ("baseline",), seeds[:3]),
        "shapes_4000": Plan(_other(shapes, 30, n_train=4000), fewer, seeds[:2], scratch),
        "shapes_4000_mlb": Plan(_other(shapes, 15, n_train=4000, model=_BILINEAR), fewer, seeds[:3], scratch),
        "shapes_mlb": Plan(_other(shapes, 30, model=_BILINEAR), tagged("image"), seeds, scratch),
        # Hidden cells that look like nothing in the data.
        "shapes_fill": Plan(_filled(shapes), _FILL_CONDITIONS, seeds, scratch),
        "cluttered_fashion_fill": Plan(_filled(fashion), _FILL_CONDITIONS, seeds, scratch),
        # Two hops, and questions that relate objects.
        "shapes_san": Plan(
            _other(shapes, 60, model=(("name", "san"),), task_options=_BOTH_KINDS), few, seeds[:2], scratch
        ),
        "easy_vqa": Plan(
            Settings("easy_vqa", None, _WINDOWS, _EASY, easy_model, weight=0.3), fewer[:-1], seeds[:1], scratch
        ),
        "trec_minilm": _transformer("trec_minilm", 0.5, n_quality=300),
        "movie_minilm": _transformer("movie_minilm", 0.7, n_quality=None, quality_every=4),
    }


def _transformer(task: str, keep: float, **quality: int | None) -> Plan:
    """A pretrained transformer; every condition on one teacher, judging variants by log odds, which do not saturate."""
    names = "baseline baseline_longer supervised_best supervised_importance supervised_ridge self shuffled"
    conditions = {name: condition(name) for name in f"{names} random_variant uniform inverted".split()}
    for name, each in conditions.items():
        if each.target is not None:
            conditions[name] = dataclasses.replace(each, target=dataclasses.replace(each.target, score="log_odds"))
    settings = Settings(task, 445, RandomMasks(100, keep), _MINILM, weight=0.3, **quality)
    small = dataclasses.replace(settings, n_train=200, sampler=RandomMasks(30, keep), n_quality=60)
    few = ("baseline", "supervised_best", "supervised_importance", "self", "shuffled")
    quick = Plan(small, tuple(conditions[name] for name in few), (100,), ("scratch",))
    return Plan(settings, tuple(conditions.values()), (100,), ("scratch",), quick=quick)


_FILL_CONDITIONS = ("baseline", "augmentation", "supervised_masked_3", "oracle")


def _filled(settings: Settings) -> Settings:
    """The same with hidden cells in the mean colour of the image instead of that of the ground."""
    return dataclasses.replace(settings, task_options=(*settings.task_options, ("fill", "mean")))


def _varied(*, on_images: bool) -> tuple[Variation, ...]:
    """Every axis; on images the fill and the size of the training set too."""
    cells = ablations.losses() + ablations.selectors() + ablations.scores() + ablations.masks(on_images=on_images)
    cells += ablations.teaching()
    if on_images:
        cells += ablations.cheaper() + ablations.fills()
        cells += ablations.sizes((125, 250), ("baseline", "self", "supervised_ridge", "oracle"))
    return tuple(cells)


def _varied_less() -> tuple[Variation, ...]:
    """The axes that image classification may answer differently, with one weight a loss."""
    weights = {name: tried[-2:-1] for name, tried in ablations.LOSS_WEIGHTS.items()}
    cells = ablations.losses(weights) + ablations.selectors() + ablations.fills()
    return tuple(cells + [cell for cell in ablations.masks(on_images=True) if cell.axis == "masks"])
