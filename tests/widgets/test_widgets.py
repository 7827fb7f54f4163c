"""The widgets themselves, from the kernel's side: controls are set, buttons clicked, and the picture must follow."""

import pytest

from ssan.widgets import BeforeAfter, LossExplorer, MaskPainter, Sampling, SamplingExplorer
from ssan.widgets.comparison import Browsing
from ssan.widgets.comparison import draw as draw_compared
from ssan.widgets.explorer import coarser
from ssan.widgets.painting import Painting, best_mask, paint
from ssan.widgets.painting import draw as draw_painted
from ssan.widgets.sampling import SAMPLERS, explore
from ssan.widgets.sampling_picture import draw
from tests.widgets.subjects import (
    ablation_rows,
    check_panel,
    click,
    comparison,
    image_subject,
    question_subject,
    subjects,
    text_subject,
)


def explorer() -> SamplingExplorer:
    return SamplingExplorer(subjects())


def browser() -> BeforeAfter:
    return BeforeAfter([comparison(text_subject(), "on text"), comparison(image_subject(), "on images", n=6)])


@pytest.mark.parametrize(
    "make",
    [explorer, lambda: MaskPainter(subjects()), browser, lambda: LossExplorer(ablation_rows())],
    ids=["explorer", "painter", "browser", "losses"],
)
def test_every_widget_keeps_the_rules_of_the_house(make):
    check_panel(make())


# The sampling explorer.


def test_the_explorer_shows_the_state_of_its_controls():
    panel = explorer()
    for task in ("image", "questions", "text"):
        panel.task.value = task
        for name in SAMPLERS:
            panel.sampler.value = name
            assert panel.png == draw(explore(panel.subject, panel.state))
        check_panel(panel)


@pytest.mark.parametrize(
    ("control", "value"),
    [
        ("example", 3),
        ("sampler", "keep windows"),
        ("keep", 0.8),
        ("n_masks", 32),
        ("seed", 7),
        ("fill", "mean"),
        ("score", "probability"),
        ("selector", "best"),
        ("blocks", (2, 2)),
    ],
)
def test_turning_a_control_changes_the_picture_and_the_text(control, value):
    panel = SamplingExplorer([image_subject()], Sampling(sampler="random", selector="importance"))
    picture, said = panel.png, panel.said
    getattr(panel, control).value = value
    assert getattr(panel.state, control) == value
    assert panel.png != picture
    assert panel.said != said
    check_panel(panel)


def test_controls_that_mean_nothing_are_greyed_out():
    panel = explorer()
    for task, gridded in (("text", False), ("image", True)):
        panel.task.value = task
        for name, uses in SAMPLERS.items():
            panel.sampler.value = name
            for control in ("window", "keep", "n_masks", "seed"):
                assert getattr(panel, control).disabled == (control not in uses), (name, control)
            assert panel.blocks.disabled == (not gridded)


def test_another_task_brings_its_own_choices():
    panel = explorer()
    assert panel.state == Sampling(0, "pairs", fill="<unk>")
    panel.example.value = 9
    panel.task.value = "questions"
    assert panel.state == Sampling(0, "hide windows", (4, 4), fill="zero", selector="ridge")
    assert panel.example.max == 5
    assert list(panel.blocks.options) == ["4 x 4", "2 x 2"]
    panel.task.value = "text"
    assert panel.state == Sampling(0, "pairs", fill="<unk>")
    assert panel.example.max == 11


def test_a_task_is_drawn_once(monkeypatch):
    panel, drawn = explorer(), []
    plain = panel.draw
    monkeypatch.setattr(panel, "draw", lambda: drawn.append(panel.state) or plain())
    panel.task.value = "image"
    panel.show(task="text", sampler="random", keep=0.3)
    assert drawn == [
        Sampling(0, "hide windows", (4, 4), fill="zero", selector="ridge"),
        Sampling(0, "random", keep=0.3, fill="<unk>"),
    ]


def test_what_does_not_work_is_said_and_the_controls_stay():
    panel = SamplingExplorer([image_subject()])
    picture = panel.png
    with pytest.raises(ValueError, match="is all of the grid"):
        panel.blocks.value = (2, 2)
    assert "a window of 2 is all of the grid (2, 2): make it smaller" in panel.status.value
    assert panel.png == picture
    panel.window.value = 1
    assert panel.png != picture
    check_panel(panel)


def test_an_explorer_may_begin_anywhere():
    state = Sampling(2, "rise", (2, 2), 3, 0.3, 64, 5, "blur", "log_odds", "best")
    assert SamplingExplorer([image_subject()], state).state == state
    with pytest.raises(ValueError, match="different names"):
        SamplingExplorer([text_subject(), text_subject()])


def test_coarser_grids_join_cells_two_by_two():
    assert list(coarser((8, 8)).values()) == [(8, 8), (4, 4), (2, 2)]
    assert list(coarser((6, 4)).values()) == [(6, 4), (3, 2)]
    assert list(coarser((7, 7)).values()) == [(7, 7)]
    assert coarser((1, 5)) == {"1 x 5": (1, 5)}


# The mask painter.


def test_clicking_regions_away_and_back():
    panel = MaskPainter(subjects())
    for task in ("text", "image", "questions"):
        panel.task.value = task
        picture, said = panel.png, panel.said
        button = panel.shown[1]
        button.value = True
        assert panel.state.kept[1] is False
        assert sum(panel.state.kept) == len(panel.shown) - 1
        assert panel.png == draw_painted(paint(panel.subject, panel.state)) != picture
        assert panel.said != said
        assert button.tooltip.endswith(": hidden")
        button.value = False
        assert (panel.png, panel.said) == (picture, said)
        assert button.tooltip.endswith(": kept")
        check_panel(panel)


def test_buttons_are_the_words_or_the_cells():
    panel = MaskPainter([text_subject(), question_subject()])
    for example in (0, 5, 1):
        panel.example.value = example
        words = panel.subject.words(panel.subject.example(example))
        assert [button.description for button in panel.shown] == words
    panel.shown[0].value = True
    panel.task.value = "questions"
    assert [button.description for button in panel.shown] == ["·"] * 16
    assert panel.shown[6].tooltip == "row 2, column 3: kept"
    panel.shown[6].value = True
    assert panel.shown[6].description == "×"
    assert panel.regions.layout.grid_template_columns.startswith("repeat(4, ")


def test_another_example_begins_with_nothing_hidden():
    panel = MaskPainter([text_subject()])
    panel.hide(0, 1)
    panel.example.value = 4
    assert panel.state == Painting(4, (True,) * int(panel.subject.example(4).lengths), "<unk>")
    assert "Nothing is hidden" in panel.said


def test_the_best_variant_and_the_way_back_by_button():
    panel = MaskPainter(subjects())
    for task in ("text", "image"):
        panel.task.value = task
        state = panel.state
        click(panel, panel.best)
        assert panel.state.kept == best_mask(panel.subject, state)
        click(panel, panel.keep_all)
        assert panel.state == state


def test_hiding_several_regions_is_drawn_once(monkeypatch):
    panel, drawn = MaskPainter([image_subject()]), []
    plain = panel.draw
    monkeypatch.setattr(panel, "draw", lambda: drawn.append(panel.state) or plain())
    panel.hide(0, 3, 5)
    assert [state.kept for state in drawn] == [tuple(k not in (0, 3, 5) for k in range(16))]


@pytest.mark.parametrize("places", [(999,), (0, -1), ("only",), (0.5,)])
def test_there_is_nothing_to_hide_there(places):
    panel = MaskPainter([text_subject()])
    panel.hide(1)
    picture, n = panel.png, len(panel.shown)
    wrong = places[-1]
    with pytest.raises(ValueError, match=f"cannot hide {wrong!r}: this example has {n} regions, .* from 0 to {n - 1}"):
        panel.hide(*places)
    assert panel.png == picture
    assert f"this example has {n} regions" in panel.status.value
    panel.hide(0)
    assert "did not work" not in panel.status.value


# The before/after browser.


def test_leafing_through_examples():
    panel = browser()
    for models in ("on images", "on text"):
        panel.models.value = models
        for which in ("all", "kept", "fixed", "broken"):
            panel.which.value = which
            n = len(panel.compared.rows(which))
            assert (panel.place.value, panel.place.max) == (1, max(1, n))
            pictures = set()
            for place in range(1, n + 1):
                panel.place.value = place
                assert panel.png == draw_compared(panel.compared, Browsing(which, place - 1))
                pictures.add(panel.png)
            assert len(pictures) == n
        check_panel(panel)


def test_the_browser_refuses_two_of_one_name():
    with pytest.raises(ValueError, match="different names"):
        BeforeAfter([comparison(text_subject()), comparison(text_subject())])


# The loss explorer.


def test_choosing_losses_and_weights():
    panel = LossExplorer(ablation_rows())
    picture = panel.png
    panel.weight.value = 1.0
    assert "shapes, loss kl, weight 1, mean over 3 seeds" in panel.said
    assert panel.png != picture
    panel.loss.value = "mse"
    assert panel.weight.value == 1.0  # stays where the other loss has it too
    panel.task.value = "movie"
    assert (panel.metric.value, panel.loss.value, panel.weight.value) == ("faithfulness", "mse", 1.0)
    check_panel(panel)


def test_weights_that_only_one_loss_has():
    rows = ablation_rows()
    rows = rows[(rows["loss"] == "kl") | (rows["weight"] == 1.0)]
    panel = LossExplorer(rows)
    assert panel.weight.value == 0.1
    panel.loss.value = "mse"
    assert [value for _, value in panel.weight.options] == [1.0]
    assert "loss mse, weight 1," in panel.said


def test_rows_are_checked_before_anything_is_made():
    with pytest.raises(ValueError, match="need the columns"):
        LossExplorer(ablation_rows().drop(columns="seed"))
