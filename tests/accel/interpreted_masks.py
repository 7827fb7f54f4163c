"""Runs the Triton kernel in Triton's interpreter, on the CPU, and compares it with the torch path bit for bit.

A script, run by test_fused_masks.py: the interpreter has to be chosen before triton is imported.
"""

import os

os.environ["TRITON_INTERPRET"] = "1"

import dataclasses

import torch

from ssan import rng
from ssan.accel import fused_masks, mask_kernel
from ssan.samplers import RandomMasks, Rise

ROWS = torch.tensor([0, 0, 2, 2, 1, 0, 1])
INDICES = torch.tensor([0, 1, 5, 2**32 - 1, 0, 9, 3])
NAMES = torch.tensor([5, -8, 2**50 + 1])


def bits(tensor):
    return tensor.view({2: torch.int16, 4: torch.int32}[tensor.element_size()])


def compare(image, fill, cells, keep, seed, smooth, **plan):
    """Both paths on the same input; `plan` overrides how the work is cut."""
    n_masks = 2**32 - 1
    cut = dataclasses.replace(fused_masks.Plan.of(image, len(ROWS), cells, smooth), **plan)
    got = mask_kernel.launch(image, fill, ROWS, INDICES, NAMES, rng.threshold(keep), seed, cut)
    expected = torch.ops.ssan.masked_variants(
        image, fill, ROWS, INDICES, NAMES, list(cells), n_masks, keep, seed, smooth
    )
    assert got.dtype == expected.dtype == image.dtype
    assert torch.equal(bits(got), bits(expected)), (image.dtype, fill.shape, cells, keep, seed, smooth, plan)
    sampler = Rise(n_masks, cells[0], keep, seed) if smooth else RandomMasks(n_masks, keep, seed)
    assert torch.equal(fused_masks.masked_variants(image, fill, ROWS, INDICES, NAMES, sampler, cells), got)


def make(dtype, shape, generator):
    """Numbers from subnormal to the largest, so that every rounding shows."""
    image = torch.randn(shape, generator=generator) * 10.0 ** torch.randint(-9, 5, shape, generator=generator)
    image = image.to(dtype)
    image[0, 0, 0, :4] = torch.tensor([0.0, 1.0, torch.finfo(dtype).tiny / 4, torch.finfo(dtype).max])
    return image


def main():
    torch.set_num_threads(1)
    generator = torch.Generator().manual_seed(0)
    for dtype in (torch.float32, torch.bfloat16, torch.float16):
        image = make(dtype, (3, 3, 16, 24), generator)
        other = make(dtype, (3, 3, 16, 24), generator)
        # The reads of one program for all variants, of one for every two, of tiles that end inside the image.
        compare(image, other, (4, 8), 0.4, -3, False, per_program=64)
        compare(image, image.mean((2, 3), keepdim=True), (4, 3), 0.4, 2**62 + 11, False, per_program=2)
        compare(image, other, (5, 5), 0.4, -3, True, per_program=64)
        compare(image, image.new_full((1, 3, 1, 1), 0.25), (2, 2), 0.9, 2**62 + 11, True, pixels=256, tiles=2)
    # One channel, odd sizes, and strides that are not those of a fresh tensor.
    image, other = make(dtype, (3, 1, 15, 9), generator), make(dtype, (1, 1, 9, 15), generator)
    compare(image, other.transpose(2, 3), (5, 3), 0.7, 1, False, pixels=32, tiles=5)
    compare(image.transpose(2, 3), other, (1, 1), 0.7, 1, True)
    print("equal")


if __name__ == "__main__":
    main()
