"""The sampling explorer without widgets: every number in it against a plain computation."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ssan.metrics.faithfulness import variant_scores
from ssan.models.attention import attention_map, evaluating
from ssan.samplers import HideWindows, KeepK, KeepWindows, Pairs, RandomMasks, Rise, Singles
from ssan.search import find_surrogates, replay
from ssan.selectors import SELECTORS
from ssan.widgets.blocks import Blocks
from ssan.widgets.sampling import SAMPLERS, Sampling, explore, gallery, make_sampler
from ssan.widgets.sampling_picture import describe, draw
from tests.widgets.subjects import image_subject, pixels, question_subject, subjects, text_subject


def test_states_make_the_samplers_they_name():
    def made(grid=None, n=7, **state):
        return make_sampler(Sampling(**state), n, grid)

    assert made(sampler="pairs") == Pairs()
    assert made(sampler="singles") == Singles()
    assert made(sampler="hide windows", window=3) == HideWindows(3)
    assert made(sampler="keep windows", window=2) == KeepWindows(2)
    assert made(sampler="random", n_masks=9, keep=0.3, seed=4) == RandomMasks(9, 0.3, 4)
    assert made(sampler="keep k", n_masks=9, keep=0.3, seed=4) == KeepK(9, 2, 4)
    assert made(sampler="keep k", keep=0.01) == KeepK(128, 1)
    assert made(sampler="rise", n_masks=9, keep=0.3) == Rise(9, keep=0.3)
    assert made((8, 8), 64, sampler="hide windows", window=3) == HideWindows(3, (8, 8))
    coarse = made((8, 8), 64, sampler="hide windows", window=1, blocks=(4, 4))
    assert coarse == Blocks(HideWindows(1, (4, 4)), (8, 8), (4, 4))
    assert made((8, 8), 64, sampler="keep k", keep=0.5, blocks=(4, 4)) == Blocks(KeepK(128, 8), (8, 8), (4, 4))
    assert made((8, 8), 64, sampler="rise", blocks=(4, 4)) == Rise(128, 4, grid=(8, 8))


def test_unknown_samplers_are_refused_by_name():
    with pytest.raises(ValueError, match="unknown sampler 'dice': expected one of pairs, singles"):
        make_sampler(Sampling(sampler="dice"), 4, None)


@given(st.lists(st.integers(-20, 20), min_size=1, max_size=60), st.integers(3, 12))
@settings(deadline=None)
def test_the_gallery_holds_the_ends_and_steps_between(values, n):
    score = torch.tensor(values, dtype=torch.float64)
    shown = gallery(score, n)
    assert len(shown) == min(n, len(values)) == len(set(shown.tolist()))
    ranked = score.sort(descending=True).values
    found = score[shown]
    assert torch.equal(found, found.sort(descending=True).values)
    third = min(n, len(values)) // 3
    assert torch.equal(found[:third], ranked[:third])
    assert torch.equal(found[len(found) - third :], ranked[len(ranked) - third :])


def test_the_spread_lies_at_equal_steps_of_rank():
    assert gallery(torch.arange(100.0).flip(0)).tolist() == [0, 1, 2, 18, 50, 81, 97, 98, 99]


@pytest.mark.parametrize("sampler", SAMPLERS)
@pytest.mark.parametrize("make", [text_subject, image_subject, question_subject])
def test_scores_masks_and_maps_are_those_of_the_variants(make, sampler):
    subject = make()
    state = Sampling(1, sampler, n_masks=24, window=2, selector="best", score="log_odds")
    found = explore(subject, state)
    example = subject.example(1)
    n = int(subject.task.regions.count(example))
    chosen = make_sampler(state, n, subject.grid)
    scores = variant_scores(subject.model, example, subject.task.regions, chosen, score="log_odds")[0][0]
    torch.testing.assert_close(found.score, scores.to(found.score.dtype), atol=1e-5, rtol=1e-5)
    assert found.kept.shape == (chosen.count(n), n)
    if sampler != "rise" or subject.grid is None:  # there masks shade
        masks = chosen.masks(n, torch.arange(chosen.count(n)), example.ids.expand(chosen.count(n)))
        assert torch.equal(found.kept > 0.5, masks)

    plain = find_surrogates(subject.model, example, chosen, score="log_odds", regions=subject.task.regions)
    assert found.best == int(plain.index)
    torch.testing.assert_close(found.surrogate, plain.attention[0, :n])
    torch.testing.assert_close(found.clean, plain.clean_attention[0, :n])
    for k, index in enumerate(found.shown.tolist()):
        score, attention = replay(
            subject.model, example, chosen, torch.tensor([index]), score="log_odds", regions=subject.task.regions
        )
        torch.testing.assert_close(score[0], found.score[index], atol=1e-5, rtol=1e-5)
        torch.testing.assert_close(attention[0, :n], found.shown_attention[k], atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("selector", SELECTORS)
def test_every_selector_sees_what_the_search_would_show_it(selector):
    subject = text_subject()
    found = explore(subject, Sampling(0, "random", n_masks=40, selector=selector))
    plain = find_surrogates(subject.model, subject.example(0), RandomMasks(40), selector=selector)
    torch.testing.assert_close(found.surrogate, plain.attention[0, : len(found.surrogate)])


def test_images_in_the_gallery_are_what_the_model_saw():
    subject = image_subject()
    found = explore(subject, Sampling(2, "hide windows", fill="mean"))
    with torch.no_grad(), evaluating([subject.model]):
        seen = found.example.select([0] * len(found.shown)).replace(image=found.shown_image)
        output = subject.model(seen)
    torch.testing.assert_close(output.logits[:, found.example.label[0]], found.score[found.shown], atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(attention_map(subject.model, output), found.shown_attention, atol=1e-5, rtol=1e-4)


def test_hiding_features_leaves_the_image_whole():
    subject = question_subject()
    found = explore(subject, Sampling(0, "singles", fill="zero features"))
    assert all(torch.equal(image, found.example.image[0]) for image in found.shown_image)
    assert len(found.score) == 17


def test_a_single_word_has_nothing_to_hide():
    subject = text_subject()
    lonely = subject.examples.select([0]).replace(lengths=torch.tensor([1]), tokens=torch.tensor([[3]]))
    subject = type(subject)("lonely", subject.task, subject.model, lonely)
    found = explore(subject, Sampling())
    assert found.score.shape == (1,)
    assert found.kept.tolist() == [[1.0]]
    assert "0 masked variants" in describe(found)
    assert pixels(draw(found)).shape[1] == 1440


def test_numbers_that_do_not_fit_are_refused():
    subject = image_subject()
    with pytest.raises(ValueError, match="is all of the grid"):
        explore(subject, Sampling(sampler="hide windows", window=2, blocks=(2, 2)))
    with pytest.raises(ValueError, match="unknown fill"):
        explore(subject, Sampling(sampler="singles", fill="<unk>"))
    with pytest.raises(ValueError, match="unknown score"):
        explore(subject, Sampling(sampler="singles", score="charm"))


@pytest.mark.parametrize("subject", subjects(), ids=lambda one: one.name)
def test_the_text_says_the_numbers(subject):
    found = explore(subject, Sampling(3, "singles", selector="importance"))
    said = describe(found)
    assert f"{len(found.score) - 1} masked variants (singles)" in said
    assert f"The clean input scores {float(found.score[0]):.2f} (logit)" in said
    assert f"{int((found.score > found.score[0]).sum())} of them more" in said
    moved = float((found.surrogate - found.clean).abs().sum() / 2)
    assert f"Share of attention that differs: {moved:.2f}." in said
    if found.best:
        assert f"Best is variant {found.best}" in said
    if subject.grid is None and found.best:
        assert f"without “{subject.words(found.example)[found.best - 1]}”:" in said
    assert ("Attention inside the true boxes" in said) == (subject.name == "image")


def test_the_text_measures_the_mass_in_the_box():
    subject = image_subject()
    found = explore(subject, Sampling(0, "singles"))
    inside = [float(one.view(4, 4)[2:, 2:].sum()) for one in (found.clean, found.surrogate)]
    assert f"clean {inside[0]:.2f}, surrogate {inside[1]:.2f}." in describe(found)


@pytest.mark.parametrize("subject", subjects(), ids=lambda one: one.name)
def test_pictures_change_with_the_state_and_only_with_it(subject):
    states = [Sampling(0, "random", n_masks=20, seed=seed) for seed in (0, 0, 1)]
    first, again, other = (draw(explore(subject, state)) for state in states)
    assert first == again
    assert first != other
    assert pixels(first).shape == pixels(other).shape  # nothing jumps while a slider is moved


def test_the_picture_marks_clean_and_best_score_where_they_are():
    found = explore(text_subject(), Sampling(0, "random", n_masks=60))
    low, high = float(found.score.min()), float(found.score.max())
    picture = pixels(draw(found)).astype(int)
    axis = picture[150]  # a row of pixels through the bars, below the labels
    for colour, score in (((213, 94, 0), found.score[0]), ((0, 114, 178), found.score[found.best])):
        places = np.flatnonzero((np.abs(axis - colour) < 8).all(-1))
        assert len(places) >= 1
        expected = 1.5 * (10 + (float(score) - low) / (high - low) * (960 - 270))
        assert abs(places.mean() - expected) <= 3
