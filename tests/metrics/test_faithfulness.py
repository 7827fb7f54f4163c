import sys

import pytest
import scipy.stats
import torch
from torch import nn

from ssan.batch import Batch
from ssan.metrics import faithfulness, leave_one_out
from ssan.metrics.faithfulness import variant_scores
from ssan.models.attention import Output
from ssan.models.text import SelfAttentiveLSTM, TextConfig
from ssan.regions import Encoded, FeatureGrid, ImageGrid, TokenRegions
from ssan.samplers import Pairs, Singles

SCORES = {
    "logit": lambda logits, y: logits[y],
    "probability": lambda logits, y: torch.softmax(logits, 0)[y],
    "log_odds": lambda logits, y: torch.logit(torch.softmax(logits, 0)[y]),
}


def sentences(lengths: list[int], seed: int = 0, vocabulary: int = 30) -> Batch:
    generator = torch.Generator().manual_seed(seed)
    lengths = torch.tensor(lengths)
    tokens = torch.randint(2, vocabulary, (len(lengths), int(lengths.max())), generator=generator)
    tokens[torch.arange(tokens.shape[1]) >= lengths[:, None]] = 1
    label = torch.randint(0, 3, (len(lengths),), generator=generator)
    return Batch(ids=10 + 7 * torch.arange(len(lengths)), label=label, tokens=tokens, lengths=lengths)


def text_model(dtype=torch.float64, **config) -> SelfAttentiveLSTM:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        sizes = {"embedding_dim": 6, "hidden": 5, "attention_dim": 4, "dropout": 0.5, **config}
        model = SelfAttentiveLSTM(30, 3, TextConfig(**sizes)).to(dtype)
        # Large weights, so that hiding a word matters.
        for parameter in model.parameters():
            parameter.data *= 3
    return model


class Additive(nn.Module):
    """Every word adds its own number to the logit of class 0 and has its own weight: all drops are known."""

    def __init__(self, values: list[float], weights: list[float]) -> None:
        super().__init__()
        self.values, self.weights = torch.tensor(values), torch.tensor(weights)

    def forward(self, batch: Batch) -> Output:
        exists = torch.arange(batch.tokens.shape[1]) < batch.lengths[:, None]
        first = (self.values[batch.tokens] * exists).sum(1)
        weights = self.weights[batch.tokens] * exists
        return Output(torch.stack([first, torch.zeros_like(first)], 1), weights / weights.sum(1, keepdim=True))


class Grid(nn.Module):
    """A small CNN with attention over a 4x4 feature map; dropout and batch norm, for evaluation mode to switch off."""

    def __init__(self) -> None:
        super().__init__()
        self.cnn = nn.Sequential(nn.Conv2d(3, 6, 4, stride=4), nn.BatchNorm2d(6), nn.Tanh(), nn.Dropout(0.5))
        self.weight, self.out = nn.Linear(6, 1), nn.Linear(6, 3)
        self.encoded = []

    def encode(self, batch: Batch) -> Encoded:
        self.encoded.append(len(batch))
        return Encoded(self.cnn(batch.image).flatten(2).mT)

    def attend(self, encoded: Encoded) -> Output:
        attention = torch.softmax(3 * self.weight(encoded.features).squeeze(-1), -1)
        return Output(5 * self.out((attention[..., None] * encoded.features).sum(1)), attention)

    def forward(self, batch: Batch) -> Output:
        return self.attend(self.encode(batch))


def grid_model() -> Grid:
    with torch.random.fork_rng():
        torch.manual_seed(1)
        return Grid().double()


def images(n: int = 5) -> Batch:
    generator = torch.Generator().manual_seed(0)
    image = torch.rand(n, 3, 16, 16, generator=generator, dtype=torch.float64)
    return Batch(ids=torch.arange(n), label=torch.arange(n) % 3, image=image)


def one_by_one(model: nn.Module, batch: Batch, hide, n_regions: list[int], score: str) -> list[list[float]]:
    """Plain loops: example after example without padding, region after region, model in evaluation mode."""
    model.eval()
    drops = []
    with torch.no_grad():
        for i, n in enumerate(n_regions):
            example, label = batch.select([i]), int(batch.label[i])
            clean = SCORES[score](model(example).logits[0], label)
            drops.append([float(clean - SCORES[score](hide(model, example, r).logits[0], label)) for r in range(n)])
    return drops


def hide_token(model, example, r):
    tokens = example.tokens.clone()
    tokens[0, r] = 0
    return model(example.replace(tokens=tokens))


def hide_patch(model, example, r):
    image = example.image.clone()
    y, x = r // 4 * 4, r % 4 * 4
    image[..., y : y + 4, x : x + 4] = 0
    return model(example.replace(image=image))


def hide_feature(model, example, r):
    features = model.encode(example).features.clone()
    features[0, r] = 0
    return model.attend(Encoded(features))


@pytest.mark.parametrize("score", SCORES)
def test_leave_one_out_of_words_equals_a_plain_loop(score):
    model, batch = text_model(), sentences([4, 1, 7, 2, 7])
    drop = leave_one_out(model, batch, TokenRegions(), score=score)
    assert drop.shape == (5, 7)
    for row, expected in zip(drop, one_by_one(model, batch, hide_token, [4, 1, 7, 2, 7], score), strict=True):
        assert row[: len(expected)].tolist() == pytest.approx(expected, abs=1e-9)
        assert row[len(expected) :].isnan().all()
        assert max(map(abs, expected)) > 1e-3


@pytest.mark.parametrize(
    ("regions", "hide"), [(ImageGrid((4, 4), fill="zero"), hide_patch), (FeatureGrid((4, 4)), hide_feature)]
)
def test_leave_one_out_of_cells_equals_a_plain_loop(regions, hide):
    model, batch = grid_model(), images()
    drop = leave_one_out(model, batch, regions)
    expected = torch.tensor(one_by_one(model, batch, hide, [16] * 5, "probability"), dtype=torch.float64)
    assert torch.allclose(drop, expected, atol=1e-12)
    assert expected.abs().max() > 1e-2


def test_leave_one_out_in_closed_form():
    """The logit of a sum: hiding a word takes its number away and puts that of the unknown word in its place."""
    model = Additive([0.5, 0.0, 1.0, 2.0, -3.0], [1.0] * 5)
    batch = Batch(
        ids=torch.arange(2),
        label=torch.zeros(2, dtype=torch.long),
        tokens=torch.tensor([[2, 3, 4], [3, 3, 1]]),
        lengths=torch.tensor([3, 2]),
    )
    drop = leave_one_out(model, batch, TokenRegions(), score="logit")
    assert drop[0].tolist() == pytest.approx([0.5, 1.5, -3.5])
    assert drop[1, :2].tolist() == pytest.approx([1.5, 1.5])
    assert drop[1, 2].isnan()


@pytest.mark.parametrize("perturbations_per_eval", [1, 3, 1000])
def test_does_not_depend_on_chunks(perturbations_per_eval):
    model, batch = text_model(), sentences([4, 1, 7, 2, 7])
    whole = leave_one_out(model, batch, TokenRegions())
    cut = leave_one_out(model, batch, TokenRegions(), perturbations_per_eval=perturbations_per_eval)
    assert torch.allclose(whole, cut, atol=1e-12, equal_nan=True)


def test_no_forward_pass_is_larger_than_asked_for_and_features_are_encoded_once():
    model, batch = grid_model(), images()
    seen = []
    attend = model.attend
    model.attend = lambda encoded: seen.append(len(encoded.features)) or attend(encoded)
    leave_one_out(model, batch, FeatureGrid((4, 4)), perturbations_per_eval=7)
    assert model.encoded == [5]
    assert seen[0] == 5  # the clean inputs
    assert max(seen[1:]) == 7
    assert sum(seen[1:]) == 5 * 16


def test_leaves_modes_randomness_and_gradients_alone():
    model, batch = grid_model(), images()
    model.train()
    model.cnn.eval()
    modes = [module.training for module in model.modules()]
    state, running = torch.get_rng_state(), model.cnn[1].running_mean.clone()
    drop = leave_one_out(model, batch, ImageGrid((4, 4)))
    assert [module.training for module in model.modules()] == modes
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.equal(model.cnn[1].running_mean, running)
    assert not drop.requires_grad
    assert not drop.is_inference()  # an inference tensor could not be used in training


def test_modes_are_restored_after_an_error():
    model = grid_model().train()
    with pytest.raises(ValueError, match="labels run from"):
        leave_one_out(model, images().replace(label=torch.tensor([0, 1, 2, 3, 0])), ImageGrid((4, 4)))
    assert all(module.training for module in model.modules())


def test_faithfulness_equals_scipy_on_plain_loops():
    model, lengths = text_model(), [5, 2, 9, 3, 1]
    batch = sentences(lengths)
    found = faithfulness(model, batch, TokenRegions())
    drops = one_by_one(model, batch, hide_token, lengths, "probability")
    for i, n in enumerate(lengths):
        if n < 3:
            assert found[i].isnan()
            continue
        attention = model(batch.select([i])).attention[0, 0].detach()
        assert found[i].item() == pytest.approx(scipy.stats.spearmanr(attention, drops[i]).statistic, abs=1e-9)


def test_faithfulness_of_features_and_of_given_maps():
    model, batch = grid_model(), images()
    drop = leave_one_out(model, batch, FeatureGrid((4, 4)))
    assert faithfulness(model, batch, FeatureGrid((4, 4)), drop - drop.min()).tolist() == pytest.approx([1] * 5)
    assert faithfulness(model, batch, FeatureGrid((4, 4)), drop.max() - drop).tolist() == pytest.approx([-1] * 5)
    own = model.eval()(batch).attention.detach()
    given = faithfulness(model, batch, FeatureGrid((4, 4)), own)
    assert torch.allclose(faithfulness(model, batch, FeatureGrid((4, 4))), given)


def test_faithfulness_by_hand():
    """Words 2, 3, 4 add 1, 2, 3 and are weighed 3, 2, 1, then 1, 2, 3; the third sentence has no order at all."""
    tokens = torch.tensor([[2, 3, 4, 4], [2, 3, 4, 1], [2, 2, 2, 1]])
    batch = Batch(
        ids=torch.arange(3),
        label=torch.zeros(3, dtype=torch.long),
        tokens=tokens,
        lengths=torch.tensor([4, 3, 3]),
    )
    for weights, expected in (([1.0, 1, 3, 2, 1], -1), ([1.0, 1, 1, 2, 3], 1)):
        model = Additive([0.0, 0.0, 1.0, 2.0, 3.0], weights)
        found = faithfulness(model, batch, TokenRegions(), score="logit")
        assert found[:2].tolist() == pytest.approx([expected, expected])
        assert found[2].isnan()


def test_faithfulness_takes_maps_padded_further_than_the_sentences():
    model, batch = text_model(), sentences([5, 4, 6])
    attention = model.eval()(batch).attention[:, 0].detach()
    padded = nn.functional.pad(attention, (0, 3))
    assert torch.equal(
        faithfulness(model, batch, TokenRegions(), attention), faithfulness(model, batch, TokenRegions(), padded)
    )


def test_models_that_attend_to_padding():
    """As the released code has it: fixed length, weight on padding. Only the real words are ranked."""
    config = {"padding_attends": True, "fixed_length": 12, "hops": 2, "hop_reduction": "softmax_of_sum"}
    model, lengths = text_model(**config), [5, 4, 6]
    batch = sentences(lengths)
    found = faithfulness(model, batch, TokenRegions())
    drops = one_by_one(model, batch, hide_token, lengths, "probability")
    for i, n in enumerate(lengths):
        attention = torch.softmax(model(batch.select([i])).attention[0].detach().sum(0), 0)[:n]
        assert found[i].item() == pytest.approx(scipy.stats.spearmanr(attention, drops[i]).statistic, abs=1e-9)


def test_variant_scores_serves_any_sampler():
    model, batch = text_model(), sentences([3, 1, 2])
    scores, attention = variant_scores(model, batch, TokenRegions(), Pairs())
    assert scores.isnan().sum(1).tolist() == [0, 3, 2]
    assert torch.allclose(attention, model.eval()(batch).attention[:, 0].detach())
    singles, _ = variant_scores(model, batch, TokenRegions(), Singles())
    assert torch.allclose(scores[:, 0], singles[:, 0])


def test_order_of_examples_does_not_matter(monkeypatch):
    monkeypatch.setattr(sys.modules["ssan.metrics.faithfulness"], "GROUP", 2)
    model, batch = text_model(), sentences([4, 1, 7, 2, 7, 3])
    found = faithfulness(model, batch, TokenRegions())
    order = torch.tensor([5, 2, 0, 4, 1, 3])
    again = faithfulness(model, batch.select(order), TokenRegions())
    assert torch.allclose(found[order], again, equal_nan=True)


def test_bad_input():
    model, batch = text_model(), sentences([4, 5])
    regions = TokenRegions()
    with pytest.raises(ValueError, match=r"unknown score 'best'.*probability"):
        leave_one_out(model, batch, regions, score="best")
    with pytest.raises(ValueError, match="at least one example"):
        leave_one_out(model, batch.select(slice(0, 0)), regions)
    with pytest.raises(ValueError, match="perturbations_per_eval must be at least 1, got 0"):
        leave_one_out(model, batch, regions, perturbations_per_eval=0)
    for maps in (torch.ones(2, 4), torch.ones(3, 5)):
        with pytest.raises(ValueError, match=r"expected \(2, 5\)"):
            faithfulness(model, batch, regions, maps)
    with pytest.raises(ValueError, match="reduce_hops"):
        faithfulness(model, batch, regions, torch.ones(2, 3, 5))
    with pytest.raises(ValueError, match="non-negative"):
        faithfulness(model, batch, regions, -torch.ones(2, 5))
    with pytest.raises(ValueError, match=r"expected \(5, 16\)"):
        faithfulness(grid_model(), images(), ImageGrid((4, 4)), torch.ones(5, 64))
    model.classifier[0].weight.data[0, 0] = torch.nan
    with pytest.raises(ValueError, match="logits hold NaN"):
        leave_one_out(model, batch, regions)
