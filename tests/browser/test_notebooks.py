"""The first notebooks as their readers meet them: opened in JupyterLab, run from the top, no error anywhere."""

import pytest

NOTEBOOKS = ("00_start_here", "01_data_and_baseline", "02_surrogate_targets", "03_supervised_retraining")
# Twice what a notebook may take in the smoke profile, since others may be at work on the machine.
SECONDS = 120


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_runs_from_top_to_bottom(lab, name):
    lab.open(name)
    taken = lab.run_all(name, SECONDS)
    print(f"{name}: {taken:.0f} s")
    lab.screenshot(name)
    saved = lab.saved(name)
    outputs = [output for cell in saved.cells for output in cell.get("outputs", ())]
    assert [output.evalue for output in outputs if output.output_type == "error"] == []
    counts = [cell.execution_count for cell in saved.cells if cell.cell_type == "code"]
    assert counts == list(range(1, len(counts) + 1))
    assert any("image/png" in output.get("data", {}) for output in outputs)
    assert lab.problems == []
