"""A transformer that nobody wrote for this package: MiniLM's sizes, sentences as long as TREC's questions."""

from __future__ import annotations

from functools import partial

import pytest
import torch
from captum._utils.models.linear_model import LinearModel
from captum.attr import FeatureAblation, KernelShap

import ssan
from ssan.metrics import variant_scores
from ssan.runtime import seeded
from ssan.study.maps import least_squares
from tests.benchmarks.timing import QUICK, cost, faster, fastest
from tests.models.test_attach import texts

transformers = pytest.importorskip("transformers")
MASK, MASKS = 4, ssan.RandomMasks(4 if QUICK else 30)
REGIONS = ssan.WordRegions(MASK)
CHUNKS = (8, 32) if QUICK else (8, 32, 128)


def module():
    """6 layers of 12 heads and 384 numbers, random weights; quickly one layer."""
    sizes = {"hidden_size": 384, "num_attention_heads": 12, "intermediate_size": 1536, "num_labels": 3}
    config = transformers.BertConfig(vocab_size=60, num_hidden_layers=1 if QUICK else 6, **sizes)
    with seeded(0):
        return transformers.BertForSequenceClassification(config).eval()


def variants(batch: ssan.Batch) -> list[ssan.Batch]:
    """Every variant of every sentence, the clean one first, a batch for each sentence."""
    made = []
    for row in range(len(batch)):
        single = batch.select([row])
        indices = torch.arange(MASKS.n_masks + 1)
        rows = torch.zeros(len(indices), dtype=torch.long)
        made.append(REGIONS.variants(single, REGIONS.count(single), rows, indices, MASKS)[0])
    return made


@torch.inference_mode()
def logits(net, batch: ssan.Batch, size: int) -> torch.Tensor:
    """(N, C): the module's, called by its user's hand, `size` inputs at a time."""
    parts = []
    for start in range(0, len(batch), size):
        part = batch.select(slice(start, start + size))
        real = torch.arange(part.tokens.shape[1]) < part.lengths[:, None]
        parts.append(net(input_ids=part.tokens, attention_mask=real.long()).logits)
    return torch.cat(parts)


def test_search_against_bare_forward_passes_and_one_at_a_time():
    net, batch = module(), texts(4 if QUICK else 24)
    ready = variants(batch)

    def bare(size: int) -> torch.Tensor:
        return torch.cat([logits(net, each, size) for each in ready])

    with ssan.attach(net, regions=REGIONS) as model:
        scores = variant_scores(model, batch, REGIONS, MASKS, score="logit")[0].flatten().float()
        best, label = fastest(bare, CHUNKS), batch.label.repeat_interleave(MASKS.n_masks + 1)
        torch.testing.assert_close(scores, bare(best).gather(1, label[:, None])[:, 0], atol=1e-5, rtol=1e-5)
        search = partial(ssan.find_surrogates, model, batch, MASKS, regions=REGIONS)
        cost("bare forward of a transformer, the same variants", search, partial(bare, best))
        faster("transformer: one variant a forward; our search", search, partial(bare, 1), repetitions=3)


def test_search_against_captum():
    net, batch = module(), texts(4 if QUICK else 12)
    single = [batch.select([row]) for row in range(len(batch))]

    def forward(tokens: torch.Tensor) -> torch.Tensor:
        return net(input_ids=tokens).logits

    def attributed(method, size: int, **options) -> list[torch.Tensor]:
        with torch.inference_mode():
            return [
                method.attribute(
                    each.tokens, target=int(each.label), baselines=MASK, feature_mask=each.words + 1,
                    perturbations_per_eval=size, **options,
                )
                for each in single
            ]  # fmt: skip

    ablation, shap = FeatureAblation(forward), KernelShap(forward)
    shap.interpretable_model = LinearModel(train_fn=least_squares)
    with ssan.attach(net, regions=REGIONS) as model:
        drops = ssan.metrics.leave_one_out(model, batch, REGIONS, score="logit")
        for row, theirs in enumerate(attributed(ablation, 8)):
            words = single[row].words[0]
            for place in range(int(words.max()) + 1):
                expected = theirs[0, words == place][0].double()
                torch.testing.assert_close(drops[row, place], expected, atol=1e-4, rtol=1e-3)
        best = fastest(lambda size: attributed(ablation, size), (1, 8))
        search = partial(ssan.find_surrogates, model, batch, ssan.Singles(), regions=REGIONS, selector="importance")
        faster("transformer: words left out, FeatureAblation", search, lambda: attributed(ablation, best))
        best = fastest(lambda size: attributed(shap, size, n_samples=MASKS.n_masks), CHUNKS)
        search = partial(ssan.find_surrogates, model, batch, MASKS, regions=REGIONS, selector="ridge")
        ours = f"transformer: {MASKS.n_masks} random masks, KernelShap"
        faster(ours, search, lambda: attributed(shap, best, n_samples=MASKS.n_masks))
