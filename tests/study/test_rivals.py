"""What a reviewer would try instead: regressions against general solvers, objectives by hand."""

import dataclasses

import numpy as np
import pytest
import torch
from scipy.optimize import minimize

import ssan
from ssan.metrics import variant_scores
from ssan.samplers import RandomMasks
from ssan.selectors import Importance, Ridge
from ssan.study import Condition, Round, Target
from ssan.study.maps import attention_x_gradient
from ssan.study.rivals import KernelShap, Lasso, Together, counterfactual, saliency_guided
from tests.helpers import random_sentences
from tests.study.tiny import of_text, weights

MASKS = RandomMasks(40, keep=0.5)


@pytest.fixture(scope="module")
def searched(tmp_path_factory):
    experiment = of_text(tmp_path_factory.mktemp("rivals"))
    net, batch = experiment.baseline(0), experiment.train_batch
    scores, _ = variant_scores(net, batch, experiment.regions, MASKS, score="log_odds")
    found = {
        kind: ssan.find_surrogates(net, batch, MASKS, selector=kind(), score="log_odds", device="cpu").attention
        for kind in (Lasso, KernelShap, Ridge, Importance)
    }
    return experiment, scores, found


def _problem(experiment, scores, row):
    """Masks (M, R) as hidden, and scores (M,), of one example, the clean input first."""
    n = int(experiment.regions.count(experiment.train_batch)[row])
    masks = MASKS.masks(torch.tensor([n] * 41), torch.arange(41), experiment.train_batch.ids[row].expand(41), width=n)
    return (~masks[:, :n]).double().numpy(), scores[row, :41].numpy()


def _as_target(values, clean):
    positive = np.maximum(values, 0)
    return positive / positive.sum() if positive.max() > 1e-5 else clean


@pytest.mark.parametrize("row", [0, 3, 7, 11])
def test_lasso_and_kernel_shap_against_general_solvers(searched, row):
    experiment, scores, found = searched
    hidden, score = _problem(experiment, scores, row)
    n = hidden.shape[1]
    clean = found[Ridge][row, :n].numpy()
    x, y = hidden - hidden.mean(0), score - score.mean()

    def lasso(both):  # the two signs apart, so that the objective is smooth
        w = both[:n] - both[n:]
        return ((y - x @ w) ** 2).sum() / 2 + 0.02 * 41 * both.sum()

    best = minimize(lasso, np.zeros(2 * n), bounds=[(0, None)] * (2 * n), method="L-BFGS-B", options={"ftol": 1e-15})
    expected = _as_target(-(best.x[:n] - best.x[n:]), clean)
    if expected is not clean:
        assert found[Lasso][row, :n].numpy() == pytest.approx(expected, abs=2e-3)
    if n < 2:
        return
    kept = n - hidden.sum(1)
    from math import comb

    weight = np.array([(n - 1) / (comb(n, int(k)) * k * (n - k)) if 0 < k < n else 0 for k in kept])
    weight /= weight[weight > 0].mean()
    root = np.sqrt(weight)[:, None]
    rows = np.concatenate([root * hidden, np.sqrt(1e-3) * np.eye(n)])
    values = np.linalg.lstsq(rows, np.concatenate([root[:, 0] * (score - score[0]), np.zeros(n)]), rcond=None)[0]
    expected = _as_target(-values, clean)
    if expected is not clean:
        assert found[KernelShap][row, :n].numpy() == pytest.approx(expected, abs=1e-5)


def test_one_search_makes_the_targets_of_many(searched, tmp_path):
    experiment, _, found = searched
    names = ("best", "importance", "ridge", "lasso", "kernel_shap")
    made = ssan.find_surrogates(
        experiment.baseline(0), experiment.train_batch, MASKS, selector=Together(names), score="log_odds", device="cpu"
    )
    apart = Together.apart(made, names)
    for name, kind in (("importance", Importance), ("ridge", Ridge), ("lasso", Lasso), ("kernel_shap", KernelShap)):
        assert torch.equal(apart[name].attention, found[kind]), name
    settings = dataclasses.replace(experiment.settings, together=("best", "importance", "ridge"))
    other = of_text(tmp_path)
    other.settings = settings
    targets = {name: other.target(Target(selector=name)) for name in ("ridge", "best")}
    assert len(list(tmp_path.glob("surrogates-*"))) == 3
    for name, target in targets.items():
        torch.testing.assert_close(target, experiment.target(Target(selector=name)))


def test_the_gradient_of_a_model_whose_answer_is_linear_in_attention():
    class Weighed(ssan.AttentionModel):
        """Logits are the attention-weighted sum of a number for each word and class."""

        def forward(self, batch):
            attention = torch.softmax(batch.tokens.float(), 1).requires_grad_()
            values = torch.stack([batch.tokens.float(), -batch.tokens.float()], -1)
            return ssan.Output((attention[..., None] * values).sum(1), attention)

    batch = random_sentences(6, classes=2)
    batch = batch.replace(lengths=torch.full((6,), batch.tokens.shape[1]))
    attention = torch.softmax(batch.tokens.float(), 1)
    signed = batch.tokens.float() * (1 - 2 * batch.label[:, None]) * attention
    expected = ssan.as_distribution(signed.clamp(min=0) + 1e-12)
    torch.testing.assert_close(attention_x_gradient(Weighed(), batch, "logit"), expected, atol=1e-6, rtol=1e-4)


@pytest.fixture(scope="module")
def minilm(data_mirror):  # noqa: ARG001
    task = ssan.load_task("trec_minilm", n_train=24, seed=1)
    return task, ssan.make_model(task, 1)


def test_counterfactual_attention_is_dealt_among_the_words_there_are(minilm):
    task, model = minilm
    batch = model.prepared(task.train).select(slice(0, 4))
    seen = []

    def watch(weights):
        seen.append(weights)
        return weights.flip(-1) if False else weights

    with torch.no_grad():
        output = model.eval()(batch)
        model.tap.instead = watch
        assert torch.equal(model(batch).logits, output.logits)
        model.tap.instead = None
        torch.manual_seed(0)
        loss = counterfactual(model, batch, output, task.regions)
    assert loss.isfinite()
    assert float(loss) > 0
    assert model.tap.instead is None
    assert seen[0].shape[2] == 1  # the query of [CLS] alone
    again = model(batch)
    assert torch.equal(again.logits, output.logits)


def test_saliency_guided_training_hides_half_of_the_words_by_gradient(minilm, monkeypatch):
    task, model = minilm
    batch, kept = model.prepared(task.train).select(slice(0, 6)), []
    hide = type(task.regions).hide
    monkeypatch.setattr(
        type(task.regions), "hide", lambda self, batch, masks: kept.append(masks) or hide(self, batch, masks)
    )
    loss = saliency_guided(model.eval(), batch, model(batch), task.regions)
    loss.backward()
    assert float(loss.detach()) >= 0
    exists = task.regions.exists(batch)
    assert ((~kept[0] & exists).sum(1) == exists.sum(1) // 2).all()
    assert kept[0][~exists].all()
    model.zero_grad()


def test_objectives_are_trained_with_and_maps_judged_in_the_place_of_attention(tmp_path, monkeypatch):
    experiment = of_text(tmp_path)
    seen = []
    from ssan.study import rivals

    monkeypatch.setitem(rivals.OBJECTIVES, "nothing", lambda *_, regions: seen.append(regions))
    net = experiment.trained(Condition("rival=nothing", starts=("scratch",), objective="nothing"))
    assert torch.equal(weights(net), weights(experiment.baseline(0)))  # None adds nothing
    assert seen
    looked = Condition("supervised_best", Target((Round("attention"),)), ("scratch",))
    from ssan.study.conditions import shown

    row, plain = (experiment.row(each, "scratch", "smoke") for each in (shown(looked, "early"), looked))
    assert row["condition"] == "supervised_best:early"
    assert (row["accuracy"], row["trainings"]) == (plain["accuracy"], plain["trainings"])
    assert (row["forwards"], plain["forwards"]) == (0, 1)
    exact = experiment.row(shown("baseline", "leave_one_out"), "scratch", "smoke")
    assert exact["top_1"] == 1
    assert exact["drops_as_baseline"] == pytest.approx(1)
