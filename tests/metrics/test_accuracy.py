import pytest
import torch

from ssan.metrics import accuracy


def test_hand_worked():
    logits = torch.tensor([[0.1, 0.9, 0.0], [2.0, 1.0, 0.0], [-3.0, -2.0, -1.0]])
    assert accuracy(logits, torch.tensor([1, 1, 2])).tolist() == [1, 0, 1]


def test_ties_go_to_the_lowest_class():
    assert accuracy(torch.zeros(3, 3), torch.tensor([0, 1, 2])).tolist() == [1, 0, 0]


def test_does_not_depend_on_scale_or_offset():
    logits = torch.randn(50, 4, generator=torch.Generator().manual_seed(0))
    label = torch.arange(50) % 4
    assert torch.equal(accuracy(logits, label), accuracy(3 * logits + 5, label))
    assert 0 < accuracy(logits, label).mean() < 1


@pytest.mark.parametrize(
    ("logits", "label", "message"),
    [
        (torch.zeros(3), torch.zeros(3, dtype=torch.long), r"expected logits \(B, C\)"),
        (torch.zeros(3, 2), torch.zeros(2, dtype=torch.long), r"expected logits \(B, C\)"),
        (torch.zeros(3, 2), torch.zeros(3), "class numbers"),
        (torch.zeros(3, 2), torch.tensor([0, 2, 1]), "label 2 is not one of the 2 classes"),
        (torch.zeros(3, 2), torch.tensor([0, -1, 1]), "label -1"),
        (torch.tensor([[0.0, 1.0], [torch.nan, 0.0]]), torch.tensor([0, 1]), "logits holds NaN.*example 1"),
    ],
)
def test_bad_input(logits, label, message):
    with pytest.raises(ValueError, match=message):
        accuracy(logits, label)
