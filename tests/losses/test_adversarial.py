"""Adversarial losses: discriminators that learn, attention that is pulled by them, and what they cannot know."""

import math

import pytest
import torch
import torch.nn.functional as F

from ssan.losses import make_loss
from tests.helpers import generator
from tests.losses.maps import EXISTS, pair

NAMES = pytest.mark.parametrize("name", ["adversarial_image", "adversarial_pixel"])


def around(centre, n=64, regions=16, seed=0):
    """Maps with most of their weight on the regions of the slice `centre`, no two alike."""
    scores = torch.randn(n, regions, generator=generator(seed))
    scores[:, centre] += 3
    return torch.softmax(scores, -1)


def verdicts(loss, maps):
    with torch.no_grad():
        return loss.discriminator(torch.log1p(maps * maps.shape[1])).mean(-1)


@NAMES
def test_the_discriminators_learn_to_tell_maps_apart_that_are_far_apart(name):
    loss = make_loss(name, n_regions=16)
    attention, target = around(slice(10, 13)), around(slice(2, 5), seed=1)
    found = [float(loss.observe(attention, target)) for _ in range(400)]
    # A discriminator of one region sees nothing of the others, and on ten of the sixteen the two kinds are alike.
    least = 0 if name == "adversarial_image" else 10 / 16 * 2 * math.log(2)
    assert least < found[-1] < least + 0.2
    assert found[0] > least + 0.5
    unseen = around(slice(10, 13), seed=2), around(slice(2, 5), seed=3)
    wrong, right = (verdicts(loss, maps) for maps in unseen)
    assert (right > wrong.max()).float().mean() > 0.95
    assert loss(unseen[0], None).min() > loss(unseen[1], None).max()


@NAMES
def test_free_attention_trained_against_them_takes_on_the_distribution_of_its_targets(name):
    loss, target = make_loss(name, n_regions=16), around(slice(2, 5))
    scores = torch.randn(64, 16, generator=generator(9)).requires_grad_()
    optimizer = torch.optim.Adam([scores], 0.02, betas=(0.5, 0.999))

    def state():
        maps = torch.softmax(scores.detach(), -1)
        spread = [one[:, 2:5].sum(-1).std() for one in (maps, target)]
        return float((maps.mean(0) - target.mean(0)).abs().sum()), float(spread[0] / spread[1])

    start = state()
    for _ in range(500):
        attention = torch.softmax(scores, -1)
        told_apart = loss.observe(attention, target)
        optimizer.zero_grad()
        loss(attention, target).mean().backward()
        optimizer.step()
    mean, spread = state()
    assert start[0] > 1
    assert mean < 0.15
    assert 0.5 < spread < 2  # not all of them the same map
    assert float(told_apart) == pytest.approx(2 * math.log(2), abs=0.1)  # there is nothing left to tell


@NAMES
def test_which_target_belongs_to_whom_is_not_known(name):
    attention, target = around(slice(10, 13), n=8), around(slice(2, 5), n=8)
    first, second = (make_loss(name, n_regions=16, seed=1) for _ in range(2))
    for _ in range(20):
        first.observe(attention, target)
        second.observe(attention, target.roll(3, 0))
    torch.testing.assert_close(first(attention, target), second(attention, target), rtol=1e-4, atol=1e-6)
    assert torch.equal(first(attention, target), first(attention, target.roll(1, 0)))


# --- formulas --------------------------------------------------------------------------------------------------------


def by_hand(loss, name, maps, exists):
    """-log D of every map, verdict by verdict, in Python."""
    weights = loss.discriminator.state_dict()
    values = []
    for row, own in zip(maps.tolist(), exists.tolist(), strict=True):
        n = sum(own)
        seen = [math.log(1 + n * a) if real else 0.0 for a, real in zip(row, own, strict=True)]
        if name == "adversarial_image":
            w, b = weights["layers.0.weight"].tolist(), weights["layers.0.bias"].tolist()
            hidden = [sum(x * y for x, y in zip(line, seen, strict=True)) + c for line, c in zip(w, b, strict=True)]
            out = weights["layers.2.weight"][0].tolist()
            total = sum(max(h, 0.2 * h) * o for h, o in zip(hidden, out, strict=True))
            verdict = [total + float(weights["layers.2.bias"])]
        else:
            verdict = []
            for region in range(n):
                w, b, out = (weights[k][region].tolist() for k in ("into", "into_bias", "out"))
                hidden = [seen[region] * x + y for x, y in zip(w, b, strict=True)]
                total = sum(max(h, 0.2 * h) * o for h, o in zip(hidden, out, strict=True))
                verdict.append(total + float(weights["out_bias"][region]))
        values.append([1 / (1 + math.exp(-v)) for v in verdict])
    return values


@NAMES
def test_both_sides_of_the_game_by_hand(name):
    loss = make_loss(name, n_regions=7, seed=3)
    attention, target = pair()
    loss(attention, target, EXISTS)  # takes on double precision
    belief, belief_of_targets = (by_hand(loss, name, maps, EXISTS) for maps in (attention, target))

    def mean(values):
        return sum(values) / len(values)

    expected = [mean([-math.log(d) for d in own]) for own in belief]
    assert loss(attention, target, EXISTS).tolist() == pytest.approx(expected, rel=1e-9)
    theirs = mean(
        [
            mean([-math.log(d) - math.log(1 - e) for d, e in zip(t, a, strict=True)])
            for t, a in zip(belief_of_targets, belief, strict=True)
        ]
    )
    assert float(loss.observe(attention, target, EXISTS)) == pytest.approx(theirs, rel=1e-9)


@NAMES
def test_a_step_of_theirs_is_one_of_adam(name):
    loss, other = (make_loss(name, n_regions=7, seed=3) for _ in range(2))
    attention, target = pair()
    for each in (loss, other):
        each(attention, target, EXISTS)
    optimizer = torch.optim.Adam(other.discriminator.parameters(), 5e-3, betas=(0.5, 0.999))
    for _ in range(3):
        loss.observe(attention, target, EXISTS)
        seen = [torch.log1p(m * EXISTS.sum(-1, keepdim=True)) for m in (attention, target)]
        says = [other.discriminator(one) for one in seen]
        labels = [torch.zeros_like(says[0]), torch.ones_like(says[1])]
        wrong = sum(
            F.binary_cross_entropy_with_logits(s, k, reduction="none") for s, k in zip(says, labels, strict=True)
        )
        if name == "adversarial_pixel":
            wrong = (wrong * EXISTS).sum(-1, keepdim=True) / EXISTS.sum(-1, keepdim=True)
        optimizer.zero_grad()
        wrong.mean().backward()
        optimizer.step()
    for (key, ours), theirs in zip(
        loss.discriminator.named_parameters(), other.discriminator.parameters(), strict=True
    ):
        torch.testing.assert_close(ours, theirs, msg=key)


@NAMES
def test_gradients(name):
    loss = make_loss(name, n_regions=7)
    scores = torch.randn(5, 7, generator=generator(5), dtype=torch.float64, requires_grad=True)

    def of_scores(scores):
        return loss(torch.softmax(scores.masked_fill(~EXISTS, -torch.inf), -1), scores, EXISTS)

    assert torch.autograd.gradcheck(of_scores, scores)
    of_scores(scores).sum().backward()
    assert (scores.grad[:2].abs().amax(-1) > 0).all()
    assert all(parameter.grad is None for parameter in loss.discriminator.parameters())


@NAMES
def test_nothing_flows_from_their_step_into_the_attention(name):
    loss = make_loss(name, n_regions=7)
    attention, target = pair()
    attention.requires_grad_()
    told = loss.observe(attention, target, EXISTS)
    assert attention.grad is None
    assert not told.requires_grad


# --- manners ---------------------------------------------------------------------------------------------------------


@NAMES
def test_the_seed_decides_and_the_global_random_state_is_left_alone(name):
    before = torch.get_rng_state()
    first, same, other = (make_loss(name, n_regions=7, seed=seed) for seed in (0, 0, 1))
    attention, target = pair()
    told = []
    for loss in (first, same, other):
        for _ in range(3):
            loss.observe(attention, target, EXISTS)
        told.append(loss(attention, target, EXISTS))
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.equal(told[0], told[1])
    assert not torch.equal(told[0], told[2])


@NAMES
def test_padding_does_not_matter(name):
    loss, wide = (make_loss(name, n_regions=9) for _ in range(2))
    attention, target = pair()
    padded = [F.pad(x, (0, 2)) for x in (attention + 0.3 * ~EXISTS, target + 0.1 * ~EXISTS, EXISTS)]
    for _ in range(3):
        torch.testing.assert_close(loss.observe(attention, target, EXISTS), wide.observe(*padded))
        torch.testing.assert_close(loss(attention, target, EXISTS), wide(*padded))


@NAMES
def test_maps_wider_than_the_discriminators(name):
    loss = make_loss(name, n_regions=5)
    with pytest.raises(
        ValueError, match="maps of up to 5 regions, got 7: make targets as wide as the widest attention"
    ):
        loss(*pair())


@NAMES
def test_one_hot_maps_have_finite_values_and_gradients(name):
    loss = make_loss(name, n_regions=4)
    attention = torch.eye(4)[:2].requires_grad_()
    loss.observe(attention, torch.eye(4)[2:])
    loss(attention, torch.eye(4)[2:]).sum().backward()
    assert torch.isfinite(attention.grad).all()
