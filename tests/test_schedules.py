"""Schedules: where they start and end, and that they are data."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ssan.schedules import AnnealOut, Constant, WarmUp

fractions = st.floats(0.01, 1)
done = st.floats(0, 1, exclude_max=True)


@given(fractions, done)
def test_ramps_are_lines_and_each_other_upside_down(fraction, done):
    up, out = WarmUp(fraction)(done), AnnealOut(fraction)(done)
    assert 0 <= up <= 1
    assert up == pytest.approx(done / fraction if done < fraction else 1)
    assert out == pytest.approx(1 - up)
    assert Constant()(done) == 1


def test_ends():
    assert [WarmUp(0.5)(done) for done in (0, 0.25, 0.5, 0.9)] == [0, 0.5, 1, 1]
    assert [AnnealOut(0.5)(done) for done in (0, 0.25, 0.5, 0.9)] == [1, 0.5, 0, 0]


def test_they_are_data():
    assert WarmUp(0.5) == WarmUp(0.5) != WarmUp(0.4)
    assert WarmUp(0.5) != AnnealOut(0.5)
    assert len({Constant(), Constant(), WarmUp(0.5), AnnealOut(0.5)}) == 3
    assert repr(AnnealOut(0.25)) == "AnnealOut(fraction=0.25)"


@pytest.mark.parametrize("fraction", [0, -0.1, 1.1, float("nan")])
@pytest.mark.parametrize("kind", [WarmUp, AnnealOut])
def test_bad_fractions(kind, fraction):
    with pytest.raises(ValueError, match=r"fraction is the part of the training that it takes, in \(0, 1\]"):
        kind(fraction)
