"""What the ablations vary, one thing at a time, around the same middle: data, not code.

The middle is the targets of one round: `ridge` on three baselines, sharpened, KL with the study's weight. It is cheaper
than the full method, and everything that is varied around it shares its nets.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

from ssan.samplers import HideWindows, Pairs, RandomMasks, Sampler, Singles
from ssan.study.conditions import Condition, Round, Target
from ssan.study.schedules import AnnealOut

SHARP = Round(temperature=0.5)
MIDDLE = Target((SHARP,), "ridge", teachers=3)

# Weights for every loss, around the point at which its gradient is about that of the cross-entropy.
LOSS_WEIGHTS: dict[str, tuple[float, ...]] = {
    "kl": (0.03, 0.3),
    "js": (1.0,),
    "mse": (30.0,),
    "emd": (0.1,),
    "rank": (0.3,),
    "mmd_released": (1e4,),
    "mmd_batch": (1e4,),
    "coral": (1e2,),
}


@dataclass(frozen=True)
class Variation:
    """One cell of the grid.

    Attributes:
        axis, value: what is varied, and to what, as figures print it.
        condition: what is trained.
        start: from which weights.
    """

    axis: str
    value: str
    condition: Condition
    start: str = "scratch"


def _vary(axis: str, value: object, target: Target, *, start: str = "scratch", **changes) -> Variation:
    name = f"{axis}={value}".replace(" ", "_").replace("/", "_")
    return Variation(axis, str(value), Condition(name, target, (start,), role="method", **changes), start)


def _middle(axis: str, **tried: dict[object, object]) -> list[Variation]:
    """The middle with one field of its target, `tried`, at each of the named values."""
    ((field, values),) = tried.items()
    return [_vary(axis, name, dataclasses.replace(MIDDLE, **{field: value})) for name, value in values.items()]


def losses() -> list[Variation]:
    """Every loss, on the same targets."""
    tried = [(loss, weight) for loss, each in LOSS_WEIGHTS.items() for weight in each]
    return [_vary(f"loss {loss}", f"{weight:g}", MIDDLE, loss=loss, weight=weight) for loss, weight in tried]


def selectors() -> list[Variation]:
    """Every selector on the scores and attention of the same three baselines; and no search at all."""
    named = {
        "best": Target(teachers=3),
        "importance": Target((SHARP,), "importance", teachers=3),
        "ridge": MIDDLE,
        "self": Target((Round("attention"),), teachers=3),
        "ridge × self": Target((Round("product"),), "ridge", teachers=3),
    }
    return [_vary("selector", name, target) for name, target in named.items()]


def masks(*, on_images: bool) -> list[Variation]:
    """The kind of masks."""
    named: dict[str, Sampler] = {"pairs": Pairs(), "singles": Singles(), "random, keep 0.8": RandomMasks(100, keep=0.8)}
    if on_images:
        named = {f"hide {n}x{n}": HideWindows(n) for n in (1, 2, 3)} | {"random, keep 0.9": RandomMasks(50, keep=0.9)}
    return _middle("masks", sampler=named)


def teaching() -> list[Variation]:
    """How many teachers, how many rounds, masked inputs or not, and when the weight is on."""
    cells = _middle("teachers", teachers={n: n for n in (1, 3)})
    cells += _middle("rounds", rounds={n: (SHARP,) * n for n in (1, 2)})
    schedules = {"constant": None, "anneal out": AnnealOut(0.5)}
    cells += [_vary("schedule", name, MIDDLE, schedule=schedule) for name, schedule in schedules.items()]
    masked = dataclasses.replace(MIDDLE, augmented=True)
    return [*cells, _vary("masked inputs", "no", MIDDLE), _vary("masked inputs", "all", masked, augment=True)]


def without_search() -> list[Variation]:
    """Cheaper explanations: maps of the batch without pairs, the same map for everybody, nobody's own map."""
    look, flat = Target((Round("attention"),), teachers=3), Target((Round("uniform"),))
    cells = [
        _vary("without a search", f"mmd_batch on {name}, {weight:g}", target, loss="mmd_batch", weight=weight)
        # On uniform targets it asks that the maps of a batch cover the image together, and no more: a coverage penalty.
        for name, target in (("self", look), ("uniform", flat))
        for weight in (1e4, 1e5)
    ]
    same = {name: dataclasses.replace(MIDDLE, change=name) for name in ("average", "shuffled")}
    same |= {"uniform": flat, "centre": Target((Round("centre"),))}
    return cells + [_vary("without a search", name, target) for name, target in same.items()]


def rivals() -> tuple[Variation, ...]:
    """What a reviewer would try instead, on a transformer: other targets of the same search, other objectives."""
    look = Target((Round("gradient"),), score="log_odds")
    cells = [Variation("rival", "attention x gradient", Condition("rival=gradient", look, role="method"))]
    for name in ("lasso", "kernel_shap"):
        target = Target(selector=name, score="log_odds")
        cells.append(Variation("rival", name, Condition(f"rival={name}", target, role="method")))
    for name in ("counterfactual", "saliency_guided"):
        cells.append(Variation("rival", name, Condition(f"rival={name}", role="method", objective=name)))
    return tuple(cells)
