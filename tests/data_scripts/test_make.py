"""The command lines that write generated data."""

import pytest
from safetensors.torch import load_file

from data_scripts import make_cluttered_fashion, make_shapes
from ssan.data.vqa import shapes_task
from tests.data.test_image import write_fashion


def test_shapes(tmp_path, capsys):
    arguments = [str(tmp_path), "--n-train", "30", "--n-valid", "4", "--n-test", "5", "--seed", "2"]
    assert make_shapes.main(arguments) == 0
    task = shapes_task(30, n_valid=4, n_test=5, seed=2)
    written = load_file(tmp_path / "train.safetensors")
    assert written["images"].equal(task.train.images)
    assert written["label"].equal(task.train.label)
    printed = capsys.readouterr().out
    assert str(tmp_path / "test.safetensors") in printed
    assert "closest" in printed


def test_cluttered_fashion(tmp_path, capsys):
    write_fashion(tmp_path)
    arguments = [str(tmp_path / "out"), "--root", str(tmp_path), "--n-train", "12", "--n-valid", "20", "--n-test", "5"]
    assert make_cluttered_fashion.main(arguments) == 0
    assert load_file(tmp_path / "out" / "train.safetensors")["boxes"].shape == (12, 1, 4)
    assert "ankle boot" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("command", "arguments", "message"),
    [
        (make_shapes, ["--n-train", "0"], "must be at least 1, got 0"),
        (make_cluttered_fashion, ["--root", "nowhere"], "no Fashion-MNIST under nowhere"),
    ],
)
def test_bad_input_is_said_plainly(tmp_path, capsys, command, arguments, message):
    with pytest.raises(SystemExit):
        command.main([str(tmp_path), *arguments])
    assert message in capsys.readouterr().err
