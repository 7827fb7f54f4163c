"""Counter-based random numbers: every draw is a pure function of (seed, example, index, which draw).

The generator is Philox4x32-10 (Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", SC 2011), in int64 torch
arithmetic, so that it gives the same bits on every device, and the same as `triton.language.philox`. It has no state.
"""

from __future__ import annotations

import operator

import torch
from torch import Tensor

# Multipliers and key increments of Philox4x32, from the paper.
MULTIPLIER_A, MULTIPLIER_B = 0xD2511F53, 0xCD9E8D57
KEY_STEP_A, KEY_STEP_B = 0x9E3779B9, 0xBB67AE85
ROUNDS = 10
WORD = 0xFFFFFFFF

# A uniform number is the top 24 bits of a word: all that a float32 in [0, 1) holds without rounding.
UNIFORM_BITS = 24


def check_seed(seed: int) -> int:
    """`seed` as a Python int; a TypeError if it is no integer, a ValueError if it does not fit into 64 signed bits."""
    number = operator.index(seed)
    if not -(2**63) <= number < 2**63:
        raise ValueError(f"seed must fit into 64 signed bits, got {seed}")
    return number


def _multiply(constant: int, word: Tensor) -> tuple[Tensor, Tensor]:
    """High and low word of the 64 bits of constant x word, for a constant of at least 2**31.

    With constant - 2**32, which is of 31 bits and a sign, the product fits into int64: its low word is the same, and
    what its high word lacks is `word`.
    """
    product = (constant - 2**32) * word
    return (product >> 32) + word, product & WORD


def philox(
    seed: int, c0: Tensor | int, c1: Tensor | int, c2: Tensor | int, c3: Tensor | int
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Philox4x32-10 of the counter (c0, c1, c2, c3) under the key `seed`.

    Args:
        seed: any int64; its low word is the first word of the key.
        c0, c1, c2, c3: the counter's words: int64 tensors of one device, or ints, that broadcast against each other. Of
            larger or negative numbers the low 32 bits count.

    Returns:
        Four int64 tensors of words in [0, 2**32), of the broadcast shape.

    A ValueError if the seed does not fit into 64 signed bits.
    """
    seed = check_seed(seed)
    k0, k1 = seed & WORD, (seed >> 32) & WORD
    device = next((c.device for c in (c0, c1, c2, c3) if isinstance(c, Tensor)), None)
    words = [torch.as_tensor(c, dtype=torch.long, device=device) & WORD for c in (c0, c1, c2, c3)]
    c0, c1, c2, c3 = torch.broadcast_tensors(*words)
    for _ in range(ROUNDS):
        high_a, low_a = _multiply(MULTIPLIER_A, c0)
        high_b, low_b = _multiply(MULTIPLIER_B, c2)
        c0, c1, c2, c3 = high_b ^ c1 ^ k0, low_b, high_a ^ c3 ^ k1, low_a
        k0, k1 = (k0 + KEY_STEP_A) & WORD, (k1 + KEY_STEP_B) & WORD
    return c0, c1, c2, c3


def words(seed: int, example_id: Tensor, index: Tensor, draws: int) -> Tensor:
    """The first `draws` random words of each variant.

    Draw d of a variant is word d % 4 of the Philox counter (low word of the example id, its high word, index, d // 4).
    `example_id` (M,) is any int64, `index` (M,) int64 in [0, 2**32), `draws` >= 1.

    Returns:
        (M, draws) int64 in [0, 2**32).
    """
    blocks = torch.arange(-(-draws // 4), device=index.device)
    ids = example_id[:, None]
    four = philox(seed, ids, ids >> 32, index[:, None], blocks[None])
    return torch.stack(four, -1).flatten(1)[:, :draws]


def uniform(seed: int, example_id: Tensor, index: Tensor, draws: int) -> Tensor:
    """(M, draws) float32 in [0, 1): the top 24 bits of each of the `words`, times 2**-24."""
    return (words(seed, example_id, index, draws) >> 8).to(torch.float32) * 2.0**-UNIFORM_BITS


def threshold(probability: float) -> int:
    """The integer t with `uniform < probability` exactly where the top 24 bits are < t; never 0 and never 2**24."""
    return min(max(round(probability * 2**UNIFORM_BITS), 1), 2**UNIFORM_BITS - 1)


def bernoulli(probability: float, seed: int, example_id: Tensor, index: Tensor, draws: int) -> Tensor:
    """(M, draws) bool, each True with `probability` (rounded to a multiple of 2**-24), decided in integers."""
    return words(seed, example_id, index, draws) >> 8 < threshold(probability)
