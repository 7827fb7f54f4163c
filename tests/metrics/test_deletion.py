import math

import numpy as np
import pytest
import torch
from torch import nn

from ssan.batch import Batch
from ssan.metrics import insertion_deletion
from ssan.metrics.deletion import ByAttention
from ssan.models.attention import Output
from ssan.models.text import SelfAttentiveLSTM, TextConfig
from ssan.regions import Encoded, FeatureGrid, ImageGrid, TokenRegions


class Additive(nn.Module):
    """The logit of class 0 is the sum of the words' numbers, that of class 1 is 0."""

    def __init__(self, values: list[float]) -> None:
        super().__init__()
        self.values = torch.tensor(values)

    def forward(self, batch: Batch) -> Output:
        exists = torch.arange(batch.tokens.shape[1]) < batch.lengths[:, None]
        first = (self.values[batch.tokens] * exists).sum(1)
        return Output(torch.stack([first, torch.zeros_like(first)], 1), exists / batch.lengths[:, None])


class Pool(nn.Module):
    """Attention over a 3x3 feature map of a 6x6 image."""

    def __init__(self) -> None:
        super().__init__()
        self.cnn, self.weight, self.out = nn.Conv2d(1, 4, 2, stride=2), nn.Linear(4, 1), nn.Linear(4, 3, bias=False)
        self.dropout = nn.Dropout(0.5)

    def encode(self, batch: Batch) -> Encoded:
        return Encoded(torch.tanh(4 * self.cnn(batch.image)).flatten(2).mT)

    def attend(self, encoded: Encoded) -> Output:
        attention = torch.softmax(self.weight(encoded.features).squeeze(-1), -1)
        pooled = (attention[..., None] * self.dropout(encoded.features)).sum(1)
        return Output(4 * self.out(pooled), attention)

    def forward(self, batch: Batch) -> Output:
        return self.attend(self.encode(batch))


def seeded(make):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return make().double()


def sentences(lengths: list[int]) -> Batch:
    generator = torch.Generator().manual_seed(0)
    tokens = torch.randint(2, 30, (len(lengths), max(lengths)), generator=generator)
    label = torch.randint(0, 3, (len(lengths),), generator=generator)
    # All examples carry one id: the order of hiding must belong to the row.
    ids = torch.full((len(lengths),), 5)
    return Batch(ids=ids, label=label, tokens=tokens, lengths=torch.tensor(lengths))


def images(n: int = 4) -> Batch:
    image = torch.randn(n, 1, 6, 6, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    return Batch(ids=torch.arange(n), label=torch.arange(n) % 3, image=image)


def keep_tokens(model, example, kept):
    tokens = torch.tensor([[t if k else 0 for t, k in zip(example.tokens[0].tolist(), kept, strict=True)]])
    return model(example.replace(tokens=tokens))


def keep_patches(model, example, kept):
    image = example.image.clone()
    for r in range(9):
        if not kept[r]:
            image[..., r // 3 * 2 : r // 3 * 2 + 2, r % 3 * 2 : r % 3 * 2 + 2] = example.image.mean()
    return model(example.replace(image=image))


def keep_features(model, example, kept):
    features = model.encode(example).features.clone()
    for r in range(9):
        if not kept[r]:
            features[0, r] = 0
    return model.attend(Encoded(features))


def plain_loop(model, batch, keep, attention, n_regions, steps):
    """One example, one step, one variant at a time."""
    model.eval()
    out = []
    for i, n in enumerate(n_regions):
        example, label = batch.select([i]), int(batch.label[i])
        order = sorted(range(n), key=lambda r: (-attention[i, r].item(), r))
        n_steps = n if steps is None else min(steps, n)
        amounts = [math.floor(s * n / n_steps + 0.5) for s in range(n_steps + 1)]
        curves = {"insertion": [], "deletion": []}
        for amount in amounts:
            top = set(order[:amount])
            for name, kept in (
                ("insertion", [r in top for r in range(n)]),
                ("deletion", [r not in top for r in range(n)]),
            ):
                with torch.no_grad():
                    probability = torch.softmax(keep(model, example, kept).logits[0], 0)[label]
                curves[name].append(probability.item())
        out.append((np.array(amounts) / n, np.array(curves["insertion"]), np.array(curves["deletion"])))
    return out


def check(model, batch, keep, regions, attention, n_regions, steps, **options):
    found = insertion_deletion(model, batch, regions, attention, steps=steps, **options)
    expected = plain_loop(model, batch, keep, attention, n_regions, steps)
    for i, (share, insertion, deletion) in enumerate(expected):
        points = len(share)
        assert found.share[i, :points].tolist() == pytest.approx(share, abs=1e-12)
        assert found.insertion_curve[i, :points].tolist() == pytest.approx(insertion, abs=1e-9)
        assert found.deletion_curve[i, :points].tolist() == pytest.approx(deletion, abs=1e-9)
        for curve in (found.share, found.insertion_curve, found.deletion_curve):
            assert curve[i, points:].isnan().all()
        assert found.insertion[i].item() == pytest.approx(np.trapezoid(insertion, share), abs=1e-9)
        assert found.deletion[i].item() == pytest.approx(np.trapezoid(deletion, share), abs=1e-9)
    # In one step there is no order, so both areas are the same.
    assert (found.insertion - found.deletion).abs().max() > 5e-3 or steps == 1
    return found


@pytest.mark.parametrize("steps", [None, 1, 3, 5, 100])
def test_words_equal_a_plain_loop(steps):
    lengths = [6, 1, 9, 2]
    model = seeded(lambda: SelfAttentiveLSTM(30, 3, TextConfig(embedding_dim=6, hidden=5, dropout=0.5)))
    for parameter in model.parameters():
        parameter.data *= 4
    attention = torch.rand(4, 9, generator=torch.Generator().manual_seed(1))
    attention[0, :6] = torch.tensor([0.2, 0.1, 0.2, 0.1, 0.3, 0.1])  # ties
    check(model, sentences(lengths), keep_tokens, TokenRegions(), attention, lengths, steps)


@pytest.mark.parametrize("steps", [None, 4])
@pytest.mark.parametrize(("regions", "keep"), [(ImageGrid((3, 3)), keep_patches), (FeatureGrid((3, 3)), keep_features)])
def test_cells_equal_a_plain_loop(regions, keep, steps):
    attention = torch.rand(4, 9, generator=torch.Generator().manual_seed(1))
    check(seeded(Pool), images(), keep, regions, attention, [9] * 4, steps)


@pytest.mark.parametrize("perturbations_per_eval", [1, 5, 1000])
def test_does_not_depend_on_chunks(perturbations_per_eval):
    attention = torch.rand(4, 9, generator=torch.Generator().manual_seed(1))
    options = {"perturbations_per_eval": perturbations_per_eval}
    check(seeded(Pool), images(), keep_patches, ImageGrid((3, 3)), attention, [9] * 4, None, **options)


def test_by_hand():
    """Words that add 1, 2 and 0 to the logit, hidden from the heaviest down, and the other way round."""
    batch = Batch(
        ids=torch.arange(2),
        label=torch.zeros(2, dtype=torch.long),
        tokens=torch.tensor([[2, 3, 4]] * 2),
        lengths=torch.tensor([3, 3]),
    )
    attention = torch.tensor([[0.3, 0.6, 0.1], [0.3, 0.1, 0.6]])
    found = insertion_deletion(Additive([0.0, 9.0, 1.0, 2.0, 0.0]), batch, TokenRegions(), attention, score="logit")
    assert found.share.tolist() == [pytest.approx([0, 1 / 3, 2 / 3, 1])] * 2
    assert found.deletion_curve.tolist() == [[3, 1, 0, 0], [3, 3, 2, 0]]
    assert found.insertion_curve.tolist() == [[0, 2, 3, 3], [0, 0, 1, 3]]
    assert found.deletion.tolist() == pytest.approx([2.5 / 3, 6.5 / 3])
    assert found.insertion.tolist() == pytest.approx([6.5 / 3, 2.5 / 3])


def test_masks_keep_the_contract_of_samplers():
    """Index 0 is the clean input, and regions that do not exist are kept."""
    sampler = ByAttention(torch.tensor([[1, 0, 2, 3]]), steps=None)
    assert sampler.count(torch.tensor([2, 4])).tolist() == [4, 8]
    indices = torch.arange(4)
    masks = sampler.masks(torch.full((4,), 2), indices, torch.zeros(4, dtype=torch.long), width=3)
    assert masks.int().tolist() == [[1, 1, 1], [1, 0, 1], [0, 0, 1], [0, 1, 1]]


def test_maps_padded_further_than_the_sentences_and_weight_on_padding():
    batch = sentences([3, 2])
    batch = batch.replace(label=torch.zeros(2, dtype=torch.long))
    model = Additive([0.1 * i for i in range(30)])
    attention = torch.tensor([[0.5, 0.3, 0.2], [0.6, 0.4, 0.0]])
    padded = torch.cat([attention, torch.full((2, 4), 0.9)], 1)
    padded[1, 2] = 7.0
    plain = insertion_deletion(model, batch, TokenRegions(), attention)
    for ours, theirs in zip(plain, insertion_deletion(model, batch, TokenRegions(), padded), strict=True):
        assert torch.equal(ours.nan_to_num(-1), theirs.nan_to_num(-1))


def test_leaves_modes_alone_and_stays_usable():
    model = seeded(Pool).train()
    found = insertion_deletion(model, images(), ImageGrid((3, 3)), torch.ones(4, 9))
    assert all(module.training for module in model.modules())
    assert not any(value.is_inference() for value in found)


def test_bad_input():
    model, batch, regions = seeded(Pool), images(), ImageGrid((3, 3))
    for maps in (torch.ones(4, 8), torch.ones(4, 16), torch.ones(3, 9)):
        with pytest.raises(ValueError, match=r"expected \(4, 9\)"):
            insertion_deletion(model, batch, regions, maps)
    with pytest.raises(ValueError, match="non-negative"):
        insertion_deletion(model, batch, regions, -torch.ones(4, 9))
    with pytest.raises(ValueError, match="attention holds NaN"):
        insertion_deletion(model, batch, regions, torch.full((4, 9), torch.nan))
    with pytest.raises(ValueError, match="steps must be at least 1"):
        insertion_deletion(model, batch, regions, torch.ones(4, 9), steps=0)
    with pytest.raises(ValueError, match="unknown score"):
        insertion_deletion(model, batch, regions, torch.ones(4, 9), score="accuracy")
