"""Image classification tasks from files in the sources' own formats, made up here."""

import pickle
import struct

import numpy as np
import pytest
import torch
from torchvision.datasets import cifar

from ssan.batch import Batch
from ssan.data.clutter import shrink
from ssan.data.image import FASHION, CropFlip, cifar_task, cluttered_fashion_task
from ssan.regions import ImageGrid
from tests.helpers import generator


def write_fashion(root, counts=(90, 40)):
    """Random items whose labels are their place modulo ten, in IDX files where torchvision looks for them."""
    raw = root / "FashionMNIST" / "raw"
    raw.mkdir(parents=True)
    items = {}
    for name, n in zip(("train", "t10k"), counts, strict=True):
        items[name] = np.random.default_rng(n).integers(0, 256, (n, 28, 28)).astype(np.uint8)
        header = struct.pack(">4i", 0x803, n, 28, 28)
        (raw / f"{name}-images-idx3-ubyte").write_bytes(header + items[name].tobytes())
        labels = (np.arange(n) % 10).astype(np.uint8)
        (raw / f"{name}-labels-idx1-ubyte").write_bytes(struct.pack(">2i", 0x801, n) + labels.tobytes())
    return {name: shrink(torch.from_numpy(value), 16) for name, value in items.items()}


@pytest.fixture(scope="module")
def fashion(tmp_path_factory):
    root = tmp_path_factory.mktemp("fashion")
    return root, write_fashion(root)


def clutter(root, n_train=50, **arguments):
    return cluttered_fashion_task(n_train, root=root, **{"n_valid": 20, "n_test": 30, "seed": 1} | arguments)


def sources(split, items):
    """Which source item each canvas of a split shows, found by its pixels."""
    found = []
    for image, (x0, y0, x1, y1) in zip(split.images[:, 0], split.boxes[:, 0].long().tolist(), strict=True):
        (place,) = (items == image[y0:y1, x0:x1]).all((1, 2)).nonzero().squeeze(1).tolist()
        found.append(place)
    return found


def test_every_canvas_shows_an_item_of_its_label(fashion):
    root, items = fashion
    task = clutter(root)
    shown = {
        name: sources(getattr(task, name), items[source])
        for name, source in (("train", "train"), ("valid", "train"), ("test", "t10k"))
    }
    for name, places in shown.items():
        assert [place % 10 for place in places] == getattr(task, name).label.tolist()
        assert len(set(places)) == len(places)
    assert not set(shown["train"]) & set(shown["valid"])
    assert task.class_names == FASHION
    assert task.regions == ImageGrid((8, 8), "zero")


def test_clutter_subsets(fashion):
    task, small = clutter(fashion[0]), clutter(fashion[0], 13)
    for name in ("ids", "label", "images", "boxes"):
        assert torch.equal(getattr(small.train, name), getattr(task.train, name)[:13])
    assert torch.equal(small.test.images, task.test.images)
    assert clutter(fashion[0]).fingerprint() == task.fingerprint()
    assert clutter(fashion[0], seed=2).fingerprint() != task.fingerprint()


def test_clutter_scale(fashion):
    image = clutter(fashion[0]).test.select([0, 1, 2]).image
    assert image.shape == (3, 1, 64, 64)
    assert image.dtype == torch.float32
    assert image.min() == 0
    assert 0.6 < image.max() <= 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"n_train": 71}, r"n_train must be in \[1, 70\], got 71"),
        ({"n_test": 41}, r"n_test must be in \[1, 40\], got 41"),
        ({"n_valid": 0}, r"n_valid must be in"),
        ({"seed": -1}, "seed must not be negative"),
        ({"grid": (6, 8)}, "6x8 cells does not divide 64x64"),
        ({"size": 24}, "do not fit a canvas of 24"),
    ],
)
def test_bad_clutter(fashion, arguments, message):
    with pytest.raises(ValueError, match=message):
        clutter(fashion[0], **arguments)


def test_no_fashion(tmp_path):
    with pytest.raises(FileNotFoundError, match="no Fashion-MNIST under"):
        clutter(tmp_path)


def images(n=9, channels=3, size=8):
    image = torch.rand(n, channels, size, size, generator=generator(0))
    return Batch(ids=torch.arange(n), label=torch.zeros(n).long(), image=image)


def test_crop_and_flip_one_by_one():
    batch, pad = images(200), 2
    out = CropFlip(pad, fill=(0.25, 0.5, 0.75))(batch, generator(7))
    seen = set()
    for image, augmented in zip(batch.image, out.image, strict=True):
        padded = torch.tensor([0.25, 0.5, 0.75])[:, None, None].expand(3, 12, 12).clone()
        padded[:, 2:10, 2:10] = image
        matches = [
            (top, left, flip)
            for top in range(5)
            for left in range(5)
            for flip in (False, True)
            if torch.equal(augmented.flip(-1) if flip else augmented, padded[:, top : top + 8, left : left + 8])
        ]
        assert len(matches) == 1
        seen.update(matches)
    assert len(seen) > 45


def test_augmentation_is_a_function_of_the_generator():
    batch, augment = images(), CropFlip()
    assert torch.equal(augment(batch, generator(1)).image, augment(batch, generator(1)).image)
    assert not torch.equal(augment(batch, generator(1)).image, augment(batch, generator(2)).image)
    assert torch.equal(CropFlip(0, flip=False)(batch, generator(1)).image, batch.image)
    assert torch.equal(augment(batch, generator(1)).ids, batch.ids)


def test_augmentation_refuses_boxes_and_text():
    with pytest.raises(ValueError, match="without boxes"):
        CropFlip()(images().replace(boxes=torch.zeros(9, 1, 4)), generator(0))
    with pytest.raises(ValueError, match="needs a batch with images"):
        CropFlip()(Batch(ids=torch.arange(2), label=torch.arange(2)), generator(0))


def write_cifar(root, name, n=20, n_test=7):
    """A tiny data set in CIFAR's own pickles: pixel [0, 0] of channel 0 counts the images."""
    ten = name == "cifar10"
    folder, label = ("cifar-10-batches-py", "labels") if ten else ("cifar-100-python", "fine_labels")
    files = [f"data_batch_{i}" for i in range(1, 6)] if ten else ["train"]
    (root / folder).mkdir(parents=True)
    start = 0
    for file in [*files, "test_batch" if ten else "test"]:
        count = n_test if "test" in file else n // len(files)
        start = 0 if "test" in file else start
        pixels = np.random.default_rng(count).integers(0, 256, (count, 3072)).astype(np.uint8)
        pixels[:, 0] = range(start, start + count)
        labels = [(start + i) % 10 for i in range(count)]
        (root / folder / file).write_bytes(pickle.dumps({"data": pixels, label: labels}))
        start += count
    meta, names = ("batches.meta", "label_names") if ten else ("meta", "fine_label_names")
    (root / folder / meta).write_bytes(pickle.dumps({names: [f"class {i}" for i in range(10 if ten else 100)]}))


@pytest.fixture
def unchecked(monkeypatch):
    """The made-up files cannot have the published checksums."""
    monkeypatch.setattr(cifar, "check_integrity", lambda *_: True)


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize("name", ["cifar10", "cifar100"])
def test_cifar(tmp_path, name):
    write_cifar(tmp_path, name)
    task = cifar_task(name, tmp_path, n_valid=5)
    assert (len(task.train), len(task.valid), len(task.test)) == (15, 5, 7)
    assert sorted(task.train.ids.tolist() + task.valid.ids.tolist()) == list(range(20))
    assert task.n_classes == {"cifar10": 10, "cifar100": 100}[name]
    for split in (task.train, task.valid, task.test):
        assert torch.equal(split.images[:, 0, 0, 0], split.ids)
        assert torch.equal(split.label, split.ids % 10)
        assert split.images.shape[1:] == (3, 32, 32)
    batch = task.train.select(slice(None))
    unit = batch.image * torch.tensor(task.train.std).view(3, 1, 1) + torch.tensor(task.train.mean).view(3, 1, 1)
    assert torch.allclose(unit, task.train.images / 255, atol=1e-6)
    augmented = task.augment(batch, generator(0))
    assert augmented.image.shape == batch.image.shape
    # What the padding shows is black in the scale of the images.
    black = -torch.tensor(task.train.mean) / torch.tensor(task.train.std)
    assert torch.allclose(torch.tensor(task.augment.fill), black)


@pytest.mark.usefixtures("unchecked")
def test_cifar_subsets(tmp_path):
    write_cifar(tmp_path, "cifar10")
    ids = [set(cifar_task("cifar10", tmp_path, n_valid=5, n_train=n).train.ids.tolist()) for n in (3, 9, 15)]
    assert ids[0] < ids[1] < ids[2]


def test_damaged_or_missing_cifar(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"no intact cifar10 under .* pass download=True"):
        cifar_task("cifar10", tmp_path)
    write_cifar(tmp_path, "cifar10")
    with pytest.raises(FileNotFoundError, match="no intact cifar10"):
        cifar_task("cifar10", tmp_path)


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"name": "cifar20"}, "unknown data set 'cifar20'"),
        ({"grid": (5, 5)}, "5x5 cells does not divide 32x32"),
        ({"n_valid": 20}, "n_valid"),
        ({"n_train": 16}, "n_train"),
    ],
)
def test_bad_cifar(tmp_path, arguments, message):
    write_cifar(tmp_path, "cifar10")
    with pytest.raises(ValueError, match=message):
        cifar_task(**{"name": "cifar10", "root": tmp_path, "n_valid": 5} | arguments)
