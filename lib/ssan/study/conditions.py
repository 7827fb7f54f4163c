"""The conditions that a study compares: what is trained, on which targets. Each is a line of data, not code."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass

from ssan.samplers import Sampler

GIVES = ("surrogate", "attention", "gradient", "product", "random_variant", "uniform", "centre", "oracle")
CHANGES = ("shuffled", "inverted", "aligned", "average")


@dataclass(frozen=True)
class Round:
    """What the teachers of one round hand on.

    Attributes:
        gives: `surrogate` (what the selector makes of the variants), `attention` (their mean attention on the clean
            input), `gradient` (attention times gradient), `product` of the first two, `random_variant` (the
            attention on a variant drawn at random), or what asks no teacher: `uniform`, `oracle` (the true boxes),
            `centre` (the middle of the image).
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

    Attributes:
        rounds: teachers of the first are baselines, of every later one students, trained from scratch on what the round
            before gave.
        selector: what makes a surrogate of the variants, see `ssan.selectors`.
        score: what variants are judged by, see `ssan.find_surrogates`.
        teachers: how many nets are averaged in every round; they differ in initial weights and batch order.
        augmented: teachers and students are trained on inputs masked as the search does it: nothing new to them.
        sampler: which masks are tried; None takes the study's.
        change: what is done to the last round's targets: `shuffled` (dealt to other examples), `inverted`, `aligned`
            (all moved by one shift), `average` (the same for everybody); or None.
    """

    rounds: tuple[Round, ...] = (Round(),)
    selector: str = "best"
    score: str = "logit"
    teachers: int = 1
    augmented: bool = False
    sampler: Sampler | None = None
    change: str | None = None

    def __post_init__(self) -> None:
        if not self.rounds or self.teachers < 1:
            raise ValueError(f"targets need at least one round and one teacher, got {self}")
        if self.change is not None and self.change not in CHANGES:
            raise ValueError(f"change must be one of {', '.join(CHANGES)}, or None, got {self.change!r}")


@dataclass(frozen=True)
class Condition:
    """One row of a table.

    Attributes:
        name: what rows and figures call it.
        target: how its attention is supervised, or None.
        starts: from which weights it may be trained: `scratch`, `continued` (from the baseline's weights).
        role: `baseline`, `method`, `control`, `ceiling`, or `map` (a net that is already there, judged by another map).
        tags: where it is run: `text`, `image`; `default`: in the smoke and default profiles too.
        longer: train for as many epochs as baseline and retraining together.
        augment: hide regions of training inputs at random, with the masks of the search.
        ensemble: average the predictions of this many baselines; nothing else is trained.
        loss, weight, schedule: of the attention loss; None takes the study's.
        entropy_penalty: sharpens attention without any target, see `TrainConfig`.
        objective: what is added to the loss instead of targets, see `ssan.study.rivals`.
        shows: a map that is judged in the place of the net's attention, see `ssan.study.maps`.
    """

    name: str
    target: Target | None = None
    starts: tuple[str, ...] = ("scratch", "continued")
    role: str = "control"
    tags: tuple[str, ...] = ()
    longer: bool = False
    augment: bool = False
    ensemble: int = 0
    loss: str | None = None
    weight: float | None = None
    schedule: Callable[[float], float] | None = None
    entropy_penalty: float = 0.0
    objective: str | None = None
    shows: str | None = None


_BOTH, _TEXT, _IMAGE = ("text", "image"), ("text",), ("image",)
_DEFAULT, _SCRATCH = ("default",), ("scratch",)
_SHARP, _LOOK = Round(temperature=0.5), Round("attention")
_RIDGE_ROUNDS = (_SHARP, Round("product"))
_IMPORTANCE = {"selector": "importance", "score": "probability"}


def _masked(*rounds: Round, change: str | None = None) -> dict:
    """Everyone, teachers, students and the net itself, trains on masked inputs; plain ridge targets in every round."""
    target = Target(rounds, "ridge", teachers=3, augmented=True, change=change)
    return {"target": target, "starts": _SCRATCH, "augment": True}


# Training as such: from scratch, unsupervised, for the usual number of epochs.
PLAIN = Condition("baseline", None, _SCRATCH, "baseline", _BOTH + _DEFAULT)
AUGMENTED = Condition("augmentation", None, _SCRATCH, "control", _IMAGE + _DEFAULT, augment=True)

CONDITIONS: dict[str, Condition] = {
    condition.name: condition
    for condition in (
        PLAIN,
        Condition("baseline_longer", tags=_TEXT + _DEFAULT, longer=True),
        Condition("supervised_best", Target(), role="method", tags=_BOTH + _DEFAULT),
        Condition("supervised_importance", Target(**_IMPORTANCE), role="method", tags=_TEXT + _DEFAULT),
        Condition("supervised_ridge", Target(_RIDGE_ROUNDS, "ridge"), _SCRATCH, "method"),
        Condition("supervised_ridge_3", Target(_RIDGE_ROUNDS, "ridge", teachers=3), _SCRATCH, "method", _IMAGE),
        Condition("supervised_masked_3", role="method", tags=_IMAGE, **_masked(_SHARP, _SHARP)),
        Condition("self", Target((_LOOK,)), tags=_TEXT + _DEFAULT),
        Condition("self_3", Target((_LOOK,), teachers=3), _SCRATCH, tags=_IMAGE),
        Condition("masked_self_3_twice", tags=_IMAGE, **_masked(_LOOK, _LOOK)),
        Condition("aligned_self", tags=_IMAGE, **_masked(_LOOK, _LOOK, change="aligned")),
        Condition("shuffled", Target(**_IMPORTANCE, change="shuffled"), tags=_TEXT + _DEFAULT),
        Condition("shuffled_ridge", Target((_SHARP,), "ridge", change="shuffled"), _SCRATCH, tags=_IMAGE),
        Condition("random_variant", Target((Round("random_variant"),)), tags=_TEXT),
        Condition("uniform", Target((Round("uniform"),)), tags=_TEXT),
        Condition("inverted", Target(**_IMPORTANCE, change="inverted"), tags=_TEXT),
        Condition("sharper", tags=_TEXT, entropy_penalty=0.1),
        AUGMENTED,
        Condition("ensemble_3", None, _SCRATCH, tags=_IMAGE, ensemble=3),
        Condition("oracle", Target((Round("oracle"),)), _SCRATCH, "ceiling", _IMAGE + _DEFAULT),
    )
}


def shown(name: str | Condition, maps: str) -> Condition:
    """The net of a condition, judged by another map than its attention: `name:maps`."""
    of = condition(name)
    return dataclasses.replace(of, name=f"{of.name}:{maps}", role="map", shows=maps, tags=())


def tagged(*tags: str) -> tuple[str, ...]:
    """The names of the conditions that have any of the `tags`."""
    return tuple(name for name, condition in CONDITIONS.items() if set(tags) & set(condition.tags))


def role_of(name: str) -> str:
    """The role of the condition that rows call `name`; names with a colon are those of maps."""
    return "map" if ":" in name else CONDITIONS[name].role


def unsupervised(*, augmented: bool) -> Condition:
    """What the teachers of a first round are trained as: baselines, on masked inputs or on plain ones."""
    return AUGMENTED if augmented else PLAIN


def condition(name: str | Condition) -> Condition:
    """The condition called `name`, or the condition itself; a ValueError with the names there are if there is none."""
    if isinstance(name, Condition):
        return name
    if name not in CONDITIONS:
        raise ValueError(f"unknown condition {name!r}: expected one of {', '.join(CONDITIONS)}")
    return CONDITIONS[name]
