"""Painting variants: against one variant at a time, for every order of rows."""

import pytest
import torch

from ssan.accel.painting import BLOCK, enlarge, paint

ORDERS = {
    "together": torch.tensor([0] * (2 * BLOCK + 3) + [2] * 4),
    "scattered": torch.tensor([0, 2, 0, 1, 1, 2]),
    "one": torch.tensor([1]),
    "none": torch.tensor([], dtype=torch.long),
}


@pytest.mark.parametrize("rows", ORDERS.values(), ids=ORDERS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16, torch.float16])
def test_paint_equals_one_at_a_time(rows, dtype):
    generator = torch.Generator().manual_seed(3)
    image, other = torch.randn(2, 3, 2, 4, 6, generator=generator).to(dtype)
    smooth = torch.randint(0, 2**20 + 1, (len(rows), 4, 6), generator=generator) / 2**20
    kept = smooth > 0.4
    wide = torch.float64 if dtype == torch.float64 else torch.float32
    for fill in (other, image.mean((2, 3), keepdim=True), image.new_zeros(1)):
        hard, soft = paint(image, fill, rows, kept), paint(image, fill, rows, smooth)
        assert hard.shape == soft.shape == (len(rows), 2, 4, 6)
        assert hard.dtype == soft.dtype == dtype
        for k, row in enumerate(rows.tolist()):
            x, f = image[row], fill.expand(image.shape)[row]
            assert torch.equal(hard[k], torch.where(kept[k], x, f))
            mixed = smooth[k].to(wide) * x.to(wide) + (1 - smooth[k].to(wide)) * f.to(wide)
            assert torch.equal(soft[k], mixed.to(dtype))


def test_hidden_pixels_do_not_leak():
    image = torch.full((1, 1, 1, 2), float("nan"))
    kept = torch.tensor([[[True, False]]])
    painted = paint(image, image.new_zeros(1), torch.tensor([0]), kept)
    assert painted.isnan().flatten().tolist() == [True, False]


def test_paint_passes_gradients():
    image = torch.ones(1, 1, 2, 2, requires_grad=True)
    kept = torch.tensor([[[True, False], [True, True]], [[True, False], [False, False]]])
    paint(image, torch.zeros(1), torch.tensor([0, 0]), kept).sum().backward()
    assert image.grad.flatten().tolist() == [2, 0, 1, 1]


def test_enlarge():
    cells = torch.tensor([[True, False, False, False, True, True]])
    assert enlarge(cells, (2, 3), (4, 3)).int().tolist() == [[[1, 0, 0], [1, 0, 0], [0, 1, 1], [0, 1, 1]]]
    assert enlarge(cells[:, :2], (1, 2), (1, 4)).int().tolist() == [[[1, 1, 0, 0]]]


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_cuda_paints_the_same():
    image, other = torch.randn(2, 3, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    rows, smooth = torch.tensor([0, 2, 2, 1]), torch.arange(4 * 64).view(4, 8, 8) / 256
    for pixels in (smooth, smooth > 0.5):
        got = paint(image.cuda(), other.cuda(), rows.cuda(), pixels.cuda())
        assert torch.equal(got.cpu(), paint(image, other, rows, pixels))
