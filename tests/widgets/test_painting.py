"""The mask painter without widgets: what one mask does, against the search's own variants."""

import pytest
import torch

from ssan.samplers import HideWindows, Pairs
from ssan.search import find_surrogates, replay
from ssan.widgets.painting import Painting, best_mask, describe, draw, paint
from tests.widgets.subjects import image_subject, pixels, question_subject, subjects, text_subject


def usual(subject):
    return Pairs() if subject.grid is None else HideWindows(2, subject.grid)


@pytest.mark.parametrize("make", [text_subject, image_subject, question_subject])
def test_a_painted_mask_is_the_variant_of_that_mask(make):
    subject = make()
    example = subject.example(2)
    n = int(subject.task.regions.count(example))
    for fill, regions in subject.hidings.items():
        index = torch.tensor([3])
        kept = usual(subject).masks(n, index, example.ids)[0]
        found = paint(subject, Painting(2, tuple(kept.tolist()), fill, "log_odds"))
        score, attention = replay(subject.model, example, usual(subject), index, score="log_odds", regions=regions)
        clean = find_surrogates(subject.model, example, usual(subject), score="log_odds", regions=regions)
        torch.testing.assert_close(found.score, torch.cat([clean.clean_score, score]), atol=1e-5, rtol=1e-5)
        both = torch.cat([clean.clean_attention, attention])[:, :n]
        torch.testing.assert_close(found.attention, both, atol=1e-5, rtol=1e-4)
        torch.testing.assert_close(found.probability.sum(-1), torch.ones(2))


@pytest.mark.parametrize("subject", subjects(), ids=lambda one: one.name)
def test_hiding_nothing_changes_nothing(subject):
    found = paint(subject, Painting(1))
    torch.testing.assert_close(found.attention[0], found.attention[1])
    torch.testing.assert_close(found.probability[0], found.probability[1])
    said = describe(found)
    assert "Nothing is hidden." in said
    assert "(+0.00)" in said
    assert "Share of attention that moved: 0.00" in said


@pytest.mark.parametrize("subject", subjects(), ids=lambda one: one.name)
def test_the_best_mask_is_the_searchs(subject):
    example = subject.example(0)
    n = int(subject.task.regions.count(example))
    found = find_surrogates(subject.model, example, usual(subject), regions=subject.task.regions)
    kept = best_mask(subject, Painting())
    assert kept == tuple(usual(subject).masks(n, found.index, example.ids)[0].tolist())
    painted = paint(subject, Painting(kept=kept))
    assert float(painted.score[1]) == pytest.approx(float(found.score[0]), abs=1e-5)
    assert float(painted.score[1]) >= float(painted.score[0])


def test_the_text_names_what_is_hidden():
    subject = text_subject()
    n = int(subject.example(1).lengths)
    found = paint(subject, Painting(1, (False, True, False, *(True,) * (n - 3))))
    words = subject.words(found.example)
    assert f"Hidden: “{words[0]}”, “{words[2]}”." in describe(found)
    clean, masked = found.score.tolist()
    assert f"{clean:.2f} with all regions, {masked:.2f} with these" in describe(found)
    image = image_subject()
    assert "3 of 16 cells are hidden." in describe(paint(image, Painting(0, (False,) * 3 + (True,) * 13)))


@pytest.mark.parametrize("subject", subjects(), ids=lambda one: one.name)
def test_the_picture_shows_the_mask(subject):
    n = int(subject.task.regions.count(subject.example(0)))
    pictures = [draw(paint(subject, Painting(0, kept))) for kept in (None, (True,) * n, (False,) + (True,) * (n - 1))]
    assert pictures[0] == pictures[1] != pictures[2]
    assert pixels(pictures[0]).shape == pixels(pictures[2]).shape


def test_what_does_not_fit_is_refused():
    subject = image_subject()
    with pytest.raises(ValueError, match="the mask has 3 entries, the example has 16 regions"):
        paint(subject, Painting(0, (True,) * 3))
    with pytest.raises(ValueError, match="unknown score 'charm'"):
        paint(subject, Painting(score="charm"))
    with pytest.raises(ValueError, match="examples 0 to 5, got 6"):
        paint(subject, Painting(6))
