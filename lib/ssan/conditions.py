"""The conditions that a study compares: what is trained, on which targets. Each is a few lines of data, not code."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Target:
    """How the targets of one condition are made from the teachers.

    Attributes:
        kind: `surrogate` (what `selector` finds), `self` (the teachers' attention on the clean input), `shuffled`
            (surrogates dealt to other examples), `random_variant` (the attention on a variant drawn at random),
            `uniform`, `inverted`, or `oracle` (the ground-truth boxes).
        selector: for `surrogate`, `shuffled` and `inverted`, see `ssan.selectors`.
        score: what variants are judged by, see `ssan.search`.
        teachers: how many baselines are averaged.
        rounds: 2 trains students on the first targets, lets them search again, and multiplies what they find with
            their mean clean attention.
        temperature: sharpens (below 1) the targets of a first of two rounds.
    """

    kind: str = "surrogate"
    selector: str = "best"
    score: str = "logit"
    teachers: int = 1
    rounds: int = 1
    temperature: float = 1.0


@dataclass(frozen=True)
class Condition:
    """One row of a table.

    Attributes:
        name: what rows and figures call it.
        target: how its attention is supervised, or None.
        starts: from which weights it may be trained: `scratch`, `continued` (from the baseline's weights).
        longer: train for as many epochs as baseline and retraining together.
        augment: hide regions of training inputs at random, with the same masks that the search uses.
        ensemble: average the predictions of this many baselines; nothing is trained.
        role: `baseline`, `method`, `control` or `ceiling`.
    """

    name: str
    target: Target | None = None
    starts: tuple[str, ...] = ("scratch", "continued")
    longer: bool = False
    augment: bool = False
    ensemble: int = 0
    role: str = "control"


# Training as such: from scratch, unsupervised, for the usual number of epochs.
PLAIN = Condition("baseline", starts=("scratch",), role="baseline")

_IMPORTANCE = Target(selector="importance", score="probability")
_RIDGE = Target(selector="ridge", score="logit", rounds=2, temperature=0.5)

CONDITIONS: dict[str, Condition] = {
    condition.name: condition
    for condition in (
        PLAIN,
        Condition("baseline_longer", longer=True),
        Condition("supervised_best", Target(), role="method"),
        Condition("supervised_importance", _IMPORTANCE, role="method"),
        Condition("supervised_ridge", _RIDGE, starts=("scratch",), role="method"),
        Condition(
            "supervised_ridge_3",
            Target(selector="ridge", score="logit", teachers=3, rounds=2, temperature=0.5),
            starts=("scratch",),
            role="method",
        ),
        Condition("self", Target(kind="self")),
        Condition("self_3", Target(kind="self", teachers=3), starts=("scratch",)),
        # On text the targets that are dealt out are those of the selector that teaches something there, on images too.
        Condition("shuffled", Target("shuffled", "importance", "probability")),
        Condition("shuffled_ridge", Target("shuffled", "ridge", "logit", temperature=0.5), starts=("scratch",)),
        Condition("random_variant", Target(kind="random_variant")),
        Condition("uniform", Target(kind="uniform")),
        Condition("inverted", Target("inverted", "importance", "probability")),
        Condition("augmentation", augment=True, starts=("scratch",)),
        Condition("ensemble_3", ensemble=3, starts=("scratch",)),
        Condition("oracle", Target(kind="oracle"), starts=("scratch",), role="ceiling"),
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
)

IMAGE_CONDITIONS = (
    "baseline",
    "baseline_longer",
    "supervised_best",
    "supervised_ridge",
    "supervised_ridge_3",
    "self",
    "self_3",
    "shuffled_ridge",
    "random_variant",
    "augmentation",
    "ensemble_3",
    "oracle",
)


def condition(name: str) -> Condition:
    """The condition called `name`.

    Raises:
        ValueError: if there is none, with the names there are.
    """
    if name not in CONDITIONS:
        raise ValueError(f"unknown condition {name!r}: expected one of {', '.join(CONDITIONS)}")
    return CONDITIONS[name]
