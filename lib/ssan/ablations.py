"""What the ablations vary, one thing at a time, around the same middle: data, not code.

The middle is the targets of one round: `ridge` on three baselines, sharpened, KL with the study's weight. It is cheaper
than the full method, and everything that is varied around it shares its nets.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

from ssan.conditions import PLAIN, Condition, CrossFitted, Round, Snapshots, Target, condition
from ssan.samplers import HideWindows, KeepWindows, Pairs, RandomMasks, Rise, Sampler, Singles
from ssan.schedules import AnnealOut, Constant, WarmUp

SHARP = Round(temperature=0.5)
MIDDLE = Target((SHARP,), "ridge", teachers=3)

# Weights for every loss, a factor of 10 or so apart, around the point at which its gradient is about that of the
# cross-entropy; for KL one more, where it does little.
LOSS_WEIGHTS: dict[str, tuple[float, ...]] = {
    "kl": (0.03, 0.3, 3.0),
    "reverse_kl": (0.3, 3.0),
    "js": (1.0, 10.0),
    "mse": (30.0, 300.0),
    "cosine": (0.3, 3.0),
    "emd": (0.1, 1.0),
    "rank": (0.3, 3.0),
    "mmd_released": (1e4, 1e5),
    "mmd_batch": (1e4, 1e5),
    "coral": (1e2, 1e4),
    "adversarial_image": (0.1, 1.0),
    "adversarial_pixel": (0.1, 1.0),
}


@dataclass(frozen=True)
class Variation:
    """One cell of the grid.

    Attributes:
        axis: what is varied.
        value: to what, as figures print it.
        condition: what is trained.
        start: from which weights.
        n_train: another size of the training set, or None.
    """

    axis: str
    value: str
    condition: Condition
    start: str = "scratch"
    n_train: int | None = None

    @property
    def varies_loss(self) -> bool:
        """Whether it is a cell of `losses`: its condition then says which loss and weight."""
        return self.axis.startswith("loss ")


def _vary(axis: str, value: object, target: Target, *, start: str = "scratch", **changes) -> Variation:
    name = f"{axis}={value}".replace(" ", "_").replace("/", "_")
    return Variation(axis, str(value), Condition(name, target, (start,), role="method", **changes), start)


def losses(weights: dict[str, tuple[float, ...]] | None = None) -> list[Variation]:
    """Every loss with its weights, on the same targets."""
    table = weights or LOSS_WEIGHTS
    return [
        _vary(f"loss {loss}", f"{weight:g}", MIDDLE, loss=loss, weight=weight)
        for loss, own in table.items()
        for weight in own
    ]


def selectors() -> list[Variation]:
    """Every selector on the scores and attention of the same three baselines; and no search at all."""
    named = {
        "best": Target(teachers=3),
        "top_k": Target(selector="top_k", teachers=3),
        "weighted": Target(selector="weighted", teachers=3),
        "margin": Target(selector="margin", teachers=3),
        "importance": Target((SHARP,), "importance", teachers=3),
        "ridge": MIDDLE,
        "self": Target((Round("attention"),), teachers=3),
        "ridge × self": Target((Round("product"),), "ridge", teachers=3),
    }
    return [_vary("selector", name, target) for name, target in named.items()]


def scores() -> list[Variation]:
    """What a variant is judged by."""
    return [
        _vary("score", score, dataclasses.replace(MIDDLE, score=score))
        for score in ("logit", "probability", "log_odds")
    ]


def masks(grid: tuple[int, int] | None) -> list[Variation]:
    """The kind of masks, and how many there are of the random kind."""
    if grid is None:
        named: dict[str, Sampler] = {
            "pairs": Pairs(),
            "singles": Singles(),
            "hide 3 in a row": HideWindows(3),
            "random, keep 0.8": RandomMasks(100, keep=0.8),
        }
        keep = 0.8
    else:
        named = {
            "hide 1x1": HideWindows(1, grid=grid),
            "hide 2x2": HideWindows(2, grid=grid),
            "hide 3x3": HideWindows(3, grid=grid),
            "hide 4x4": HideWindows(4, grid=grid),
            "keep 3x3": KeepWindows(3, grid=grid),
            "random, keep 0.5": RandomMasks(50, keep=0.5),
            "random, keep 0.9": RandomMasks(50, keep=0.9),
            "rise": Rise(50, cells=4, keep=0.5, grid=grid),
        }
        keep = 0.9
    kinds = [_vary("masks", name, dataclasses.replace(MIDDLE, sampler=sampler)) for name, sampler in named.items()]
    numbers = [
        _vary("number of masks", n, dataclasses.replace(MIDDLE, sampler=RandomMasks(n, keep=keep)))
        for n in (12, 25, 50, 100, 200)
    ]
    return kinds + numbers


def fills() -> list[Variation]:
    """What hidden cells show."""
    named = {"background": None, "zero": "zero", "mean": "mean", "blur": "blur", "grey": (0.5,)}
    return [_vary("fill", name, dataclasses.replace(MIDDLE, fill=fill)) for name, fill in named.items()]


def teaching() -> list[Variation]:
    """How many teachers, how many rounds, how sharp, and when the weight is on."""
    found = [_vary("teachers", n, dataclasses.replace(MIDDLE, teachers=n)) for n in (1, 2, 3, 5)]
    found += [
        _vary("teachers", "3 snapshots of one", Snapshots((SHARP,), "ridge", teachers=3)),
        _vary("teachers", "3, each on a half", CrossFitted((SHARP,), "ridge", teachers=3)),
    ]
    rounds = {"1": (SHARP,), "2": (SHARP, SHARP), "3": (SHARP, SHARP, SHARP)}
    found += [_vary("rounds", name, dataclasses.replace(MIDDLE, rounds=own)) for name, own in rounds.items()]
    found += [
        _vary("temperature", t, dataclasses.replace(MIDDLE, rounds=(Round(temperature=t),))) for t in (0.25, 0.5, 1, 2)
    ]
    schedules = {"constant": Constant(), "warm-up": WarmUp(0.5), "anneal out": AnnealOut(0.5)}
    found += [_vary("schedule", name, MIDDLE, schedule=schedule) for name, schedule in schedules.items()]
    found += [_vary("start", start, MIDDLE, start=start) for start in ("scratch", "continued")]
    found += [
        _vary("masked inputs", "no", MIDDLE),
        _vary("masked inputs", "teachers", dataclasses.replace(MIDDLE, augmented=True)),
        _vary("masked inputs", "all", dataclasses.replace(MIDDLE, augmented=True), augment=True),
    ]
    return found


def cheaper(grid: tuple[int, int]) -> list[Variation]:
    """The full method, `supervised_masked_3`, and the same for less."""
    whole = condition("supervised_masked_3").target
    named = {
        "3 teachers, 2 rounds": whole,
        "1 teacher, 2 rounds": dataclasses.replace(whole, teachers=1),
        "3 snapshots, 2 rounds": Snapshots(whole.rounds, whole.selector, whole.score, 3, augmented=True),
        "3 teachers, 1 round": dataclasses.replace(whole, rounds=whole.rounds[:1]),
        "3 teachers, 2 rounds, 16 masks": dataclasses.replace(whole, sampler=HideWindows(2, stride=2, grid=grid)),
    }
    return [_vary("masked inputs, for less", name, target, augment=True) for name, target in named.items()]


def sizes(numbers: tuple[int, ...], names: tuple[str, ...]) -> list[Variation]:
    """Other sizes of the training set, for conditions of the study."""
    return [Variation(f"training set: {name}", str(n), condition(name), n_train=n) for n in numbers for name in names]


def baseline() -> Variation:
    """What everything is compared with."""
    return Variation("baseline", "", PLAIN)
