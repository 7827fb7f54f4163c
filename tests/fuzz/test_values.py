"""Every public function that takes tensors or settings, on what fits, what nearly fits, and what does not."""

import math
import warnings
from dataclasses import fields

import pytest
import torch
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st

import ssan
from ssan import metrics
from ssan.files import config_hash
from ssan.losses import entropy_penalty, hop_penalty
from ssan.widgets import Sampling, explore
from tests.fuzz.conftest import FACTOR, SEED, attempt
from tests.helpers import Returns, additive, exists, generator, image_task, random_sentences, text_task
from tests.widgets.subjects import subject

TARGETS, B, R = {}, 3, 4  # most tensors are so many rows of so many regions, on a grid of 2 x 2
SHAPES = [(), (0,), (4,), (0, 4), (3, 0), (1, 4), (3, 1), (2, 4), (3, 5), (4, 3), (3, 2, 4), (1, 3, 4)]
TYPES = [torch.float64, torch.float16, torch.bfloat16, torch.int64, torch.uint8, torch.bool]
MAPS, WHOLE = ("map", "one", "flat", "peaked"), ("whole", "flat", "zero")
KINDS = (*MAPS, *WHOLE, "tiny", "huge", "signed", "nan", "inf")
ODD = [math.nan, math.inf, -math.inf, 0.5, 1e-300, 1e300, True, None, "2", "nonsense", 1.0, 2.5, b"x", 1j, {}, [2, 2]]
SMALL = st.integers(-2, 5) | st.sampled_from([*ODD, (), (2,), (2, 2), (0, 3), (2, 2, 2), (1.5, 2), ("a", "b")])
NUMBERS, FEW = SMALL | st.sampled_from([2**31, 2**32, 2**63, 2**64, -(2**63), 10**30]), st.integers(0, 5)
TEXT, WORDS, named = text_task(6, longest=4), random_sentences(B, longest=R), st.fixed_dictionaries


def inputs(n, *arguments):
    """So many of them, whose parts are drawn from these: the function refuses them, or holds to what it asserts."""
    return lambda function: TARGETS.setdefault(function.__name__, (n, st.tuples(*arguments), function))[2]


@st.composite
def tensors(draw, *shape, kinds=KINDS, dtype=torch.float32):
    """Mostly of this shape and type, so that most inputs get past the first check."""
    odd, kind, number = draw(st.integers(0, 15)), draw(st.sampled_from(kinds)), draw(st.integers(0, 99))
    shape = draw(st.sampled_from(SHAPES)) if odd == 1 else shape
    values = torch.rand(shape, generator=generator(number), dtype=torch.float64)
    if kind in MAPS and values.dim():
        shaped = {"map": values, "one": (1e5 * values).softmax(-1), "flat": torch.ones(shape), "peaked": values**40}
        values = shaped[kind] / shaped[kind].sum(-1, keepdim=True)
    values = values * {"zero": 0, "tiny": 1e-42, "huge": 1e37, "whole": 6}.get(kind, 1) - 0.5 * (kind == "signed")
    if kind in ("nan", "inf") and values.numel():
        values.view(-1)[number % values.numel()] = float(kind)
    values = values.floor() if kind == "whole" else values
    return values.to(draw(st.sampled_from(TYPES)) if odd == 2 else dtype)


@st.composite
def mostly(draw, *usual, odd=NUMBERS):
    return draw(odd if draw(st.integers(0, 11)) == 1 else st.sampled_from(usual))


def clean(*given):
    return all(bool(torch.isfinite(each).all()) for each in given if isinstance(each, torch.Tensor))


def distributions(maps):
    return clean(maps) and (not maps.numel() or bool(maps.min() >= 0 and (maps.sum(-1) - 1).abs().max() < 1e-2))


MAP, SOME = tensors(B, R), st.none() | tensors(B, R, kinds=WHOLE, dtype=torch.bool)
LONG, TOKENS = (tensors(B, *more, kinds=WHOLE, dtype=torch.long) for more in ((), (R,)))
IDS = mostly(torch.arange(B), torch.tensor([1, 2, 1]), torch.zeros(B, dtype=torch.long), odd=LONG)
GRID, DEVICE = mostly((2, 2), odd=SMALL), mostly("cpu", odd=st.sampled_from(["nonsense", "cpu:x"]))
USUAL = {"window": (1, (1, 2)), "n_masks": (1, 9), "seed": (0, -1)}
SAMPLER = {  # not of 2**31 masks, which would be tried
    name: {f.name: mostly(*USUAL.get(f.name, (f.default,)), odd=SMALL) for f in fields(sampler)}
    for name, sampler in ssan.SAMPLERS.items()
}
SAMPLER = st.one_of([st.tuples(st.just(name), named(options)) for name, options in SAMPLER.items()])
TRAINING = {field.name: mostly(field.default) for field in fields(ssan.TrainConfig)} | {"epochs": mostly(0, 1)}
TARGET = tensors(6, TEXT.train.tokens.shape[1], kinds=(*MAPS * 3, *KINDS))
TEACHING = {"ids": mostly(TEXT.train.ids, odd=LONG), "loss": mostly(*ssan.LOSSES), "weight": mostly(0.2, 0)}
FILL = mostly("mean", "zero", "blur", (0.5,), odd=st.sampled_from(["nonsense", (1, 2), 0.5]))
IMAGES = named({"image": tensors(B, 1, 4, 4), "features": st.none() | tensors(B, R, 2)})
OF_TEXT = named({"tokens": TOKENS, "words": st.none() | TOKENS, "lengths": IDS.map(lambda ids: ids + 1)})
OF = st.tuples(OF_TEXT, named({"hidden_id": FEW})) | st.tuples(IMAGES, named({"grid": GRID, "fill": FILL}))
HOW = named({"example_id": mostly(0, 2**40, -5), "width": mostly(None, 6, odd=FEW)})
INDEX, PAINTED = mostly(0, 1, [0, 1], odd=NUMBERS | LONG), st.tuples(tensors(B, 1, 4, 4), tensors(B, 1, 1, 1))
SEARCHES = "find_surrogates replay variant_scores leave_one_out faithfulness top_1 comprehensiveness sufficiency"
NAMES, MODELS = [*SEARCHES.split(), "insertion_deletion"], st.tuples(st.integers(0, 3), tensors(9, 3), tensors(9, R))
REGIONS = mostly(ssan.TokenRegions(), odd=st.sampled_from([ssan.ImageGrid((2, 2)), ssan.WordRegions()]))
SELECTOR = mostly(*ssan.SELECTORS, ssan.Best(), odd=st.just("nonsense")) | st.tuples(mostly(1.0, 1e-3))
SCORES = {"score": mostly("logit", "probability", "log_odds"), "perturbations_per_eval": mostly(None, 1, 7)}
SEEN = st.tuples(FEW, st.integers(0, 7), mostly(None, 0.2, 1), st.none() | MAP, st.none() | MAP)
MAKING = {"seed": mostly(0), "name": mostly(None, "lstm")}
LOADING = {"n_train": mostly(1, odd=SMALL), "grid": mostly((8, 8), odd=SMALL), "seed": mostly(0)}
ATTACHING = {"layer": mostly(-1), "heads": mostly("mean"), "query": mostly(None, "cls"), "attention": mostly(None)}
STATE = {field.name: mostly(field.default, odd=SMALL) for field in fields(Sampling)}
STATE |= {"sampler": mostly(*ssan.SAMPLERS), "selector": mostly(*ssan.SELECTORS, odd=st.text())}


@inputs(16_000, MAP, MAP, SOME, mostly(1.0, 0.5, 2.0, 0.01), FEW)
def maps(a, b, some, number, what):
    if what < 2:
        made = ssan.as_distribution(a, some)
        assert some is not None or (clean(a) and distributions(made))
    elif what == 2 and some is not None:
        assert distributions(ssan.prepare_target(a, some, number)[some.any(-1)])
    elif what < 4:
        assert clean(metrics.entropy(a, some, normalised=number == 1)) or number == 1
    else:
        metrics.rank_correlation(a, b, some)
        assert some is not None or clean(a, b)


@inputs(14_000, mostly(*ssan.LOSSES), mostly(None, (2, 2)), *[tensors(B, R, kinds=MAPS) | MAP] * 2, SOME)
def loss(name, grid, maps, wanted, some):
    fits = all(each.dtype in (torch.float32, torch.float64) and distributions(each) for each in (maps, wanted))
    value = ssan.make_loss(name, grid)(maps.requires_grad_(fits), wanted, some)
    assert value.shape == maps.shape[:1]
    if fits and len(maps):
        value.sum().backward()
        assert clean(value, maps.grad, entropy_penalty(maps), hop_penalty(maps[:, None]))
        assert some is not None or value.min() > -1e-3


@inputs(4000, named(TRAINING), st.none() | named(TEACHING | {"target": TARGET}), DEVICE, FEW, mostly(1, 9))
def training(config, teaching, device, n, size):
    config, model = ssan.TrainConfig(**config), additive(dtype=torch.float32)
    teaching = None if teaching is None else ssan.Supervision(**teaching)
    assert teaching is None or distributions(teaching.target)
    if config.epochs < 3 and config.learning_rate + config.weight_decay < 10:
        ssan.fit(model, TEXT, config, teaching, device=device)
        assert clean(*ssan.predict(model, TEXT.valid.select(slice(0, n)), device=device, batch_size=size))
        assert 0 <= ssan.evaluate(model, TEXT.valid, device=device) <= 1


@inputs(10_000, OF, named({"ids": IDS, "label": IDS}), mostly(("a", "b", "c")), FEW)
def regions(of, given, names, number):
    kinds = (ssan.TokenRegions, ssan.WordRegions) if "hidden_id" in of[1] else (ssan.ImageGrid, ssan.FeatureGrid)
    batch, each = ssan.Batch(**given, **of[0]).select(slice(0, 3)), kinds[number % 2](**of[1])
    known = each.exists(batch)
    hidden = each.hide(batch, (torch.rand(known.shape, generator=generator(number)) < 0.5) | ~known)
    assert clean(*hidden._tensors().values()) or not clean(*batch._tensors().values())
    ssan.Task("t", batch, batch, batch, names, each).subset(number, number).train.select([0])


@inputs(12_000, FEW, SAMPLER, mostly(4, 6, 1, odd=LONG), INDEX, GRID, HOW, PAINTED, IDS, IDS)
def masks(what, sampler, n, index, grid, how, painted, rows, ids):
    sampler = ssan.make_sampler(sampler[0], **sampler[1])
    if what < 2:
        assert clean(ssan.masked_variants(*painted, rows, ids, rows, sampler, grid)) or not clean(*painted)
    elif what == 2 and isinstance(sampler, ssan.Rise):
        sampler.shades((6, 8), grid, index, 0)
    else:
        assert sampler.masks(n, index, grid=grid if what == 3 else None, **how).dtype == torch.bool


@inputs(14_000, st.sampled_from(NAMES), MODELS, SAMPLER, REGIONS, SELECTOR, named(SCORES), SEEN, DEVICE)
def searched(what, model, sampler, regions, selector, how, seen, device):
    """One of the searches and measures, on a model that is whole or gives what is drawn."""
    (odd, logits, given), (n, label, number, judged, drop) = model, seen

    def forward(batch):
        rows, real = torch.arange(len(batch)) % 9, exists(batch)
        cut = given[rows, : real.shape[1]].masked_fill(~real, 0) if given.shape == (9, R) else given
        return ssan.Output((logits[rows] if logits.shape == (9, 3) else logits) * 1.0, cut * 1.0)

    model, batch = Returns(forward) if odd == 1 else additive(), WORDS.select(slice(0, n))
    batch = batch.replace(label=torch.tensor([-1, 9, 2**40])[: len(batch)]) if label == 1 else batch
    sampler, index = ssan.make_sampler(sampler[0], **sampler[1]), torch.full((n,), number if number in (1, 2) else 0)
    if what == "find_surrogates":
        how = how | {"tie_tolerance": number} if label == 2 else how
        selector = ssan.Ridge(*selector) if isinstance(selector, tuple) else selector
        found = ssan.find_surrogates(model, batch, sampler, regions=regions, selector=selector, device=device, **how)
        assert clean(*vars(found).values())
        assert distributions(found.attention)
    elif what == "replay":
        metrics.replay(model, batch, sampler, index, score=how["score"], regions=regions, device=device)
    else:
        maps = {"attention": torch.ones(n, batch.tokens.shape[1]) if judged is None else judged}
        more = dict.fromkeys(["faithfulness", "top_1"], maps | {"drop": drop}) | {"leave_one_out": {}}
        more |= {"variant_scores": {"sampler": sampler}, "insertion_deletion": maps | {"steps": number}}
        more = more.get(what, maps | {"share": number})
        getattr(metrics, what)(model, batch, regions, **more, **how)
        assert clean(more.get("attention"), more.get("drop")) or not exists(batch).all()


@inputs(
    6000, tensors(B, 2, 2, kinds=WHOLE), tensors(B, 2, 2), mostly((12, 12), odd=SMALL), GRID, MAP, mostly(0.0, 2, None)
)
def boxes(corner, side, size, grid, attention, tolerance):
    boxes = torch.cat([corner, corner + side], -1) if corner.shape == side.shape == (B, 2, 2) else corner
    cover = metrics.box_map(boxes, size, grid)
    assert clean(cover, boxes)
    assert distributions(metrics.box_distribution(boxes, size, grid))
    mass, _ = metrics.mass_in_box(attention, cover), metrics.pointing(attention, boxes, size, grid, tolerance=tolerance)
    assert clean(attention, mass[cover.sum(-1) > 0])
    metrics.selection(attention, boxes, boxes.roll(1, 1), size, grid), metrics.offset(attention, boxes, size, grid)


@inputs(1000, FEW, *map(named, (MAKING, ATTACHING, LOADING, STATE)))
def makers(what, model, attaching, loading, state):
    if what == 0:
        ssan.check(ssan.make_model(image_task() if model["name"] is None else TEXT, **model), WORDS)
    elif what == 1:
        ssan.attach(torch.nn.MultiheadAttention(4, 2), **attaching)
    elif what == 2:
        ssan.load_task("shapes", n_valid=1, n_test=1, **loading)
    else:
        assert len(config_hash(state)) == 12
        explore(subject("image" if what < 5 else "text"), Sampling(**state))


@pytest.mark.parametrize("name", TARGETS)
def test_values_are_refused_in_words_or_give_numbers(name):
    n, arguments, function = TARGETS[name]

    @seed(SEED)
    @settings(
        max_examples=max(1, int(n * FACTOR)),
        derandomize=False,
        phases=[Phase.generate, Phase.shrink],
        deadline=None,
        suppress_health_check=[*HealthCheck],
    )
    @given(arguments)
    def run(drawn):
        attempt(name, (ValueError, TypeError), function, *drawn)

    with warnings.catch_warnings(action="ignore"):
        run()
