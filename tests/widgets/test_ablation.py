"""The loss explorer without widgets: means and differences of rows, and where its points lie."""

import numpy as np
import pandas as pd
import pytest

from ssan import plots
from ssan.ablations import LOSS_WEIGHTS, losses
from ssan.widgets.ablation import Choice, Drawer, check_rows, describe, losses_of, of_study, qualities, weights_of
from tests.widgets.subjects import ablation_rows, pixels


def test_menus_offer_what_there_are_rows_of():
    rows = ablation_rows()
    assert losses_of(rows, "shapes") == ["kl", "mse"]
    assert weights_of(rows, "shapes", "kl") == [0.1, 1.0]
    assert qualities(rows, "shapes") == ["mass_in_box"]
    assert qualities(rows, "movie") == ["faithfulness"]


def test_the_text_gives_means_and_paired_differences():
    said = describe(ablation_rows(), Choice("shapes", "mse", 1.0, "mass_in_box"))
    assert said.startswith("shapes, loss mse, weight 1, mean over 3 seeds: test accuracy 0.610, minus no supervision ")
    assert "test accuracy 0.610, minus no supervision +0.100 [+0.100, +0.100];" in said
    # 0.2 + 0.05 + 0.1 against 0.2
    assert "mass 0.350, minus no supervision +0.150 [+0.150, +0.150]." in said


def test_without_rows_of_no_supervision_no_difference_is_claimed():
    rows = ablation_rows()
    said = describe(rows[rows["weight"] > 0], Choice("shapes", "kl", 0.1, "mass_in_box"))
    assert "0.520" in said
    assert "minus" not in said
    assert describe(rows, Choice("shapes", "kl", 7.0, "mass_in_box")).startswith("There is no row of shapes")


def test_one_seed_is_called_one_seed():
    rows = ablation_rows(seeds=1)
    assert "mean over 1 seed:" in describe(rows, Choice("shapes", "kl", 0.1, "mass_in_box"))
    assert "[one seed]" in describe(rows, Choice("shapes", "kl", 0.1, "mass_in_box"))


def test_the_sheet_is_used_again_and_leaves_nothing_behind():
    rows, drawer = ablation_rows(), Drawer()
    first = drawer(rows, Choice("shapes", "kl", 0.1, "mass_in_box"))
    other = drawer(rows, Choice("movie", "mse", 1.0, "faithfulness"))
    again = drawer(rows, Choice("shapes", "kl", 0.1, "mass_in_box"))
    assert first == again != other
    assert first == Drawer()(rows, Choice("shapes", "kl", 0.1, "mass_in_box"))
    assert pixels(first).shape == pixels(other).shape


def test_points_are_means_and_the_chosen_one_is_ringed():
    rows = ablation_rows(tasks=("shapes",))
    ax = plots.trade_off(rows, "mass_in_box", "mass", ("mse", 1.0))
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("mass", "test accuracy")
    lines = {line.get_label(): line for line in ax.lines if not line.get_label().startswith("_")}
    assert list(lines) == ["kl", "mse", "none", "seeds of the ringed point"]
    assert np.allclose(lines["kl"].get_xydata(), [[0.21, 0.52], [0.3, 0.61]])
    assert np.allclose(lines["none"].get_xydata(), [[0.2, 0.51]])
    assert np.allclose(lines["seeds of the ringed point"].get_ydata(), [0.6, 0.61, 0.62])
    ring = next(line for line in ax.lines if line.get_markersize() == 16)
    assert np.allclose(ring.get_xydata(), [[0.35, 0.61]])
    assert [text.get_text() for text in ax.texts] == ["0.1", "1"]
    assert lines["kl"].get_alpha() < lines["mse"].get_alpha() == 1
    assert len(plots.trade_off(rows, "mass_in_box", "mass").texts) == 4
    plots.plt.close("all")


def test_losses_are_told_apart_by_sign_as_well_as_colour():
    signs = [sign for _, sign in plots.LOSS_MARKS]
    assert len(set(plots.LOSS_MARKS)) == len(plots.LOSS_MARKS) == 16
    assert len(set(signs[:15])) == 15
    many = ablation_rows(tasks=("shapes",), losses=[f"loss {k}" for k in range(17)])
    with pytest.raises(ValueError, match="17 losses are more than the 16"):
        plots.trade_off(many, "mass_in_box", "mass")


def test_rows_of_the_study_are_understood():
    rows = pd.DataFrame(
        [
            {"task": "shapes", "condition": "baseline", "seed": 100, "accuracy": 0.8, "mass_in_box": 0.3},
            {"task": "shapes", "condition": "oracle", "seed": 100, "accuracy": 0.99, "mass_in_box": 0.9},
            {"axis": "loss kl", "value": "0.3", "condition": "loss_kl=0.3", "accuracy": 0.9, "mass_in_box": 0.4},
            {"axis": "loss mmd_batch", "value": "1000", "condition": "x", "accuracy": 0.7, "mass_in_box": 0.2},
            {"axis": "selector", "value": "best", "condition": "selector=best", "accuracy": 0.81, "mass_in_box": 0.3},
        ]
    ).fillna({"task": "shapes", "seed": 100})
    found = of_study(rows)
    assert found[["loss", "weight", "accuracy"]].values.tolist() == [
        ["none", 0.0, 0.8],
        ["kl", 0.3, 0.9],
        ["mmd_batch", 1000.0, 0.7],
    ]
    check_rows(found)
    assert "minus no supervision +0.100 [one seed]" in describe(found, Choice("shapes", "kl", 0.3, "mass_in_box"))
    assert len(of_study(pd.concat([rows, rows.assign(task="movie")]))) == 2 * len(found)  # two files
    with pytest.raises(ValueError, match="'axis'"):
        of_study(ablation_rows())


def test_every_loss_of_the_study_can_be_shown():
    assert len(LOSS_WEIGHTS) <= len(plots.LOSS_MARKS)
    variations = [cell for cell in losses() if cell.axis.startswith("loss ")]
    assert {(cell.axis.removeprefix("loss "), float(cell.value)) for cell in variations} == {
        (loss, weight) for loss, weights in LOSS_WEIGHTS.items() for weight in weights
    }


def test_rows_that_cannot_be_shown_are_refused():
    rows = ablation_rows()
    check_rows(rows)
    with pytest.raises(ValueError, match="need the columns task, loss, weight, seed, accuracy"):
        check_rows(rows.drop(columns="weight"))
    with pytest.raises(ValueError, match="at least one row"):
        check_rows(rows[:0])
    with pytest.raises(ValueError, match="all weights are 0"):
        check_rows(rows[rows["weight"] == 0])
    with pytest.raises(ValueError, match="rows of movie have no quality"):
        check_rows(rows.drop(columns="faithfulness"))
