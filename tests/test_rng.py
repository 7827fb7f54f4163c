"""The random numbers: against the published vectors, against Triton's Philox, and against plain Python integers."""

import os
import subprocess
import sys

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ssan import rng

WORD = 0xFFFFFFFF
int64 = st.integers(-(2**63), 2**63 - 1)
word = st.integers(0, WORD)


def signed(key0, key1):
    """The int64 whose words are (key0, key1)."""
    seed = key1 << 32 | key0
    return seed - 2**64 if seed >= 2**63 else seed


def plain_philox(seed, counter):
    """Philox4x32-10 in Python's integers, written from the paper."""
    key = [seed % 2**64 & WORD, seed % 2**64 >> 32]
    x = list(counter)
    for _ in range(10):
        a, b = 0xD2511F53 * x[0], 0xCD9E8D57 * x[2]
        x = [b >> 32 ^ x[1] ^ key[0], b & WORD, a >> 32 ^ x[3] ^ key[1], a & WORD]
        key = [(key[0] + 0x9E3779B9) & WORD, (key[1] + 0xBB67AE85) & WORD]
    return x


# The known answers that come with Random123 (kat_vectors, philox4x32 with 10 rounds).
KNOWN = [
    ((0, 0), (0, 0, 0, 0), (0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8)),
    ((WORD, WORD), (WORD,) * 4, (0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD)),
    (
        (0xA4093822, 0x299F31D0),
        (0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344),
        (0xD16CFE09, 0x94FDCCEB, 0x5001E420, 0x24126EA1),
    ),
]


@pytest.mark.parametrize(("key", "counter", "answer"), KNOWN)
def test_philox_gives_the_published_answers(key, counter, answer):
    assert tuple(int(x) for x in rng.philox(signed(*key), *counter)) == answer
    assert tuple(plain_philox(signed(*key), counter)) == answer


@settings(deadline=None, max_examples=100)
@given(int64, st.tuples(word, word, word, word))
def test_philox_equals_plain_integers(seed, counter):
    assert [int(x) for x in rng.philox(seed, *counter)] == plain_philox(seed, counter)


def test_philox_broadcasts_and_takes_the_low_words():
    rows, columns = torch.tensor([[-1], [5 - 2**40]]), torch.arange(3)
    out = rng.philox(7, rows, 1, 2, columns)
    assert all(x.shape == (2, 3) and x.dtype == torch.int64 for x in out)
    assert [int(x[0, 2]) for x in out] == plain_philox(7, (WORD, 1, 2, 2))
    assert [int(x[1, 0]) for x in out] == plain_philox(7, (5, 1, 2, 0))


@settings(deadline=None, max_examples=50)
@given(int64, int64, word, st.integers(0, 40))
def test_words_are_laid_out_as_documented(seed, example, index, draw):
    got = int(rng.words(seed, torch.tensor([example]), torch.tensor([index]), draw + 1)[0, draw])
    counter = (example & WORD, example >> 32 & WORD, index, draw // 4)
    assert got == plain_philox(seed, counter)[draw % 4]


def test_draws_do_not_depend_on_how_many_are_drawn():
    example, index = torch.tensor([3, -9, 2**62]), torch.tensor([1, 0, 77])
    many = rng.words(5, example, index, 23)
    assert many.shape == (3, 23)
    for draws in range(1, 23):
        assert torch.equal(rng.words(5, example, index, draws), many[:, :draws])
    assert torch.equal(rng.words(5, example[1:2], index[1:2], 23), many[1:2])


def test_uniform_is_the_top_24_bits():
    example, index = torch.arange(50), torch.arange(50)
    u = rng.uniform(1, example, index, 200)
    assert u.dtype == torch.float32
    assert torch.equal((u.double() * 2**24).long(), rng.words(1, example, index, 200) >> 8)
    assert u.min() >= 0
    assert u.max() < 1
    # 10,000 draws: mean and variance within five standard errors of 1/2 and 1/12, and neighbours uncorrelated.
    assert abs(u.mean() - 0.5) < 5 * (1 / 12 / 1e4) ** 0.5
    assert abs(u.var() - 1 / 12) < 5 * (1 / 180 / 1e4) ** 0.5
    v = u - 0.5
    assert abs((v[:, 1:] * v[:, :-1]).mean() * 12) < 5 / 1e2
    assert abs((v[1:] * v[:-1]).mean() * 12) < 5 / 1e2


@pytest.mark.parametrize("keep", [1e-12, 0.1, 0.5, 0.75, 1 - 1e-12])
def test_bernoulli_is_uniform_below_probability(keep):
    example, index = torch.arange(20), torch.arange(20)
    kept = rng.bernoulli(keep, 2, example, index, 500)
    rounded = rng.threshold(keep) / 2**24
    assert 0 < rounded < 1
    assert abs(rounded - keep) <= 2**-24
    assert torch.equal(kept, rng.uniform(2, example, index, 500).double() < rounded)


def test_no_global_state():
    torch.manual_seed(0)
    before = torch.get_rng_state()
    first = rng.words(0, torch.arange(4), torch.arange(4), 9)
    torch.manual_seed(1)
    assert torch.equal(rng.words(0, torch.arange(4), torch.arange(4), 9), first)
    torch.manual_seed(0)
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("seed", [2**63, -(2**63) - 1])
def test_seeds_are_64_bits(seed):
    with pytest.raises(ValueError, match="64 signed bits"):
        rng.philox(seed, 0, 0, 0, 0)


def test_seeds_are_integers():
    with pytest.raises(TypeError):
        rng.check_seed(0.5)


INTERPRETED = """
import torch, triton, triton.language as tl
from ssan import rng

@triton.jit
def kernel(out, seed, c0, c1, c2, c3):
    i = tl.arange(0, 8)
    zero = tl.zeros((8,), tl.uint32)
    a, b, c, d = tl.philox(seed, zero + c0.to(tl.uint32), zero + c1.to(tl.uint32), zero + c2.to(tl.uint32),
                           c3.to(tl.uint32) + i.to(tl.uint32))
    tl.store(out + i, a.to(tl.int64)); tl.store(out + 8 + i, b.to(tl.int64))
    tl.store(out + 16 + i, c.to(tl.int64)); tl.store(out + 24 + i, d.to(tl.int64))

for seed in (0, 1, -1, 2**63 - 1, -(2**63), 0x1234567890ABCDEF):
    out = torch.empty(4, 8, dtype=torch.long)
    kernel[(1,)](out, seed, 0x9ABCDEF0, 0xFFFFFFFF, 3, 0xFFFFFFF0)
    expected = rng.philox(seed, 0x9ABCDEF0, 0xFFFFFFFF, 3, 0xFFFFFFF0 + torch.arange(8))
    assert torch.equal(out, torch.stack(expected)), seed
print("equal")
"""


def test_philox_equals_triton(tmp_path):
    pytest.importorskip("triton")
    script = tmp_path / "philox.py"
    script.write_text(INTERPRETED)
    environment = {**os.environ, "TRITON_INTERPRET": "1", "OMP_NUM_THREADS": "1"}
    done = subprocess.run([sys.executable, script], env=environment, capture_output=True, text=True)
    assert done.stdout.strip() == "equal", done.stderr
