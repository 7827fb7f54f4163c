"""What each profile of the study runs of each task."""

from __future__ import annotations

import dataclasses
import os
from dataclasses import dataclass

from ssan.samplers import HideWindows, Pairs, RandomMasks, Sampler
from ssan.study import ablations
from ssan.study.ablations import Variation
from ssan.study.conditions import Condition, Target, condition, shown, tagged
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
        together: selectors that share the forward passes of one search.
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
    together: tuple[str, ...] = ()
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
    starts: tuple[str, ...] = ("scratch",)
    variations: tuple[Variation, ...] = ()
    quick: Plan | None = None

    @property
    def units(self) -> list[tuple[str | Condition, str]]:
        """(condition, start) of every row of one seed, baseline first."""
        return [(name, start) for name in self.conditions for start in condition(name).starts if start in self.starts]


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
# Whether a thing is of the colour asked for is a product of question and image; one hop and an MLP only add the two.
_BILINEAR = (("name", "mlb"), ("rank", 256), ("hidden", 128))
# A pretrained transformer needs little; attention and answer are trained on top of 4 frozen layers.
_MINILM = TrainConfig(epochs=6, batch_size=32, learning_rate=2e-4, keep="last", validate=False)
_WINDOWS = HideWindows(2)
# Questions about one object: what the answer depends on is one box.
_ONE_OBJECT = (("non_relational", 2), ("relational", 0))


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
        return dataclasses.replace(few, seeds=few.seeds[:2])
    model = tuple((name, 100 if name == "cnn_steps" else value) for name, value in few.settings.model)
    small = _other(few.settings, epochs=2, n_train=60, n_quality=40, model=model)
    return dataclasses.replace(few, settings=small, seeds=few.seeds[:2], variations=full.variations[::12])


def _other(settings: Settings, epochs: int, **changes) -> Settings:
    return dataclasses.replace(settings, train=dataclasses.replace(settings.train, epochs=epochs), **changes)


def _plans() -> dict[str, Plan]:
    """The full study."""
    seeds = tuple(range(100, 110))
    # The longer the frozen CNN is trained, the less baselines scatter.
    eyes = (("cnn_kernel", 4), ("cnn_steps", 1000))
    shapes = Settings("shapes", 500, _WINDOWS, _SHAPES, eyes, weight=0.3, task_options=_ONE_OBJECT)
    options = {"weight": 0.3, "task_options": (("n_test", 4000),)}
    fashion = Settings("cluttered_fashion", 1000, _WINDOWS, _FASHION, (("kernel", 4),), **options)
    # About a tenth of either's training sentences: little data is where supervision can matter.
    trec = Settings("trec", 445, Pairs(), _TEXT)
    # Movie's test sentences stand in the order of the file, nearly all positive ones first: all are measured.
    movie = Settings("movie", 800, Pairs(), _TEXT, n_quality=None)
    of_text, of_images = (*tagged("text"), shown("baseline", "early")), (*tagged("image"), *_FIXED)
    quick = ("baseline", "supervised_best", "supervised_ridge", "self", "shuffled_ridge", "oracle", *_FIXED)
    old = dataclasses.replace(shapes, model=(("cnn_kernel", 3), eyes[1]))
    return {
        "trec": Plan(trec, of_text, seeds),
        "movie": Plan(movie, of_text, seeds),
        "shapes": Plan(shapes, of_images, seeds, quick=Plan(shapes, quick, seeds)),
        "cluttered_fashion": Plan(fashion, of_images, seeds, quick=Plan(fashion, quick, seeds)),
        # The old network, whose cells see half a cell beside where they are drawn.
        "shapes_half_a_cell": Plan(old, _EYES, seeds[:5]),
        "shapes_mlb": Plan(_other(shapes, 30, model=(*_BILINEAR, *eyes)), _EYES, seeds[:5]),
        "shapes_ablations": Plan(shapes, ("baseline", "oracle"), seeds, variations=_varied(on_images=True)),
        "trec_ablations": Plan(trec, ("baseline",), seeds, variations=_varied(on_images=False)),
    } | _transformers(seeds)


# Maps that know nothing of the example.
_FIXED = tuple(shown("baseline", name) for name in ("chance", "centre", "constant"))
_EYES = ("baseline", "supervised_masked_3", "masked_self_3_twice", "aligned_self", "oracle")


def _varied(*, on_images: bool) -> tuple[Variation, ...]:
    """The axes that changed a sentence."""
    cells = ablations.losses() + ablations.selectors() + ablations.masks(on_images=on_images) + ablations.teaching()
    return tuple(cells + ablations.without_search() if on_images else cells)


_LOG_ODDS = {"score": "log_odds"}  # which does not saturate where a pretrained net is sure
_TRANSFORMER = {
    each.name: each
    for each in (
        condition("baseline"),
        condition("baseline_longer"),
        Condition("supervised_best", Target(**_LOG_ODDS), role="method"),
        Condition("supervised_importance", Target(selector="importance", **_LOG_ODDS), role="method"),
        Condition("supervised_ridge", Target(selector="ridge", **_LOG_ODDS), role="method"),
        condition("self"),
        Condition("shuffled", Target(selector="ridge", change="shuffled", **_LOG_ODDS)),
        condition("random_variant"),
        condition("uniform"),
        Condition("inverted", Target(selector="ridge", change="inverted", **_LOG_ODDS)),
        shown("baseline", "early"),
        shown("baseline", "leave_one_out"),
    )
}
_EXPLANATIONS = ("attention_x_gradient", "rollout", "integrated_gradients", "kernel_shap", "leave_one_out")


def _transformers(seeds: tuple[int, ...]) -> dict[str, Plan]:
    """A pretrained transformer: every condition with one teacher, everything from one search."""
    together = ("best", "importance", "ridge", "lasso", "kernel_shap")
    sizes = {"trec_minilm": {"n_quality": 200}, "movie_minilm": {"n_quality": None, "quality_every": 6}}
    plans, names = {}, tuple(_TRANSFORMER.values())
    few = tuple(_TRANSFORMER[name] for name in ("baseline", "supervised_best", "supervised_ridge", "self", "shuffled"))
    for task, keep in (("trec_minilm", 0.5), ("movie_minilm", 0.7)):
        # So many that two draws of them give ridge maps that agree to .8, on seeds 0 to 2: `ssan.study.agreement`.
        settings = Settings(task, 445, RandomMasks(100, keep), _MINILM, weight=0.3, together=together, **sizes[task])
        small = dataclasses.replace(settings, n_train=200, sampler=RandomMasks(30, keep), n_quality=60)
        plans[task] = Plan(settings, names, seeds, quick=Plan(small, few, (100,)))
    first = plans["trec_minilm"].settings
    pair = (_TRANSFORMER["baseline"], _TRANSFORMER["supervised_ridge"])
    maps = [shown(net, name) for net in pair for name in _EXPLANATIONS]
    plans["trec_minilm_maps"] = Plan(first, (*pair, *maps), seeds)
    plans["trec_minilm_rivals"] = Plan(first, pair, seeds, variations=ablations.rivals())
    every = dataclasses.replace(_MINILM, epochs=5, learning_rate=1e-4)
    unfrozen = dataclasses.replace(first, train=every, model=(("frozen", 0),))
    kept = ("baseline", "supervised_best", "supervised_importance", "supervised_ridge", "self", "shuffled", "inverted")
    plans["trec_minilm_unfrozen"] = Plan(unfrozen, tuple(_TRANSFORMER[name] for name in kept), seeds[:3])
    return plans
