"""What is run of each task: everything named exists, and profiles are parts of each other."""

import dataclasses

import pytest

from ssan import ablations, plans
from ssan.conditions import ALL_IMAGE_CONDITIONS, CONDITIONS, FULL_ONLY, TEXT_CONDITIONS
from ssan.losses import LOSS_NAMES, make_loss
from ssan.selectors import SELECTORS

EVERY = list(plans._plans())


@pytest.mark.parametrize("name", EVERY)
def test_units_are_conditions_with_their_starts(name):
    of = plans.plan(name, "full")
    assert of.units[0] == ("baseline", "scratch")
    assert all(start in CONDITIONS[condition].starts for condition, start in of.units)
    assert len(set(of.units)) == len(of.units)


@pytest.mark.parametrize("name", EVERY)
def test_profiles_are_parts_of_the_full_study(name):
    full, default, smoke = (plans.plan(name, profile) for profile in ("full", "default", "smoke"))
    assert default.settings == full.settings
    assert set(default.conditions) == set(full.conditions) - set(FULL_ONLY)
    assert set(smoke.seeds) <= set(default.seeds) <= set(full.seeds)
    assert smoke.settings.train.epochs < full.settings.train.epochs


def test_every_condition_is_run_somewhere():
    assert set(ALL_IMAGE_CONDITIONS) | set(TEXT_CONDITIONS) == set(CONDITIONS)


def test_every_loss_and_selector_is_ablated():
    cells = plans.plan("shapes_ablations", "full").variations
    assert {cell.condition.loss for cell in cells} - {None} == set(LOSS_NAMES)
    assert {cell.value for cell in cells if cell.axis == "selector"} - {"self", "ridge × self"} == set(SELECTORS)
    for loss, weights in ablations.LOSS_WEIGHTS.items():
        make_loss(loss, grid=(8, 8), n_regions=64, seed=0)
        assert list(weights) == sorted(weights)


@pytest.mark.parametrize("name", ["shapes_ablations", "cluttered_fashion_ablations", "trec_ablations"])
def test_cells_of_a_grid_differ(name):
    cells = plans.plan(name, "full").variations
    assert len({(cell.condition.name, cell.n_train) for cell in cells}) == len(cells)
    assert len({(cell.axis, cell.value) for cell in cells}) == len(cells)
    made = {dataclasses.replace(cell.condition, name="", role="") for cell in cells}
    # What is in the middle of several axes is the same nets every time.
    assert len(made) < len(cells)


def test_another_size_changes_the_size_alone():
    of = plans.plan("shapes", "full")
    assert of.of_size(None) is of
    other = of.of_size(125)
    assert other.settings.n_train == 125
    assert dataclasses.replace(other.settings, n_train=of.settings.n_train) == of.settings
