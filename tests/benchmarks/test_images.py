"""Images: all pairs of feature cells, masks laid over pixels, and what other packages take for the same."""

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
from torchvision.models import resnet18

from ssan.batch import Batch
from ssan.models.attention import Output
from ssan.models.cnn import GridCNN
from ssan.models.image import AttentionPoolingCNN
from ssan.models.vqa import QuestionAttention
from ssan.regions import Encoded, FeatureGrid, ImageGrid, Regions
from ssan.samplers import Pairs, RandomMasks, Rise, Singles
from ssan.scorer import Scorer
from ssan.search import find_surrogates
from ssan.seeding import seeded
from tests.benchmarks.timing import QUICK, REPETITIONS, ROOT, cost, faster, fastest, record, seconds, summary

SIDE, GRID, CLASSES = 64, (8, 8), 10
MASKS = 64 if QUICK else 512
# Black, which is also what captum puts in place of a hidden cell unless told otherwise.
CELLS = ImageGrid(GRID, fill="zero")
CHUNKS = (16, 64) if QUICK else (16, 64, 256)


def images(n: int, *, words: int = 0) -> Batch:
    g = torch.Generator().manual_seed(0)
    batch = Batch(
        ids=torch.arange(n),
        label=torch.randint(0, CLASSES, (n,), generator=g),
        image=torch.rand(n, 3, SIDE, SIDE, generator=g),
    )
    if not words:
        return batch
    tokens = torch.randint(2, words, (n, 9), generator=g)
    return batch.replace(tokens=tokens, lengths=torch.full((n,), 9))


def classifier() -> AttentionPoolingCNN:
    """The image classifier with the widths of its defaults, laid out in memory as `make_model` does it."""
    with seeded(0):
        model = AttentionPoolingCNN(3, (SIDE, SIDE), CLASSES, grid=GRID).eval()
    return model.to(memory_format=torch.channels_last)


class ResidualPooling(nn.Module):
    """ResNet-18 up to its 8x8 grid (of 64x64 images), and attention pooling: a forward pass of some cost."""

    def __init__(self) -> None:
        super().__init__()
        whole = resnet18()
        self.features = nn.Sequential(*list(whole.children())[:6])
        self.score, self.classifier = nn.Conv2d(128, 1, 1), nn.Linear(128, CLASSES)

    def forward(self, batch: Batch) -> Output:
        features = self.features(batch.image).flatten(2)
        attention = torch.softmax(self.score(features[..., None]).flatten(1), -1)
        return Output(self.classifier((features @ attention[..., None]).squeeze(-1)), attention)


def residual() -> ResidualPooling:
    with seeded(0):
        return ResidualPooling().eval()


def question_model() -> QuestionAttention:
    """The one-hop question-answering model with the widths of its defaults."""
    with seeded(0):
        return QuestionAttention(GridCNN(3, (SIDE, SIDE), GRID, 32), 30, CLASSES).eval()


def scores_of(model: nn.Module, batch: Batch, sampler, regions: Regions) -> Tensor:
    """(B, N) the scores of all variants but the clean one, the plain way."""
    n = int(sampler.count(regions.count(batch))[0]) - 1
    rows, indices = torch.arange(len(batch)).repeat_interleave(n), torch.arange(1, n + 1).repeat(len(batch))
    with torch.inference_mode():
        return Scorer([model], batch, sampler, regions, "logit")(rows, indices).score.view(-1, n)


def logits_of(model: nn.Module, batch: Batch):
    """The model as a function of pixels alone, as other packages call it."""
    return lambda image: model(Batch(torch.arange(len(image)), batch.label[:1].expand(len(image)), image=image)).logits


def cell_of_pixel() -> Tensor:
    """(1, 1, H, W), the number of the cell that each pixel lies in: captum's feature mask."""
    cells = torch.arange(GRID[0] * GRID[1]).view(GRID)
    return cells.repeat_interleave(SIDE // GRID[0], 0).repeat_interleave(SIDE // GRID[1], 1)[None, None]


def test_all_pairs_of_cells():
    """2,017 variants of each image; the other side encodes once and runs `attend` on batches of variants."""
    model, batch, regions = question_model(), images(2 if QUICK else 16, words=30), FeatureGrid(GRID)

    def search(accelerate: bool, size: int | None = None):
        options = {"accelerate": accelerate, "perturbations_per_eval": size}
        return find_surrogates(model, batch, Pairs(), regions=regions, **options)

    ours, other = search(True), search(False)
    assert int(Pairs().count(GRID[0] * GRID[1])) == 2017
    torch.testing.assert_close(ours.score, other.score, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(ours.attention[ours.index == other.index], other.attention[ours.index == other.index])
    best = fastest(lambda size: search(False, size), CHUNKS)
    each = len(batch)
    faster("image pairs, feature grid", lambda: search(True), lambda: search(False, best), per=(each, each))


@pytest.mark.parametrize("make", [residual, classifier])
def test_masks_on_pixels_against_ready_made_inputs(make):
    """The limit: the same 512 variants, made beforehand, run through the model in batches and nothing else."""
    model, batch, regions = make(), images(1), CELLS
    of = "ResNet" if make is residual else "small CNN"
    for kind, sampler in (("random", RandomMasks(MASKS)), ("smooth", Rise(MASKS, grid=GRID))):
        rows, indices = torch.zeros(MASKS).long(), torch.arange(1, MASKS + 1)
        ready = regions.variants(batch, batch, rows, indices, sampler)[0]

        @torch.inference_mode()
        def bare(size: int, ready: Batch = ready) -> Tensor:
            parts = [model(ready.select(slice(at, at + size))).logits for at in range(0, MASKS, size)]
            return torch.cat(parts)

        def search(sampler=sampler):
            return find_surrogates(model, batch, sampler, regions=regions)

        best = fastest(bare, CHUNKS)
        found = search()
        scores = bare(best)[:, batch.label[0]]
        clean = find_surrogates(model, batch, Singles(), regions=regions).clean_score
        torch.testing.assert_close(found.score, torch.maximum(scores.max(), clean), atol=1e-5, rtol=1e-5)
        cost(f"image masks, bare forward of a {of}, {kind}", search, partial(bare, best), repetitions=REPETITIONS + 2)
        if make is residual:
            beside_its_forward_passes(f"image masks, own forward passes of a {of}, {kind}", model, search)


def beside_its_forward_passes(name: str, model: nn.Module, search: Callable) -> None:
    """What all of a search takes against what its calls of the model take: both from the same run, so nearly exact.

    Drawing masks, painting, and choosing the best is what is left. A search that misses the limit by more than this
    runs the model on batches of another size or finds another state of the machine; its own work it is not.
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


def test_ablation_of_cells():
    """One cell hidden at a time, against captum with the best `perturbations_per_eval` of those tried."""
    model, batch = classifier(), images(2 if QUICK else 8)
    ablation = FeatureAblation(logits_of(model, batch))

    @torch.inference_mode()
    def captum(size: int) -> Tensor:
        options = {"target": batch.label, "feature_mask": cell_of_pixel(), "baselines": 0}
        return ablation.attribute(batch.image, perturbations_per_eval=size, **options)

    def search():
        return find_surrogates(model, batch, Singles(), regions=CELLS, selector="importance")

    drop = search().clean_score[:, None] - scores_of(model, batch, Singles(), CELLS)
    theirs = captum(16)[:, 0, :: SIDE // GRID[0], :: SIDE // GRID[1]].flatten(1)
    torch.testing.assert_close(theirs, drop, atol=1e-5, rtol=1e-4)
    each, best = (len(batch), len(batch)), fastest(captum, (1, 8, 16, 64))
    faster("64 grid cells ablated, FeatureAblation", search, lambda: captum(best), per=each)


def test_ablation_of_feature_cells():
    """The same one level up: captum ablates what `encode` gave, and this package has the terms of every cell."""
    model, batch, regions = question_model(), images(2 if QUICK else 8, words=30), FeatureGrid(GRID)
    ablation = FeatureAblation(lambda features, context: model.attend(Encoded(features, context)).logits)

    @torch.inference_mode()
    def captum(size: int) -> Tensor:
        encoded = model.encode(batch)
        options = {"target": batch.label, "feature_mask": torch.arange(GRID[0] * GRID[1]).view(1, -1, 1)}
        context = (encoded.context,)
        return ablation.attribute(
            encoded.features, additional_forward_args=context, perturbations_per_eval=size, **options
        )

    def search():
        return find_surrogates(model, batch, Singles(), regions=regions, selector="importance")

    drop = search().clean_score[:, None] - scores_of(model, batch, Singles(), regions)
    torch.testing.assert_close(captum(16)[..., 0], drop, atol=1e-5, rtol=1e-4)
    each, best = (len(batch), len(batch)), fastest(captum, (1, 8, 16, 64))
    faster("64 grid cells ablated on features, FeatureAblation", search, lambda: captum(best), per=each)


def least_squares(model: LinearModel, dataloader, **_) -> dict:
    """Weighted linear regression: captum's own needs scikit-learn, which this package does not."""
    inputs, outputs, weights = (torch.cat(parts) for parts in zip(*dataloader, strict=True))
    root = weights.sqrt().double()[:, None]
    design = torch.cat([inputs.double(), torch.ones(len(inputs), 1).double()], 1)
    solution = torch.linalg.lstsq(root * design, root * outputs.double().view(-1, 1), driver="gelsd").solution.float()
    model._construct_model_params(norm_type=None, weight_values=solution[:-1].T, bias_value=solution[-1])
    return {}


class OurMasks(KernelShap):
    """KernelShap on the masks of a sampler, to compare what the two make of the same variants."""

    def __init__(self, function, masks: Tensor) -> None:
        super().__init__(function)
        self.masks = masks

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
        return method.attribute(
            batch.image,
            target=target,
            feature_mask=cell_of_pixel(),
            n_samples=MASKS,
            perturbations_per_eval=size,
            baselines=0,
            return_input_shape=False,
        )

    masks = sampler.masks(64, torch.arange(1, MASKS + 1), 0)
    design = torch.cat([masks, torch.ones(MASKS, 1)], 1).double()
    scores = scores_of(model, batch, sampler, CELLS)[0].double()
    fitted = design @ torch.linalg.lstsq(design, scores[:, None], driver="gelsd").solution
    theirs = OurMasks(function, masks)
    coefficients = captum(64, theirs).flatten().double()
    bias = theirs.interpretable_model.linear.bias.double()
    torch.testing.assert_close(design[:, :-1] @ coefficients + bias, fitted.flatten(), atol=1e-4, rtol=1e-4)

    best = fastest(lambda size: captum(size, KernelShap(function)), CHUNKS)

    def search():
        return find_surrogates(model, batch, sampler, regions=CELLS, selector="ridge")

    faster("512 random masks, KernelShap", search, lambda: captum(best, KernelShap(function)))


def test_random_masks_against_xaitk():
    """xaitk-saliency's RISE, where SSAN_XAITK_PYTHON names a Python that has it beside this package."""
    python = os.environ.get("SSAN_XAITK_PYTHON")
    if not python:
        pytest.skip("not measured: SSAN_XAITK_PYTHON names no Python that has xaitk-saliency")
    run = subprocess.run([python, "-m", "tests.benchmarks.xaitk_rise"], cwd=ROOT, capture_output=True, text=True)
    print(run.stdout)
    assert run.returncode == 0, run.stderr
