"""Masked variants: the torch path against one at a time, the kernel in the interpreter, as cubins, and on CUDA."""

import itertools
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from ssan.accel.fused_masks import Plan, bytes_moved, masked_variants, serves
from ssan.samplers import KeepK, Pairs, RandomMasks, Rise

ROWS = torch.tensor([1, 1, 1, 0, 2, 2, 1, 0])
INDICES = torch.tensor([0, 7, 3, 0, 3, 2, 7, 9])
NAMES = torch.tensor([5, -(2**63), 2**40])
SAMPLERS = [RandomMasks(9, keep=0.6, seed=4), Rise(9, cells=3, keep=0.4, seed=-9)]
GRID = (4, 2)
DTYPES = [torch.float32, torch.bfloat16, torch.float16]


def images(dtype=torch.float32, channels=3):
    generator = torch.Generator().manual_seed(1)
    image = torch.randn(3, channels, 8, 12, generator=generator).to(dtype)
    return image, torch.randn(3, channels, 8, 12, generator=generator).to(dtype)


def one_at_a_time(image, fill, sampler):
    """Every variant by itself, from the sampler's own masks."""
    out = []
    fill = fill.expand(image.shape)
    for row, index in zip(ROWS.tolist(), INDICES.tolist(), strict=True):
        x, f, name = image[row], fill[row], int(NAMES[row])
        if isinstance(sampler, Rise):
            m = sampler.pixel_masks(x.shape[1:], index, name)
            out.append((m * x.float() + (1 - m) * f.float()).to(x.dtype))
        else:
            cells = sampler.masks(GRID[0] * GRID[1], index, name).view(GRID)
            y, x_ = torch.arange(8) * GRID[0] // 8, torch.arange(12) * GRID[1] // 12
            out.append(torch.where(cells[y][:, x_], x, f))
    return torch.stack(out)


# --- the torch path --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("sampler", SAMPLERS, ids=["random", "rise"])
@pytest.mark.parametrize("dtype", [*DTYPES, torch.float64])
def test_equals_one_variant_at_a_time(sampler, dtype):
    image, other = images(dtype)
    for fill in (other, other[:1], image.mean((2, 3), keepdim=True), image.new_zeros(1)):
        got = masked_variants(image, fill, ROWS, INDICES, NAMES, sampler, GRID)
        assert got.dtype == dtype
        assert got.shape == (8, 3, 8, 12)
        if dtype == torch.float64 and isinstance(sampler, Rise):
            assert torch.allclose(got.float(), one_at_a_time(image, fill, sampler).float())
        else:
            assert torch.equal(got, one_at_a_time(image, fill, sampler))
        assert torch.equal(got[INDICES == 0], image[ROWS[INDICES == 0]])
    assert not torch.equal(got[1], got[2])


@pytest.mark.parametrize("sampler", SAMPLERS, ids=["random", "rise"])
def test_does_not_depend_on_the_company(sampler):
    image, other = images()
    together = masked_variants(image, other, ROWS, INDICES, NAMES, sampler, GRID)
    order = torch.tensor([3, 0, 7, 6, 5, 1, 2, 4])
    assert torch.equal(
        masked_variants(image, other, ROWS[order], INDICES[order], NAMES, sampler, GRID), together[order]
    )
    # More variants of one image than are painted at a time.
    many = torch.arange(10).repeat(4)
    stretch = masked_variants(image, other, torch.full((40,), 1), many, NAMES, sampler, GRID)
    assert torch.equal(stretch, stretch[:10].repeat(4, 1, 1, 1))
    assert torch.equal(stretch[INDICES[ROWS == 1]], together[ROWS == 1])


def test_no_variants():
    image, other = images()
    nothing = torch.empty(0, dtype=torch.long)
    assert masked_variants(image, other, nothing, nothing, NAMES, SAMPLERS[0], GRID).shape == (0, 3, 8, 12)


def test_which_samplers_it_serves():
    assert all(serves(s) for s in SAMPLERS)
    assert not any(serves(s) for s in (Pairs(), KeepK(3, 2)))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"sampler": Pairs()}, "RandomMasks and Rise, not of Pairs"),
        ({"image": torch.zeros(3, 8, 12)}, "image must be float"),
        ({"image": torch.zeros(3, 3, 8, 12, dtype=torch.uint8)}, "image must be float"),
        ({"fill": torch.zeros(2, 3, 1, 1)}, "fill must be"),
        ({"fill": torch.zeros(2, 3, 3, 8, 12)}, "fill must be"),
        ({"fill": torch.zeros(1, dtype=torch.float64)}, "fill must be torch.float32"),
        ({"grid": (3, 2)}, "does not divide"),
        ({"rows": ROWS[:-1]}, "expected rows"),
        ({"example_id": NAMES[:-1]}, "expected rows"),
        ({"rows": ROWS + 1}, r"rows must be in \[0, 3\).*1 to 3"),
        ({"rows": ROWS - 1}, "rows must be"),
        ({"indices": INDICES - 1}, r"indices in \[0, 9\].*-1 to 8"),
        ({"indices": INDICES + 1}, "indices"),
    ],
)
def test_bad_input(changes, message):
    image, other = images()
    given = {"image": image, "fill": other, "rows": ROWS, "indices": INDICES, "example_id": NAMES}
    given |= {"sampler": SAMPLERS[0], "grid": GRID} | changes
    with pytest.raises(ValueError, match=message):
        masked_variants(**given)


# --- the op ----------------------------------------------------------------------------------------------------------


def op_arguments(sampler):
    smooth = isinstance(sampler, Rise)
    cells = [sampler.cells] * 2 if smooth else list(GRID)
    return *images(), ROWS, INDICES, NAMES, cells, sampler.n_masks, sampler.keep, sampler.seed, smooth


@pytest.mark.parametrize("sampler", SAMPLERS, ids=["random", "rise"])
def test_the_op_is_well_formed(sampler):
    torch.library.opcheck(torch.ops.ssan.masked_variants.default, op_arguments(sampler))


@pytest.mark.parametrize("sampler", SAMPLERS, ids=["random", "rise"])
def test_compile_keeps_the_op(sampler):
    graphs = []

    def backend(graph, _inputs):
        graphs.append(graph)
        return graph

    def scores(image, fill, rows, indices, names):
        return masked_variants(image * 2, fill, rows, indices, names, sampler, GRID).sum((1, 2, 3))

    image, other = images()
    torch._dynamo.reset()
    compiled = torch.compile(scores, backend=backend, fullgraph=True)(image, other, ROWS, INDICES, NAMES)
    assert torch.equal(compiled, scores(image, other, ROWS, INDICES, NAMES))
    targets = [node.target for graph in graphs for node in graph.graph.nodes]
    assert len(graphs) == 1
    assert torch.ops.ssan.masked_variants in {getattr(t, "overloadpacket", t) for t in targets}


@pytest.mark.parametrize("sampler", SAMPLERS, ids=["random", "rise"])
def test_aot_autograd_keeps_the_op(sampler):
    image, other = images()
    torch._dynamo.reset()
    compiled = torch.compile(
        lambda *a: masked_variants(*a, sampler, GRID) + 1, backend="aot_eager", fullgraph=True, dynamic=True
    )
    for length in (8, 5):
        args = image, other, ROWS[:length], INDICES[:length], NAMES
        assert torch.equal(compiled(*args), masked_variants(*args, sampler, GRID) + 1)


def test_runs_in_inference_mode():
    image, other = images()
    with torch.inference_mode():
        assert masked_variants(image, other, ROWS, INDICES, NAMES, SAMPLERS[0], GRID).is_inference()


# --- how the work is cut ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("channels", "side", "variants"), [(3, 224, 512), (1, 8, 1), (3, 64, 100_000), (40, 33, 7)])
def test_a_plan_covers_everything(channels, side, variants):
    for smooth, cells in itertools.product((False, True), ((1, 1), (7, 7), (8, 3))):
        plan = Plan.of(torch.empty(2, channels, side, side), variants, cells, smooth)
        assert plan.channels >= channels
        assert plan.tiles * plan.pixels >= side * side > (plan.tiles - 1) * plan.pixels
        assert plan.nodes >= (cells[0] + 2 * smooth) * (cells[1] + 2 * smooth)
        for power in (plan.channels, plan.pixels, plan.nodes):
            assert power & (power - 1) == 0
        # CUDA allows 65,535 programs along the axis of the variants.
        assert -(-variants // plan.per_program) <= 65_535


def test_bytes_moved():
    image = torch.empty(2, 3, 64, 64)
    size = 3 * 64 * 64 * 4
    rows = torch.tensor([0, 0, 0, 0, 1, 1])
    plan = Plan((8, 8), False, 4, 1024, 4, per_program=4)
    # Two programs of four variants, one image each: nothing is read twice.
    assert bytes_moved(image, image.new_zeros(1), rows, plan) == (8 * size + 2 * 4, 8 * size + 2 * 4)
    plan = Plan((8, 8), False, 4, 1024, 4, per_program=3)
    # Of three: the second program reads both images. The fill is another image.
    assert bytes_moved(image, image, rows, plan) == (6 * size + 3 * 2 * size, 6 * size + 2 * 2 * size)


# --- the kernel ------------------------------------------------------------------------------------------------------


def run(*arguments, **environment):
    """A fresh Python; gives what it printed."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1", **environment}
    done = subprocess.run([sys.executable, *arguments], env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_the_kernel_gives_the_same_bits_in_the_interpreter():
    pytest.importorskip("triton")
    assert run(Path(__file__).with_name("interpreted_masks.py")) == "equal"


def test_without_triton_only_the_kernel_is_missing():
    script = """
import sys
sys.modules["triton"] = None
from ssan.accel import fused_masks
try:
    fused_masks.kernel()
except RuntimeError as error:
    print(error)
"""
    assert "triton, which is not installed here" in run("-c", script)


ARCHITECTURES = (75, 80, 86, 89, 90, 100, 120)
TRITON_TYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
# Every architecture once and every type both ways; all 42 combinations with SSAN_ALL_CUBINS=1.
CUBINS = sorted(
    itertools.product(ARCHITECTURES, TRITON_TYPES, (False, True))
    if os.environ.get("SSAN_ALL_CUBINS") == "1"
    else {(a, "fp32", True) for a in ARCHITECTURES}
    | {(75, "bf16", True), (90, "fp16", True), (75, "bf16", False), (80, "fp32", False), (120, "fp16", False)}
)


@pytest.mark.parametrize(("architecture", "dtype", "smooth"), CUBINS)
def test_the_kernel_compiles_to_a_cubin(architecture, dtype, smooth, tmp_path, monkeypatch):
    triton = pytest.importorskip("triton")
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource

    from ssan.accel import mask_kernel

    monkeypatch.setenv("TRITON_CACHE_DIR", str(tmp_path))
    plan = Plan.of(torch.empty(1, 3, 64, 64, dtype=TRITON_TYPES[dtype]), 512, (7, 7) if smooth else (8, 8), smooth)
    constants = mask_kernel.sizes(plan)
    pointers = {"out": dtype, "image": dtype, "fill": dtype, "rows": "i64", "indices": "i64", "example_id": "i64"}
    types = dict.fromkeys(mask_kernel.masked_variants_kernel.arg_names, "i32")
    types |= {name: f"*{type_}" for name, type_ in pointers.items()} | {"seed": "i64"}
    types |= dict.fromkeys(constants, "constexpr")
    # What a launch finds out by itself: fresh tensors are aligned, and these images are 64 pixels wide.
    aligned = [i for i, name in enumerate(types) if name in (*pointers, "height", "width")]
    source = ASTSource(
        mask_kernel.masked_variants_kernel,
        types,
        constexprs=constants,
        attrs={(i,): [["tt.divisibility", 16]] for i in aligned},
    )
    compiled = triton.compile(source, target=GPUTarget("cuda", architecture, 32), options=mask_kernel.OPTIONS)
    assert compiled.asm["cubin"][:4] == b"\x7fELF"
    ptx = compiled.asm["ptx"]
    assert f".target sm_{architecture}" in ptx
    # Equality of bits rests on this: nothing is fused, nothing flushes subnormals to zero.
    assert "fma" not in ptx
    assert ".ftz" not in ptx
    # And speed on this: pixels are written four words at a time.
    assert "st.global.v4" in ptx


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("sampler", SAMPLERS, ids=["random", "rise"])
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("channels", [1, 3, 5])
def test_cuda_gives_the_same_bits(sampler, dtype, channels):
    image, other = images(dtype, channels)
    for fill in (other, image.mean((2, 3), keepdim=True)):
        expected = masked_variants(image, fill, ROWS, INDICES, NAMES, sampler, GRID)
        got = masked_variants(image.cuda(), fill.cuda(), ROWS.cuda(), INDICES.cuda(), NAMES.cuda(), sampler, GRID)
        assert got.is_cuda
        assert torch.equal(got.cpu(), expected)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_cuda_makes_nothing_but_the_variants():
    image = torch.randn(2, 3, 128, 128, device="cuda")
    rows = torch.arange(2, device="cuda").repeat_interleave(256)
    indices, names = torch.arange(512, device="cuda") % 10, torch.arange(2, device="cuda")
    fill = image.mean((2, 3), keepdim=True)
    masked_variants(image, fill, rows, indices, names, SAMPLERS[1], GRID)
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    out = masked_variants(image, fill, rows, indices, names, SAMPLERS[1], GRID)
    assert torch.cuda.max_memory_allocated() - before < out.nbytes * 1.01
