"""The conditions that a study compares: what is trained, on which targets. Each is a few lines of data, not code."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from ssan.samplers import Sampler

GIVES = ("surrogate", "attention", "product", "random_variant", "uniform", "oracle")
CHANGES = ("shuffled", "inverted")


@dataclass(frozen=True)
class Round:
    """What the teachers of one round hand on.

    Attributes:
        gives: `surrogate` (what the selector finds), `attention` (their mean attention on the clean input), `product`
            (the two multiplied), or what asks no teacher about variants at all or only about one: `random_variant`
            (the attention on a variant drawn at random), `uniform`, `oracle` (the ground-truth boxes).
        temperature: sharpens (below 1) or flattens (above 1) the map.
    """

    gives: str = "surrogate"
    temperature: float = 1.0

    def __post_init__(self) -> None:
        if self.gives not in GIVES:
            raise ValueError(f"a round gives one of {', '.join(GIVES)}, got {self.gives!r}")


@dataclass(frozen=True)
class Target:
    """How the targets of one condition are made.

    The teachers of the first round are baselines; those of every later round are students, trained from scratch on
    what the round before gave.

    Attributes:
        rounds: one entry per round.
        selector: what makes a surrogate of the variants, see `ssan.selectors`.
        score: what variants are judged by, see `ssan.search`.
        teachers: how many nets are averaged in every round.
        augmented: teachers and students are trained on inputs with regions hidden at random, by the same masks as the
            search uses, so that masked inputs are nothing new to them.
        sampler: which masks are tried; None takes the study's.
        fill: what hidden cells of an image show; None takes the task's.
        change: `shuffled` (dealt to other examples) or `inverted`, done to the last round's targets; or None.
    """

    rounds: tuple[Round, ...] = (Round(),)
    selector: str = "best"
    score: str = "logit"
    teachers: int = 1
    augmented: bool = False
    sampler: Sampler | None = None
    fill: str | tuple[float, ...] | None = None
    change: str | None = None

    def __post_init__(self) -> None:
        if not self.rounds or self.teachers < 1:
            raise ValueError(f"targets need at least one round and one teacher, got {self}")
        if self.change is not None and self.change not in CHANGES:
            raise ValueError(f"change must be one of {', '.join(CHANGES)}, or None, got {self.change!r}")


@dataclass(frozen=True)
class CrossFitted(Target):
    """Targets by teachers that have not seen the example: each fold is searched by nets trained on the other folds.

    There are `teachers` nets for every fold. Examples that share an image are in one fold.

    Attributes:
        folds: how many parts the training examples are dealt into.
    """

    folds: int = 2

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.folds < 2 or self.rounds[0].gives != "surrogate" or len(self.rounds) > 1:
            raise ValueError(f"cross-fitted targets are surrogates of one round, of at least two folds, got {self}")


@dataclass(frozen=True)
class Snapshots(Target):
    """Targets by one net a round, as it was at several times: a single training gives all the teachers.

    The `teachers` times are evenly spaced, the last is the end. (Snapshot ensembles, Huang et al. 2017, without their
    cyclic learning rate.)
    """


@dataclass(frozen=True)
class Condition:
    """One row of a table.

    Attributes:
        name: what rows and figures call it.
        target: how its attention is supervised, or None.
        starts: from which weights it may be trained: `scratch`, `continued` (from the baseline's weights).
        longer: train for as many epochs as baseline and retraining together.
        augment: hide regions of training inputs at random, with the same masks that the search uses.
        ensemble: average the predictions of this many baselines; nothing else is trained.
        role: `baseline`, `method`, `control` or `ceiling`.
        loss, weight, schedule: of the attention loss; None takes the study's.
        entropy_penalty: sharpens attention without any target, see `TrainConfig`.
    """

    name: str
    target: Target | None = None
    starts: tuple[str, ...] = ("scratch", "continued")
    longer: bool = False
    augment: bool = False
    ensemble: int = 0
    role: str = "control"
    loss: str | None = None
    weight: float | None = None
    schedule: Callable[[float], float] | None = None
    entropy_penalty: float = 0.0


# Training as such: from scratch, unsupervised, for the usual number of epochs.
PLAIN = Condition("baseline", starts=("scratch",), role="baseline")

_SHARP = Round(temperature=0.5)
_LOOK = Round("attention")
_SCRATCH = ("scratch",)

_IMPORTANCE = Target(selector="importance", score="probability")
_RIDGE_ROUNDS = (_SHARP, Round("product"))


def _masked(rounds: tuple[Round, ...]) -> Target:
    return Target(rounds, "ridge", teachers=3, augmented=True)


CONDITIONS: dict[str, Condition] = {
    condition.name: condition
    for condition in (
        PLAIN,
        Condition("baseline_longer", longer=True),
        Condition("supervised_best", Target(), role="method"),
        Condition("supervised_importance", _IMPORTANCE, role="method"),
        Condition("supervised_ridge", Target(_RIDGE_ROUNDS, "ridge"), _SCRATCH, role="method"),
        Condition("supervised_ridge_3", Target(_RIDGE_ROUNDS, "ridge", teachers=3), _SCRATCH, role="method"),
        # Everyone, teachers, students and the net itself, trains on masked inputs; plain ridge targets in every round.
        Condition("supervised_masked_3", _masked((_SHARP, _SHARP)), _SCRATCH, augment=True, role="method"),
        Condition("supervised_masked_3x3", _masked((_SHARP, _SHARP, _SHARP)), _SCRATCH, augment=True, role="method"),
        Condition("self", Target((_LOOK,))),
        Condition("self_3", Target((_LOOK,), teachers=3), _SCRATCH),
        Condition("self_3_twice", Target((_LOOK, _LOOK), teachers=3), _SCRATCH),
        Condition("masked_self_3", _masked((_LOOK,)), _SCRATCH, augment=True),
        Condition("masked_self_3_twice", _masked((_LOOK, _LOOK)), _SCRATCH, augment=True),
        # On text the targets that are dealt out are those of the selector that teaches something there, on images too.
        Condition("shuffled", Target(selector="importance", score="probability", change="shuffled")),
        Condition("shuffled_ridge", Target((_SHARP,), "ridge", change="shuffled"), _SCRATCH),
        Condition("random_variant", Target((Round("random_variant"),))),
        Condition("uniform", Target((Round("uniform"),))),
        Condition("inverted", Target(selector="importance", score="probability", change="inverted")),
        Condition("inverted_ridge", Target((_SHARP,), "ridge", change="inverted"), _SCRATCH),
        Condition("sharper", entropy_penalty=0.1),
        Condition("augmentation", augment=True, starts=_SCRATCH),
        Condition("ensemble_3", ensemble=3, starts=_SCRATCH),
        Condition("ensemble_7", ensemble=7, starts=_SCRATCH),
        Condition("oracle", Target((Round("oracle"),)), _SCRATCH, role="ceiling"),
        Condition("masked_oracle", Target((Round("oracle"),)), _SCRATCH, augment=True, role="ceiling"),
    )
}

TEXT_CONDITIONS = (
    "baseline",
    "baseline_longer",
    "supervised_best",
    "supervised_importance",
    "self",
    "shuffled",
    "random_variant",
    "uniform",
    "inverted",
    "sharper",
)

ALL_IMAGE_CONDITIONS = (
    "baseline",
    "baseline_longer",
    "supervised_best",
    "supervised_ridge",
    "supervised_ridge_3",
    "supervised_masked_3",
    "supervised_masked_3x3",
    "self",
    "self_3",
    "self_3_twice",
    "masked_self_3",
    "masked_self_3_twice",
    "shuffled_ridge",
    "random_variant",
    "uniform",
    "inverted_ridge",
    "sharper",
    "augmentation",
    "ensemble_3",
    "ensemble_7",
    "oracle",
    "masked_oracle",
)

# Too much for a reader's machine: these are in the full study alone.
FULL_ONLY = (
    "supervised_ridge_3",
    "supervised_masked_3",
    "supervised_masked_3x3",
    "self_3",
    "self_3_twice",
    "masked_self_3",
    "masked_self_3_twice",
    "uniform",
    "inverted",
    "inverted_ridge",
    "sharper",
    "ensemble_3",
    "ensemble_7",
    "masked_oracle",
)


def unsupervised(*, augmented: bool) -> Condition:
    """What the teachers of a first round are trained as: baselines, on masked inputs or on plain ones."""
    return CONDITIONS["augmentation"] if augmented else PLAIN


def condition(name: str) -> Condition:
    """The condition called `name`.

    Raises:
        ValueError: if there is none, with the names there are.
    """
    if name not in CONDITIONS:
        raise ValueError(f"unknown condition {name!r}: expected one of {', '.join(CONDITIONS)}")
    return CONDITIONS[name]
