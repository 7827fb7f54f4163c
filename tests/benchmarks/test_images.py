"""Images: masks laid over pixels, and what other packages take for the same."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Callable
from functools import partial

import pytest
import torch
from captum._utils.models.linear_model import LinearModel
from captum.attr import FeatureAblation, KernelShap
from torch import Tensor, nn

from ssan.attention import Output
from ssan.metrics import variant_scores
from ssan.models.cnn import GridCNN
from ssan.models.image import AttentionPoolingCNN
from ssan.models.vqa import QuestionAttention
from ssan.regions import ImageGrid, Regions
from ssan.runtime import seeded
from ssan.samplers import RandomMasks, Rise, Singles
from ssan.search import find_surrogates
from ssan.study.maps import least_squares
from ssan.task import Batch
from tests.benchmarks.resnet import ResNet
from tests.benchmarks.timing import QUICK, REPETITIONS, ROOT, cost, faster, fastest, record, seconds, summary

SIDE, GRID, CLASSES = 64, (8, 8), 10
MASKS = 64 if QUICK else 512
# Black, which is also what captum puts in place of a hidden cell unless told otherwise.
CELLS = ImageGrid(GRID, fill="zero")
CHUNKS = (16, 64) if QUICK else (16, 64, 256)


def images(n: int, *, words: int = 0) -> Batch:
    g = torch.Generator().manual_seed(0)
    label = torch.randint(0, CLASSES, (n,), generator=g)
    asked = {"tokens": torch.randint(2, words, (n, 9), generator=g), "lengths": torch.full((n,), 9)} if words else {}
    return Batch(torch.arange(n), label, image=torch.rand(n, 3, SIDE, SIDE, generator=g), **asked)


def classifier() -> AttentionPoolingCNN:
    """The image classifier with the widths of its defaults, laid out in memory as `make_model` does it."""
    with seeded(0):
        model = AttentionPoolingCNN(3, (SIDE, SIDE), CLASSES, grid=GRID).eval()
    return model.to(memory_format=torch.channels_last)


def residual() -> ResNet:
    """Two levels of ResNet-50: a forward pass of some cost."""
    with seeded(0):
        return ResNet(64, (2, 2), GRID, CLASSES).eval().to(memory_format=torch.channels_last)


def question_model() -> QuestionAttention:
    """The one-hop question-answering model with the widths of its defaults."""
    with seeded(0):
        return QuestionAttention(GridCNN(3, (SIDE, SIDE), GRID, 32), 30, CLASSES).eval()


def with_features(model: QuestionAttention, n: int) -> Batch:
    batch = images(n, words=30)
    return batch.replace(image=None, features=model.features_of(batch.image))


def scores_of(model: nn.Module, batch: Batch, sampler, regions: Regions) -> Tensor:
    """(B, N) the scores of all variants but the clean one, the plain way."""
    return variant_scores(model, batch, regions, sampler, score="logit")[0][:, 1:].float()


def logits_of(model: nn.Module, batch: Batch):
    """The model as a function of pixels alone, as other packages call it."""
    return lambda image: model(Batch(torch.arange(len(image)), batch.label[:1].expand(len(image)), image=image)).logits


def cell_of_pixel() -> Tensor:
    """(1, 1, H, W), the number of the cell that each pixel lies in: captum's feature mask."""
    cells = torch.arange(GRID[0] * GRID[1]).view(GRID)
    return cells.repeat_interleave(SIDE // GRID[0], 0).repeat_interleave(SIDE // GRID[1], 1)[None, None]


@pytest.mark.parametrize("make", [residual, classifier])
def test_masks_on_pixels_against_ready_made_inputs(make):
    """The limit: the same 512 variants, made beforehand, run through the model in batches and nothing else."""
    model, batch, name = make(), images(1), "ResNet" if make is residual else "small CNN"
    for kind, sampler in (("random", RandomMasks(MASKS)), ("smooth", Rise(MASKS))):
        rows, indices = torch.zeros(MASKS).long(), torch.arange(1, MASKS + 1)
        ready = CELLS.variants(batch, CELLS.count(batch), rows, indices, sampler)[0]

        @torch.inference_mode()
        def bare(size: int, ready: Batch = ready) -> Tensor:
            return torch.cat([model(ready.select(slice(at, at + size))).logits for at in range(0, MASKS, size)])

        search = partial(find_surrogates, model, batch, sampler, regions=CELLS)
        best, surrogates = fastest(bare, CHUNKS), search()
        highest = bare(best)[:, batch.label[0]].max()
        torch.testing.assert_close(surrogates.score, surrogates.clean_score.clamp(min=highest), atol=1e-5, rtol=1e-5)
        cost(f"image masks, bare forward of a {name}, {kind}", search, partial(bare, best), repetitions=REPETITIONS + 2)
        if make is residual:
            beside_its_forward_passes(f"image masks, own forward passes of a {name}, {kind}", model, search)


def beside_its_forward_passes(name: str, model: nn.Module, search: Callable) -> None:
    """What all of a search takes against what its calls of the model take: both from the same run, so nearly exact.

    What is left is drawing masks, painting, and choosing the best.
    """
    forward, within, whole = model.forward, [], []

    def timed(batch: Batch) -> Output:
        start = time.process_time()
        output = forward(batch)
        within[-1] += time.process_time() - start
        return output

    model.forward = timed
    for _ in range(REPETITIONS):
        within.append(0.0)
        whole.append(seconds(search))
    del model.forward
    record(summary(name, [a / b for a, b in zip(whole, within, strict=True)], whole, within))


def against_ablation(name: str, model: nn.Module, batch: Batch, regions: Regions, captum: Callable, theirs: Tensor):
    """One cell hidden at a time, against captum with the best `perturbations_per_eval` of those tried."""
    search = partial(find_surrogates, model, batch, Singles(), regions=regions, selector="importance")
    drop = search().clean_score[:, None] - scores_of(model, batch, Singles(), regions)
    torch.testing.assert_close(theirs, drop, atol=1e-5, rtol=1e-4)
    best = fastest(captum, (1, 8, 16, 64))
    faster(name, search, lambda: captum(best), per=(len(batch), len(batch)))


def test_ablation_of_cells():
    model, batch = classifier(), images(2 if QUICK else 8)
    ablation = FeatureAblation(logits_of(model, batch))

    @torch.inference_mode()
    def captum(size: int) -> Tensor:
        options = {"target": batch.label, "feature_mask": cell_of_pixel(), "baselines": 0}
        return ablation.attribute(batch.image, perturbations_per_eval=size, **options)

    theirs = captum(16)[:, 0, :: SIDE // GRID[0], :: SIDE // GRID[1]].flatten(1)
    against_ablation("64 grid cells ablated, FeatureAblation", model, batch, CELLS, captum, theirs)


class OurMasks(KernelShap):
    """KernelShap on given `masks`, to compare what the two make of the same variants."""

    masks: Tensor

    def kernel_shap_perturb_generator(self, _, **__):
        yield from self.masks[:, None].long()

    def kernel_shap_similarity_kernel(self, *_, **__) -> Tensor:
        return torch.ones(1)


def test_random_masks_against_kernel_shap():
    """512 random masks and a linear fit of the score on them, against the same number in captum's KernelShap."""
    model, batch, sampler = classifier(), images(1), RandomMasks(MASKS)
    function, target = logits_of(model, batch), int(batch.label[0])

    @torch.inference_mode()
    def captum(size: int, method: KernelShap) -> Tensor:
        method.interpretable_model = LinearModel(train_fn=least_squares)
        options = {"target": target, "feature_mask": cell_of_pixel(), "baselines": 0, "return_input_shape": False}
        return method.attribute(batch.image, n_samples=MASKS, perturbations_per_eval=size, **options)

    masks = sampler.masks(64, torch.arange(1, MASKS + 1), 0)
    design = torch.cat([masks, torch.ones(MASKS, 1)], 1).double()
    scores = scores_of(model, batch, sampler, CELLS).double()
    fitted = design @ torch.linalg.lstsq(design, scores.T, driver="gelsd").solution
    theirs = OurMasks(function)
    theirs.masks = masks
    coefficients = captum(64, theirs).flatten().double()
    bias = theirs.interpretable_model.linear.bias.double()
    torch.testing.assert_close(design[:, :-1] @ coefficients + bias, fitted.flatten(), atol=1e-4, rtol=1e-4)

    best = fastest(lambda size: captum(size, KernelShap(function)), CHUNKS)
    search = partial(find_surrogates, model, batch, sampler, regions=CELLS, selector="ridge")
    faster("512 random masks, KernelShap", search, lambda: captum(best, KernelShap(function)))


def test_random_masks_against_xaitk():
    """xaitk-saliency's RISE, where SSAN_XAITK_PYTHON names a Python that has it beside this package."""
    python = os.environ.get("SSAN_XAITK_PYTHON")
    if not python:
        pytest.skip("not measured: SSAN_XAITK_PYTHON names no Python that has xaitk-saliency")
    subprocess.run([python, "-m", "tests.benchmarks.xaitk_rise"], cwd=ROOT, check=True)
