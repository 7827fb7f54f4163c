"""The image classifiers: the contract of all, attention pooling by hand, and the factory."""

import pytest
import torch

from ssan.batch import Batch
from ssan.data.image import CropFlip
from ssan.data.pixels import ImageSplit
from ssan.data.task import Task
from ssan.models.image import MODELS, AttentionPoolingCNN, make_model
from ssan.regions import ImageGrid
from ssan.seeding import seeded
from tests.helpers import generator
from tests.models.grids import (
    CLASSES,
    GRID,
    SIZE,
    check_contract,
    check_feature_grid,
    check_gradients,
    check_reproducible,
    pictures,
)


def model(name, seed=0, *, seen=True, **sizes):
    with seeded(seed):
        made = MODELS[name](3, SIZE, CLASSES, **{"grid": GRID, "width": 16} | sizes)
        for k in range(5 * seen):  # so that the normalisation knows what features are like
            made.train()(pictures(16, seed=k))
    return made


ALL = pytest.mark.parametrize(
    ("name", "sizes"),
    [
        ("pooling", {}),
        ("pooling", {"scales": 2}),
        ("abn", {}),
        ("abn", {"units": 2}),
        ("ran", {}),
        ("ran", {"p": 0, "t": 1, "r": 2}),
    ],
)


@ALL
def test_contract(name, sizes):
    check_contract(model(name, **sizes), pictures())


@ALL
def test_gradients_reach_everything(name, sizes):
    check_gradients(model(name, **sizes), pictures(12))


@ALL
def test_masks_on_features(name, sizes):
    check_feature_grid(model(name, **sizes), pictures())


@ALL
def test_strange_images(name, sizes):
    of, batch = model(name, seen=False, **sizes), pictures()
    with pytest.raises(ValueError, match="built for 3x16x16 images, the batch has 1x16x16"):
        of(pictures(channels=1))
    batch.image[1, 0, 0, 0] = torch.nan
    with pytest.raises(ValueError, match=r"NaN or infinite pixels \(example ids \[41\]\)"):
        of(batch)


@pytest.mark.parametrize("name", MODELS)
def test_grids_that_do_not_fit(name):
    with pytest.raises(ValueError, match="5x4 grid cannot be made from 16x16"):
        model(name, grid=(5, 4))


@pytest.mark.parametrize("scales", [1, 2])
def test_attention_pooling_by_hand(scales):
    of, batch = model("pooling", scales=scales).eval(), pictures()
    output = of(batch)
    x, maps = batch.image, []
    for level in of.levels:
        x = level(x)
        maps.append(x)
    glob = of.glob(maps[-1].mean((2, 3)))
    for b in range(len(batch)):
        seen = []
        for k, features in enumerate(maps[::-1][:scales]):
            side = features.shape[-1]
            local = of.local[k].weight[:, :, 0, 0]
            scores = torch.stack(
                [
                    of.score[k].weight[0, :, 0, 0] @ torch.tanh(local @ features[b, :, y, x] + glob[b])
                    for y in range(side)
                    for x in range(side)
                ]
            )
            p = torch.softmax(scores, 0)
            seen.append(features[b].flatten(1) @ p)
            on_grid = p.view(4, side // 4, 4, side // 4).sum((1, 3)).flatten()
            torch.testing.assert_close((output.attention[b] if scales == 1 else output.attention[b, k]), on_grid)
        torch.testing.assert_close(output.logits[b], of.classifier(torch.cat(seen)), atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("scales", [0, 3])
def test_too_many_scales(scales):
    with pytest.raises(ValueError, match=rf"scales must be in \[1, 2\] .* got {scales}"):
        AttentionPoolingCNN(3, SIZE, CLASSES, grid=GRID, scales=scales)


def task(augment=None):
    g = generator(0)
    split = ImageSplit(
        ids=torch.arange(12),
        label=torch.arange(12) % 3,
        images=torch.randint(256, (12, 1, 32, 16), generator=g, dtype=torch.uint8),
        image_of=torch.arange(12),
    )
    return Task("tiny", split, split, split, ("a", "b", "c"), ImageGrid((8, 4)), augment=augment)


@pytest.mark.parametrize("name", MODELS)
def test_factory(name):
    check_reproducible(lambda seed: make_model(task(), seed, name, grid=(8, 4)))
    made = make_model(task(), 0, name, grid=(8, 4), width=8).eval()
    output = made(task().train.select([0, 1]))
    assert output.logits.shape == (2, 3)
    assert output.attention.shape[-1] == 32


def test_unknown_name():
    with pytest.raises(ValueError, match="unknown model 'resnet'"):
        make_model(task(), 0, "resnet")


def test_augmented_batches_are_read():
    batch = task().train.select(slice(None))
    augmented = CropFlip(pad=2)(batch, generator(0))
    assert isinstance(augmented, Batch)
    assert make_model(task(), 0, grid=(8, 4))(augmented).logits.shape == (12, 3)
