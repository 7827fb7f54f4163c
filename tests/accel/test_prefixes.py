"""Distinct beginnings of sentences against dictionaries of tuples."""

import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st

from ssan.accel.prefixes import Prefixes, alphabetical, backwards
from tests.helpers import sentences

SENTENCES = st.lists(st.lists(st.integers(0, 2), min_size=1, max_size=5), min_size=1, max_size=12)


@given(SENTENCES)
@settings(deadline=None, max_examples=60)
def test_prefixes_are_the_distinct_beginnings(rows):
    batch = sentences(rows)
    prefixes = Prefixes.of(batch.tokens, batch.lengths)
    numbers: dict[tuple[int, ...], int] = {}
    for row, nodes in zip(rows, prefixes.node.tolist(), strict=True):
        for length in range(1, len(row) + 1):
            assert numbers.setdefault(tuple(row[:length]), nodes[length - 1]) == nodes[length - 1]
    # As many numbers as beginnings, without a gap, the shorter ones first.
    assert sorted(numbers.values()) == list(range(len(numbers)))
    assert [len(words) for words in prefixes.words] == [
        len({beginning for beginning in numbers if len(beginning) == length})
        for length in range(1, max(map(len, rows)) + 1)
    ]
    words, begun = torch.cat(prefixes.words), 0
    for beginning, number in numbers.items():
        assert words[number] == beginning[-1]
    for length, parents in enumerate(prefixes.parents, start=2):
        shorter, begun = begun, begun + len(prefixes.words[length - 2])
        for beginning in (one for one in numbers if len(one) == length):
            assert parents[numbers[beginning] - begun] == numbers[beginning[:-1]] - shorter


@given(SENTENCES)
@example([[1], [1, 0], [1, 2], [1, 2]])  # what has ended has no heir
@settings(deadline=None, max_examples=60)
def test_every_parent_has_one_heir_and_heirs_come_first(rows):
    batch = sentences(rows)
    prefixes = Prefixes.of(batch.tokens, batch.lengths)
    assert len(prefixes.parents) == len(prefixes.twins) == len(prefixes.words) - 1
    for parents, twins in zip(prefixes.parents, prefixes.twins, strict=True):
        heirs = len(parents) - len(twins)
        assert sorted(parents[:heirs].tolist()) == sorted(set(parents.tolist()))
        assert (twins < heirs).all()
        assert torch.equal(parents[twins], parents[heirs:])


@given(st.integers(1, 6), st.lists(st.lists(st.integers(-1, 9), min_size=6, max_size=6), min_size=1, max_size=20))
@settings(deadline=None, max_examples=60)
def test_order_of_the_dictionary(width, rows):
    rows = [row[:width] for row in rows]
    expected = sorted(range(len(rows)), key=lambda i: rows[i])  # stable, as ours is
    assert alphabetical(torch.tensor(rows).view(len(rows), width)).tolist() == expected


def test_order_of_the_dictionary_with_many_and_with_large_letters():
    g = torch.Generator().manual_seed(0)
    for letters, length in ((2, 200), (3, 70), (2**20, 7), (2**40, 3)):
        rows = torch.randint(-1, letters, (50, length), generator=g)
        rows[25:, :-1] = rows[:25, :-1]  # pairs that differ at the end only
        assert alphabetical(rows).tolist() == sorted(range(50), key=lambda i: rows[i].tolist())


def test_backwards_reverses_each_row_up_to_its_length():
    rows = torch.tensor([[1, 2, 3, 9], [4, 5, 9, 9], [6, 9, 9, 9]])
    assert backwards(rows, torch.tensor([3, 2, 1])).tolist() == [[3, 2, 1, 1], [5, 4, 4, 4], [6, 6, 6, 6]]
