"""Halving on out-of-memory: everything is done once and in order, in pieces that fit, and said once."""

import warnings
from itertools import chain

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ssan.memory import Halving, Workspace, is_out_of_memory
from ssan.samplers import Pairs
from ssan.search import find_surrogates
from tests.helpers import Additive, additive, random_sentences

CPU_MESSAGE = (
    "[enforce fail at alloc_cpu.cpp:127] . DefaultCPUAllocator: not enough memory: you tried to allocate 9 bytes"
)


def holding(most, error=None):
    """Work on a machine with memory for `most` inputs; remembers the pieces that it tried."""
    tried = []

    def work(start, stop):
        tried.append((start, stop))
        if stop - start > most:
            raise error or torch.OutOfMemoryError("out of memory")
        return list(range(start, stop))

    return work, tried


@given(n=st.integers(0, 50), size=st.integers(1, 60), limit=st.none() | st.integers(1, 60), most=st.integers(1, 60))
@settings(deadline=None, max_examples=150)
def test_everything_once_and_in_order(n, size, limit, most):
    work, tried = holding(most)
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        done = list(Halving(limit).pieces(work, n, size))
    assert [i for piece in done for i in piece] == list(range(n))
    assert all(len(piece) <= min(most, limit or size) for piece in done)
    failures = [piece for piece in tried if piece[1] - piece[0] > most]
    assert len(said) == bool(failures)
    assert len(failures) <= 6


def test_smaller_pieces_stay_small_and_are_reported_once():
    halving = Halving()
    work, tried = holding(3)
    with pytest.warns(RuntimeWarning, match="memory ran out on 16 inputs at once: going on with at most 8") as said:
        list(chain(halving.pieces(work, 40, 16), halving.pieces(work, 40, 16)))
    assert len(said) == 1
    assert halving.limit == 2
    assert [stop - start for start, stop in tried[:3]] == [16, 8, 4]
    assert {stop - start for start, stop in tried[3:]} == {2}


@pytest.mark.parametrize(
    ("error", "ours"),
    [
        (torch.OutOfMemoryError("CUDA out of memory"), True),
        (RuntimeError(CPU_MESSAGE), True),
        (MemoryError(), True),
        (RuntimeError("mat1 and mat2 shapes cannot be multiplied"), False),
        (ValueError("not enough memory"), False),
    ],
)
def test_what_counts_as_out_of_memory(error, ours):
    assert is_out_of_memory(error) == ours
    work, tried = holding(1, error)
    if ours:
        with pytest.warns(RuntimeWarning, match="memory ran out"):
            assert list(Halving().pieces(work, 4, 2)) == [[0], [1], [2], [3]]
    else:
        with pytest.raises(type(error)):
            list(Halving().pieces(work, 4, 2))
        assert tried == [(0, 2)]


def test_the_cpu_allocator_says_what_we_listen_for():
    with pytest.raises(RuntimeError) as caught:
        torch.empty(2**60, dtype=torch.uint8)
    assert is_out_of_memory(caught.value)


def test_one_input_that_does_not_fit_is_an_error():
    work, _ = holding(0)
    with pytest.warns(RuntimeWarning), pytest.raises(torch.OutOfMemoryError):
        list(Halving().pieces(work, 4, 4))


class Greedy(Additive):
    """Runs out of memory on more than `most` examples."""

    most = 5

    def forward(self, batch):
        if len(batch) > self.most:
            raise RuntimeError(CPU_MESSAGE)
        return super().forward(batch)


@pytest.mark.parametrize("selector", ["best", "importance", "ridge"])
def test_the_search_gets_through_and_finds_the_same(selector):
    model, batch = additive(), random_sentences(30, seed=1)
    usual = find_surrogates(model, batch, Pairs(), selector=selector)
    model.__class__ = Greedy
    model.sizes.clear()
    with pytest.warns(RuntimeWarning, match="perturbations_per_eval sets the number") as said:
        found = find_surrogates(model, batch, Pairs(), selector=selector)
    assert len(said) == 1
    assert max(model.sizes) <= Greedy.most
    for name in ("index", "score", "clean_score", "clean_attention"):
        assert torch.equal(getattr(found, name), getattr(usual, name))
    torch.testing.assert_close(found.attention, usual.attention, rtol=1e-12, atol=1e-12)


def test_a_workspace_hands_out_the_same_memory_again():
    workspace = Workspace(torch.zeros(1, dtype=torch.float64))
    first = workspace.take("a", 3, 4)
    assert first.shape == (3, 4)
    assert first.dtype == torch.float64
    assert workspace.take("a", 2, 2).data_ptr() == first.data_ptr()
    other = workspace.take("b", 3, 4)
    assert other.data_ptr() != first.data_ptr()
    first.fill_(1), other.fill_(2)
    assert torch.equal(workspace.take("a", 12), torch.ones(12, dtype=torch.float64))
    assert workspace.take("a", 100, 4).shape == (100, 4)
    assert workspace.take("empty", 0, 4).shape == (0, 4)
