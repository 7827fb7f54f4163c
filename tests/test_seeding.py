"""The global generators: seeded inside, untouched outside."""

import pytest
import torch

from ssan.seeding import seeded


def test_the_seed_decides_inside_and_nothing_changes_outside():
    state = torch.get_rng_state()
    draws = []
    for seed in (3, 3, 4):
        with seeded(seed):
            draws.append(torch.rand(5).tolist())
    assert draws[0] == draws[1] != draws[2]
    assert torch.equal(torch.get_rng_state(), state)
    torch.manual_seed(3)
    assert torch.rand(5).tolist() == draws[0]
    torch.set_rng_state(state)


def test_restored_after_an_error():
    state = torch.get_rng_state()
    with pytest.raises(ZeroDivisionError), seeded(1):
        torch.rand(1).div_(1 / 0)
    assert torch.equal(torch.get_rng_state(), state)


def test_no_device_is_seeded_from_the_cpu(monkeypatch):
    def touched(*_):
        raise AssertionError("the generators of CUDA devices were seeded")

    monkeypatch.setattr(torch.cuda, "manual_seed_all", touched)
    monkeypatch.setattr(torch.cuda, "manual_seed", touched)
    with seeded(1):
        torch.rand(1)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_a_cuda_device_is_seeded_and_restored():
    state = torch.cuda.get_rng_state()
    draws = []
    for _ in range(2):
        with seeded(3, "cuda"):
            draws.append(torch.rand(5, device="cuda").tolist())
    assert draws[0] == draws[1]
    assert torch.equal(torch.cuda.get_rng_state(), state)
