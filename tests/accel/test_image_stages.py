"""Masks on images: stages that are shared, against a forward pass per variant and teacher."""

import copy

import pytest
import torch
from torch import nn

from ssan.accel.image_stages import StageScorer, distinct_layers, firsts, same_layers
from ssan.models.cnn import GridCNN
from ssan.models.image import AttentionPoolingCNN, make_model
from ssan.models.mlb import BilinearAttention
from ssan.models.san import StackedAttention
from ssan.models.vqa import QuestionAttention
from ssan.regions import FeatureGrid, ImageGrid
from ssan.samplers import HideWindows, KeepK, KeepWindows, Pairs, RandomMasks, Rise, Singles
from ssan.search import fast_scorer, find_surrogates
from ssan.seeding import seeded
from tests.accel.test_softmax_pooling import assert_same, both
from tests.helpers import PatchModel, generator
from tests.models.grids import CLASSES, WORDS, questions

GRID, SIZE = (6, 4), (24, 16)
CELLS = ImageGrid(GRID)
SAMPLERS = [
    Pairs(),
    Singles(),
    HideWindows((2, 2), grid=GRID),
    KeepWindows((3, 1), grid=GRID, stride=2),
    RandomMasks(40, seed=1),
    KeepK(40, k=5, seed=2),
    Rise(20, cells=2, seed=3, grid=GRID),
]


def pictures(n=5, channels=3, size=SIZE, dtype=torch.float64, seed=0):
    g = generator(seed)
    batch = questions(n, seed=seed)
    return batch.replace(image=torch.rand(n, channels, *size, generator=g, dtype=dtype))


def lively(model, seed=0):
    """Normalisations that are not the identity, and weights that tell variants apart."""
    g = generator(seed)
    with torch.no_grad():
        for name, value in model.state_dict().items():
            if name.endswith("running_var"):
                value.copy_(torch.rand(value.shape, generator=g) + 0.2)
            elif name.endswith(("running_mean", "bias")):
                value.copy_(torch.rand(value.shape, generator=g) - 0.5)
            elif value.dim() > 1:
                value.mul_(2)
    return model.double()


def classifier(channels=3, size=SIZE, grid=GRID, seed=0):
    with seeded(seed):
        return lively(AttentionPoolingCNN(channels, size, CLASSES, grid=grid, width=12), seed)


def cnn(seed=0):
    with seeded(seed):
        return lively(GridCNN(3, SIZE, GRID, width=10), seed)


def answerer(kind=QuestionAttention, seed=0, eyes=None, **sizes):
    with seeded(seed):
        return kind(copy.deepcopy(eyes) if eyes is not None else cnn(), WORDS, CLASSES, **sizes).double()


@pytest.mark.parametrize(
    "make", [classifier, answerer, lambda: answerer(StackedAttention, word_attention=True)], ids=["image", "one", "san"]
)
def test_stages_are_encode_taken_apart(make):
    model, batch = make().eval(), pictures()
    with torch.no_grad():
        stages, encoded = model.image_stages(), model.encode(batch)
        torch.testing.assert_close(stages.features(stages.layers(batch.image)), encoded.features)
        context = stages.context(batch)
        assert (context is None) == (encoded.context is None)
        if context is not None:
            torch.testing.assert_close(context, encoded.context)


@pytest.mark.parametrize("fill", ["mean", "zero", "blur", (0.2, 0.9, 0.1)], ids=str)
@pytest.mark.parametrize("sampler", SAMPLERS, ids=lambda sampler: type(sampler).__name__)
def test_same_surrogates_as_the_plain_path(sampler, fill):
    fast, plain = both(classifier(), pictures(), sampler, regions=ImageGrid(GRID, fill))
    assert_same(fast, plain, 1e-10)
    assert (fast.index > 0).any()


@pytest.mark.parametrize("kind", [QuestionAttention, StackedAttention, BilinearAttention])
@pytest.mark.parametrize("sampler", [Pairs(), RandomMasks(40, seed=4)], ids=lambda sampler: type(sampler).__name__)
def test_questions(sampler, kind):
    model = answerer(kind, word_attention=True)
    assert_same(*both(model, pictures(), sampler, regions=CELLS, score="log_odds"), 1e-10)


@pytest.mark.parametrize("selector", ["best", "importance", "ridge"])
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize(
    ("size", "grid"),
    [((32, 32), (8, 8)), ((64, 32), (8, 4)), ((20, 12), (5, 3)), ((8, 8), (4, 4))],
)
def test_sizes_channels_and_selectors(size, grid, channels, selector):
    model, batch = classifier(channels, size, grid), pictures(4, channels, size)
    fast, plain = both(model, batch, RandomMasks(50, seed=5), regions=ImageGrid(grid), selector=selector)
    assert_same(fast, plain, 1e-9)


def test_single_precision():
    model, batch = classifier().float(), pictures(dtype=torch.float32)
    assert_same(*both(model, batch, Pairs(), regions=CELLS), 1e-5)


@pytest.mark.parametrize("size", [1, 7, 64, None])
def test_same_whatever_the_chunk(size):
    model, batch, sampler = classifier(), pictures(), RandomMasks(40, seed=6)
    whole = find_surrogates(model, batch, sampler, regions=CELLS)
    assert_same(find_surrogates(model, batch, sampler, regions=CELLS, perturbations_per_eval=size), whole, 1e-10)


def counting(layers):
    """How many images a stack of layers is given from now on, call by call."""
    seen = []
    layers.register_forward_hook(lambda _, given, __: seen.append(len(given[0])))
    return seen


def test_layers_are_run_on_patterns_and_not_on_variants():
    model = classifier()
    seen = counting(model.levels[0][0])
    for sampler, patterns in ((Singles(), 5), (Pairs(), 11), (RandomMasks(200), 16), (RandomMasks(31), None)):
        seen.clear()
        find_surrogates(model, pictures(3), sampler, regions=CELLS)
        variants = int(sampler.count(24)) - 1
        assert sum(seen) == 3 + 3 * (variants if patterns is None else patterns)


def test_no_more_images_at_once_than_asked_for():
    model = classifier()
    seen = counting(model.levels[0][0])
    find_surrogates(model, pictures(3), RandomMasks(40), regions=CELLS, perturbations_per_eval=6)
    assert max(seen) <= 6


def test_patterns_go_in_pieces_once_memory_runs_out(monkeypatch):
    model, batch = classifier(), pictures(3)
    usual = find_surrogates(model, batch, RandomMasks(40, seed=9), regions=CELLS)
    original = nn.Conv2d.forward

    def greedy(layer, image):
        if len(image) > 5:
            raise torch.OutOfMemoryError("out of memory")
        return original(layer, image)

    monkeypatch.setattr(nn.Conv2d, "forward", greedy)
    with pytest.warns(RuntimeWarning, match="memory ran out") as said:
        found = find_surrogates(model, batch, RandomMasks(40, seed=9), regions=CELLS)
    assert len(said) == 1
    assert_same(found, usual, 1e-10)


def test_an_example_that_goes_on_in_the_next_chunk_is_not_run_again():
    model = classifier()
    seen = counting(model.levels[0][0])
    find_surrogates(model, pictures(3), RandomMasks(40), regions=CELLS, perturbations_per_eval=30)
    assert sum(seen) == 3 + 3 * 16


def test_questions_about_one_image_share_it():
    model, batch = answerer(), pictures(6)
    images = batch.image[[0, 1, 0, 2, 0, 1]]
    batch = batch.replace(image=images)
    seen = counting(model.cnn.layers[0][0])
    fast, plain = both(model, batch, RandomMasks(40, seed=7), regions=CELLS)
    assert_same(fast, plain, 1e-10)
    assert sum(seen) == (6 + 3 * 16) + 6 * 41


@pytest.mark.parametrize("sampler", [RandomMasks(40, seed=8), Rise(20, cells=2, seed=8, grid=GRID)], ids=str)
def test_teachers_with_the_same_eyes_share_them(sampler):
    eyes = cnn(3)
    other = answerer(seed=2)  # sees through another CNN
    teachers = [answerer(seed=0, eyes=eyes), other, answerer(BilinearAttention, seed=1, eyes=eyes)]
    seen = [counting(teacher.cnn.layers[0][0]) for teacher in teachers]
    fast = find_surrogates(teachers, pictures(4), sampler, regions=CELLS)
    variants = 4 * (16 if isinstance(sampler, RandomMasks) else 20)
    assert [sum(own) for own in seen] == [4 + variants, 4 + variants, 4]
    assert_same(fast, find_surrogates(teachers, pictures(4), sampler, regions=CELLS, accelerate=False), 1e-10)


def test_one_bit_makes_other_eyes():
    first, same, other = (cnn().layers for _ in range(3))
    with torch.no_grad():
        weight = other[0][0].weight
        weight[0, 0, 0, 0] = torch.nextafter(weight[0, 0, 0, 0], torch.tensor(9.0, dtype=weight.dtype))
    assert same_layers(first, first)
    assert same_layers(first, same)
    assert not same_layers(first, other)
    assert not same_layers(nn.ReLU(), nn.Tanh())
    assert not same_layers(nn.Conv2d(1, 1, 3), nn.Conv2d(1, 1, 3, padding=1))
    assert distinct_layers([first, other, same, other]) == ([first, other], [0, 1, 0, 1])


def test_first_of_equal_images():
    images = torch.rand(3, 1, 4, 4)
    mirrored = images[0].flip(-1)  # another image of the same sum
    assert firsts(torch.stack([images[0], images[1], images[0], mirrored, images[2], mirrored])) == [0, 1, 0, 3, 4, 3]
    assert firsts(torch.full((2, 1, 2, 2), torch.nan)) == [0, 1]


def test_when_it_is_used():
    one, two = classifier(), classifier(seed=1)
    scales = AttentionPoolingCNN(3, SIZE, CLASSES, grid=GRID, scales=2)
    assert fast_scorer([one, two], CELLS) is StageScorer
    assert fast_scorer([answerer(), answerer(StackedAttention)], CELLS) is StageScorer
    assert fast_scorer([one, scales], CELLS) is None
    assert fast_scorer([scales], CELLS) is None
    assert fast_scorer([PatchModel()], CELLS) is None
    assert fast_scorer([one], FeatureGrid(GRID)) is None
    strange = answerer()
    strange.cnn = nn.Sequential(strange.cnn)
    assert fast_scorer([strange], CELLS) is None


def test_models_are_left_as_they_are():
    model = classifier().train()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    find_surrogates(model, pictures(), Pairs(), regions=CELLS)
    assert all(module.training for module in model.modules())
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())


def test_errors_are_those_of_the_plain_path():
    model, batch = classifier(), pictures()
    with pytest.raises(ValueError, match="labels run from"):
        find_surrogates(model, batch.replace(label=batch.label + 9), Pairs(), regions=CELLS)
    with pytest.raises(ValueError, match="NaN or infinity on masked inputs"):
        find_surrogates(model, batch, Pairs(), regions=ImageGrid(GRID, fill=(torch.inf,)))
    with pytest.raises(ValueError, match="does not divide"):
        find_surrogates(model, batch, Pairs(), regions=ImageGrid((5, 4)))


@pytest.mark.parametrize("name", ["pooling", "abn", "ran"])
def test_every_image_model_has_the_same_surrogates_either_way(name):
    from ssan.data.task import Task

    batch = pictures(4, size=(16, 16), dtype=torch.float32)
    task = Task("pictures", batch, batch, batch, tuple("abcde"), ImageGrid((4, 4)))
    model = make_model(task, 0, name, grid=(4, 4), width=16)
    assert_same(*both(model, batch, Pairs(), regions=ImageGrid((4, 4)), tie_tolerance=1e-4), 1e-4)
