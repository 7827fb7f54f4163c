"""How far cells lie beside the pixels they speak of: known by construction."""

import pytest
import torch

from ssan.attention import AttentionModel, Output
from ssan.metrics import registration_offset
from ssan.regions import ImageGrid, TokenRegions
from ssan.task import Batch
from tests.helpers import generator, sentences


class Shifted(AttentionModel):
    """Each cell of 4x4 pixels is scored by the mean of the pixels `shift` (x, y) up and left of it; some get exactly 0.

    What all cells share, here twice the brightness of the image, is no business of any.
    """

    regions = ImageGrid((4, 5))

    def __init__(self, shift=(0, 0), hidden=()):
        super().__init__()
        self.shift, self.hidden = shift, list(hidden)

    def forward(self, batch):
        seen = batch.image.roll((self.shift[1], self.shift[0]), (2, 3))
        scores = torch.nn.functional.avg_pool2d(seen, 4).flatten(1) + 2 * batch.image.mean((1, 2, 3))[:, None]
        weights = scores.exp().index_fill(1, torch.tensor(self.hidden).long(), 0)
        return Output(scores[:, :2], weights / weights.sum(1, keepdim=True))


def flips(n=2, size=(16, 20)):
    """Pixels of -1 and 1, as many of either in every image: hiding any of them changes as much."""
    side = size[0] * size[1]
    order = torch.rand(n, side, generator=generator(0)).argsort(1)
    return Batch(torch.arange(n), torch.zeros(n).long(), image=(order % 2 * 2.0 - 1).view(n, 1, *size).double())


@pytest.mark.parametrize("shift", [(0, 0), (1, 0), (3, 2), (-2, -1)])
def test_a_shift_is_told_exactly(shift):
    batch = flips()
    assert registration_offset(Shifted(shift), batch, patch=1) == pytest.approx(shift, abs=1e-6)
    # Attention of exactly 0 is left out, training mode comes back, features of the images are not read.
    model = Shifted(shift, hidden=(0, 7)).train()
    assert registration_offset(model, batch.replace(features=torch.ones(2, 20, 1)), patch=1) == pytest.approx(shift)
    assert model.training


def test_default_patches_are_half_a_cell_and_may_be_cut_at_the_edge():
    batch = flips(1)
    batch = batch.replace(image=batch.image[:, :, ::2, ::2].repeat_interleave(2, 2).repeat_interleave(2, 3))
    batch.image.sub_(batch.image.mean())
    for shift in ((0, 0), (2, -2)):
        plain = registration_offset(Shifted(shift), batch)
        assert plain == registration_offset(Shifted(shift), batch, patch=2)
        assert plain == pytest.approx(shift, abs=0.3)  # the mean is not 0, so not all patches weigh the same
    assert registration_offset(Shifted((2, 0)), flips(8), patch=3) == pytest.approx((2, 0), abs=0.6)


def test_what_cannot_be_measured():
    batch, model = flips(), Shifted()
    for given, regions, message in (
        (sentences([[2, 3]]), None, r"a batch without images and ImageGrid"),
        (batch.select([]), None, "a batch of 0 examples"),
        (batch, ImageGrid((2, 5)), "a grid of at least 3x3 cells, .*grid=\\(2, 5\\)"),
        (batch, TokenRegions(), "TokenRegions"),
        (batch, ImageGrid((4, 4)), r"attention has shape \(2, 20\), expected \(2, 16\)"),
        (batch.replace(image=torch.ones(2, 1, 16, 20)), None, "changes no attention"),
    ):
        with pytest.raises(ValueError, match=message):
            registration_offset(model, given, regions=regions)
    for patch in (0, -1):
        with pytest.raises(ValueError, match="patch must be a side of at least 1 pixel"):
            registration_offset(model, batch, patch=patch)
