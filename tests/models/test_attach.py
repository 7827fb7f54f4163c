"""Models that nobody wrote for this package: attached, searched, taught, and left as they were found."""

from __future__ import annotations

import copy
import gc

import pytest
import torch
from torch import nn

import ssan
from ssan import ImageGrid, Singles, TrainConfig, WordRegions, attach
from ssan.models.attach import AttachedModel, batch_inputs
from ssan.models.taps import DropoutTap, FunctionTap, MultiheadTap, OutputTap
from ssan.runtime import seeded
from tests.helpers import generator, random_maps
from tests.search.test_find import brute_force, check

timm = pytest.importorskip("timm")
transformers = pytest.importorskip("transformers")
vision = pytest.importorskip("torchvision").models

pytestmark = pytest.mark.filterwarnings("ignore:The PyTorch API of nested tensors")
SMALL = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 48, "num_labels": 3}
WORDS = {"regions": WordRegions(4)}


def texts(n: int = 6, seed: int = 0) -> ssan.Batch:
    """[CLS] (2), 3 to 6 words of 1 to 3 pieces, [SEP] (3), padding (0); 4 is [MASK]."""
    g, rows, words = generator(seed), [], []
    for _ in range(n):
        pieces = torch.randint(1, 4, (int(torch.randint(3, 7, (), generator=g)),), generator=g)
        word = torch.repeat_interleave(torch.arange(len(pieces)), pieces)
        end = torch.tensor([-1])
        words.append(torch.cat([end, word, end]))
        rows.append(torch.cat([torch.tensor([2]), torch.randint(5, 50, (len(word),), generator=g), torch.tensor([3])]))
    pad = nn.utils.rnn.pad_sequence
    tokens, lengths = pad(rows, batch_first=True), torch.tensor([len(row) for row in rows])
    label = torch.randint(0, 3, (n,), generator=g)
    return ssan.Batch(torch.arange(n), label, tokens, lengths, words=pad(words, True, -1))


def pictures(n: int = 4, side: int = 32, **more) -> ssan.Batch:
    g = generator(1)
    return ssan.Batch(torch.arange(n), torch.arange(n) % 3, image=torch.rand(n, 3, side, side, generator=g), **more)


class Encoder(nn.Module):
    """`nn.TransformerEncoder`, whose fast path computes no weights."""

    def __init__(self) -> None:
        super().__init__()
        layer = nn.TransformerEncoderLayer(32, 4, 48, batch_first=True)
        self.embed, self.encoder, self.answer = nn.Embedding(60, 32), nn.TransformerEncoder(layer, 2), nn.Linear(32, 3)

    def forward(self, tokens, lengths):
        padding = torch.arange(tokens.shape[1]) >= lengths[:, None]
        return self.answer(self.encoder(self.embed(tokens), src_key_padding_mask=padding)[:, 0])


class Bahdanau(nn.Module):
    """An LSTM with additive attention, a module of its own that returns (context, weights)."""

    class Attention(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.hidden, self.score = nn.Linear(32, 16), nn.Linear(16, 1)

        def forward(self, states, padding):
            weights = self.score(self.hidden(states).tanh()).squeeze(-1).masked_fill(padding, -torch.inf).softmax(-1)
            return (weights[..., None] * states).sum(1), weights

    def __init__(self) -> None:
        super().__init__()
        self.embed, self.lstm = nn.Embedding(60, 32), nn.LSTM(32, 16, batch_first=True, bidirectional=True)
        self.attention, self.answer = self.Attention(), nn.Linear(32, 3)

    def forward(self, tokens, lengths):
        packed = nn.utils.rnn.pack_padded_sequence(self.embed(tokens), lengths, batch_first=True, enforce_sorted=False)
        states = nn.utils.rnn.pad_packed_sequence(self.lstm(packed)[0], batch_first=True)[0]
        padding = torch.arange(states.shape[1]) >= lengths[:, None]
        return self.answer(self.attention(states, padding)[0])


class Gate(nn.Module):
    """A CNN with a sigmoid gate over places, as in CBAM."""

    def __init__(self) -> None:
        super().__init__()
        self.cnn, self.gate = nn.Conv2d(3, 16, 8, 8), nn.Sequential(nn.Conv2d(16, 1, 1), nn.Sigmoid())
        self.answer = nn.Linear(16, 3)

    def forward(self, image):
        features = self.cnn(image).relu()
        return self.answer((features * self.gate(features)).mean((2, 3)))


def vit(**options):
    sizes = {"img_size": 64, "num_classes": 3, "embed_dim": 48, "depth": 2, "num_heads": 3}
    return timm.create_model("vit_tiny_patch16_224", **sizes, **options)


def classifier(config):
    return transformers.AutoModelForSequenceClassification.from_config(config)


def question(module):
    text = texts(4)
    batch = pictures(tokens=text.tokens, lengths=text.lengths, words=text.words)
    return module, batch, WORDS


sequence = {"inputs": lambda batch: (batch.tokens, batch.lengths)}
roberta = {"max_position_embeddings": 40, "pad_token_id": 0}
distil = {"dim": 32, "n_layers": 2, "n_heads": 4, "hidden_dim": 48, "num_labels": 3}
vilt = {"image_size": 32, "patch_size": 8, "modality_type_vocab_size": 2, "max_image_length": -1}
torch_vit = {"image_size": 32, "patch_size": 8, "num_layers": 2, "num_heads": 4, "hidden_dim": 32, "mlp_dim": 48}
ZOO = {
    "bert": lambda: (classifier(transformers.BertConfig(vocab_size=60, **SMALL)), texts(), WORDS),
    "distilbert": lambda: (classifier(transformers.DistilBertConfig(vocab_size=60, **distil)), texts(), WORDS),
    "roberta": lambda: (classifier(transformers.RobertaConfig(vocab_size=60, **roberta, **SMALL)), texts(), WORDS),
    "hf_vit": lambda: (
        transformers.ViTForImageClassification(transformers.ViTConfig(image_size=32, patch_size=8, **SMALL)),
        pictures(),
        {},
    ),
    "vilt": lambda: question(
        transformers.ViltForQuestionAnswering(transformers.ViltConfig(vocab_size=60, **vilt, **SMALL))
    ),
    "timm_vit": lambda: (vit(), pictures(side=64), {}),
    "timm_vit_without_class_token": lambda: (vit(class_token=False, global_pool="avg"), pictures(side=64), {}),
    "torchvision_vit": lambda: (
        vision.VisionTransformer(**torch_vit, num_classes=3, dropout=0.1, attention_dropout=0.1),
        pictures(),
        {},
    ),
    "head_around_a_vit": lambda: (
        nn.Sequential(vision.VisionTransformer(**torch_vit, num_classes=8), nn.ReLU(), nn.Linear(8, 3)),
        pictures(),
        {},
    ),
    "multihead": lambda: (Encoder(), texts(), WORDS | sequence),
    "bahdanau": lambda: (Bahdanau(), texts(), sequence | {"attention": "attention"}),
    "gate": lambda: (Gate(), pictures(), {"attention": "gate", "regions": ImageGrid((4, 4))}),
}
TAPS = {"vilt": DropoutTap, **dict.fromkeys(("torchvision_vit", "head_around_a_vit", "multihead"), MultiheadTap)}
TAPS |= {"timm_vit": DropoutTap, "timm_vit_without_class_token": DropoutTap, "bahdanau": OutputTap, "gate": OutputTap}
every = pytest.mark.parametrize("name", ZOO)


def made(name: str):
    """(the module in evaluation mode, a batch, the options of attach)."""
    with seeded(0):
        module, batch, options = ZOO[name]()
        for each in module.modules():
            if isinstance(each, vision.VisionTransformer):
                nn.init.normal_(each.heads.head.weight)  # zero, as it comes
    return module.eval(), batch, options


def bare(module: nn.Module, batch: ssan.Batch, options: dict) -> torch.Tensor:
    """Logits of the module as its user calls it, nothing attached."""
    config = getattr(module, "config", None) if hasattr(module, "set_attn_implementation") else None
    given = options["inputs"](batch) if "inputs" in options else batch_inputs(config, batch)
    given = given if isinstance(given, tuple | dict) else (given,)
    with torch.no_grad():
        output = module(**given) if isinstance(given, dict) else module(*given)
    return getattr(output, "logits", output)


@every
def test_computes_what_the_module_computes_and_leaves_it_as_it_was(name):
    module, batch, options = made(name)
    logits, keys = bare(module, batch, options), list(module.state_dict())
    model = attach(module, **options)
    assert isinstance(model.tap, TAPS.get(name, FunctionTap))
    output = model.eval()(batch)
    torch.testing.assert_close(output.logits, logits, atol=2e-6, rtol=1e-5)
    regions = model.regions or ssan.TokenRegions()
    ssan.attention.check_output(output, batch.label, regions.count(batch))
    assert list(model.state_dict()) == keys
    assert all(a is b for a, b in zip(model.parameters(), module.parameters(), strict=True))
    assert model.detach() is module
    again = bare(module, batch, options)  # ViLT itself shuffles its patches
    torch.testing.assert_close(again, logits, atol=1e-6 if name == "vilt" else 0, rtol=0)
    assert not any(each._forward_hooks or each._forward_pre_hooks for each in module.modules())
    with pytest.raises(ValueError, match="detached"):
        model(batch)


@every
def test_rows_sum_to_1_in_training_and_gradient_reaches_the_module(name):
    module, batch, options = made(name)
    model = attach(module, **options).train()
    attention = model(batch).attention
    torch.testing.assert_close(attention.sum(1), torch.ones(len(batch)))
    if name != "gate":
        torch.testing.assert_close(model.total, torch.ones(len(batch)), atol=1e-4, rtol=0)
    attention.square().sum().backward()
    assert sum(p.grad is not None and bool(p.grad.any()) for p in model.parameters()) >= 2
    assert ssan.check(model.eval(), batch) == []


@every
@pytest.mark.parametrize("score", ["log_odds"])
def test_search_equals_brute_force(name, score):
    module, batch, options = made(name)
    model = attach(module, **options)
    regions = model.regions or ssan.TokenRegions()
    result = ssan.find_surrogates(model, batch, Singles(), score=score, regions=regions, perturbations_per_eval=7)
    undecided = 0
    for row in range(len(batch)):
        single = batch.select([row])
        n = int(regions.count(single))
        masks = [torch.ones(1, n, dtype=torch.bool) for _ in range(n + 1)]
        for k in range(n):
            masks[k + 1][0, k] = False
        variants = [regions.hide(single, mask) for mask in masks]
        undecided += check(result, row, *brute_force([model], variants, int(batch.label[row]), score), tolerance=1e-5)
    assert undecided <= 2


@every
def test_training_moves_the_map_towards_its_target(name):
    module, batch, options = made(name)
    model = attach(module, **options)
    regions = model.regions or ssan.TokenRegions()
    exists = regions.exists(batch)
    target = random_maps(exists, seed=3)
    task = ssan.Task("few", batch, batch, batch, ("a", "b", "c"), regions)
    config = TrainConfig(epochs=40, learning_rate=3e-3, batch_size=8, keep="last", validate=False)
    history = ssan.fit(model, task, config, ssan.Supervision(batch.ids, target, weight=5.0)).history
    assert history[-1]["attention_loss"] < 0.75 * history[0]["attention_loss"]


def test_weights_are_those_of_the_library_where_it_shows_them():
    """Every choice of layer, head and query, against eager attention in evaluation mode, by hand."""
    module, batch, _ = made("bert")
    eager = copy.deepcopy(module)
    eager.set_attn_implementation("eager")
    with torch.no_grad():
        maps = eager(**batch_inputs(eager.config, batch), output_attentions=True).attentions
    real = torch.arange(batch.tokens.shape[1]) < batch.lengths[:, None]
    for layer in (0, 1, -1):
        for heads in ("mean", 2):
            for query in ("cls", "mean"):
                weights = maps[layer].mean(1) if heads == "mean" else maps[layer][:, heads]
                row = weights[:, 0]
                if query == "mean":
                    row = torch.stack([w[r].mean(0) for w, r in zip(weights, real, strict=True)])
                expected = torch.zeros(len(batch), int(batch.words.max()) + 1)
                for k in range(len(batch)):
                    for place, word in enumerate(batch.words[k].tolist()):
                        if word >= 0:
                            expected[k, word] += row[k, place]
                expected /= expected.sum(1, keepdim=True)
                with attach(module, layer=layer, heads=heads, query=query, **WORDS) as model, torch.no_grad():
                    torch.testing.assert_close(model(batch).attention, expected, atol=1e-6, rtol=1e-5)


def test_attention_may_be_read_off_the_output():
    module, batch, _ = made("bert")
    module.set_attn_implementation("eager")
    named = {"inputs": lambda batch: batch_inputs(module.config, batch) | {"output_attentions": True}}
    read = attach(module, attention=lambda out: out.attentions[-1], **named, **WORDS)
    with torch.no_grad():
        given = read(batch)
        module.set_attn_implementation("sdpa")
        torch.testing.assert_close(attach(module, **WORDS)(batch).attention, given.attention)
        nothing = attach(module, attention=lambda out: out.attentions, **WORDS)
        with pytest.raises(ValueError, match="returned NoneType, expected a tensor of weights"):
            nothing(batch)


def test_patches_are_summed_into_a_coarser_grid_that_divides_theirs():
    module, batch, _ = made("hf_vit")
    with torch.no_grad():
        fine = attach(module)(batch).attention
        coarse = attach(module, regions=ImageGrid((2, 2)))(batch).attention
        torch.testing.assert_close(coarse, fine.view(-1, 2, 2, 2, 2).sum((2, 4)).flatten(1))
        with pytest.raises(ValueError, match=r"lies on 4x4 patches .* on 8x8 cells: choose a grid whose rows"):
            attach(module, regions=ImageGrid((8, 8)))(batch)


@pytest.mark.parametrize("name", ["bert", "timm_vit", "torchvision_vit", "multihead", "gate"])
def test_hooks_never_leak(name):
    module, batch, options = made(name)
    before = {key: len(each.__dict__) for key, each in module.named_modules()}
    for cycle in range(200):
        with attach(module, **options) as model:
            if cycle % 50 == 0:
                model(batch)
    assert {key: len(each.__dict__) for key, each in module.named_modules()} == before
    assert not any(each._forward_hooks or each._forward_pre_hooks for each in module.modules())
    gc.collect()
    assert sum(type(each) is AttachedModel for each in gc.get_objects()) <= 1
    if name == "bert":
        assert module.config._attn_implementation == "sdpa"


@pytest.mark.parametrize("name", ["bert", "timm_vit", "torchvision_vit", "multihead", "bahdanau"])
def test_copies_watch_their_own_module(name):
    module, batch, options = made(name)
    model = attach(module, **options).eval()
    twin = copy.deepcopy(model)
    with torch.no_grad():
        for parameter in twin.parameters():
            parameter.mul_(0.5)
        ours, theirs = model(batch), twin(batch)
        assert not torch.equal(ours.attention, theirs.attention)
        twin.load_state_dict(model.state_dict())
        torch.testing.assert_close(twin(batch).attention, ours.attention)


def test_works_under_autocast_and_checkpointing_and_refuses_compiled_modules():
    module, batch, options = made("bert")
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        low = attach(module, **options)(batch).attention
    with torch.no_grad():
        torch.testing.assert_close(low.float(), attach(module, **options)(batch).attention, atol=0.02, rtol=0.1)
    for seed in range(2):
        gradients = []
        for checkpointed in (False, True):
            each = copy.deepcopy(module).train()
            if checkpointed:
                getattr(each, "activation_checkpointing_enable", each.gradient_checkpointing_enable)()
            torch.manual_seed(seed)
            output = attach(each, **options).train()(batch)
            (output.attention.square().sum() + output.logits.square().sum()).backward()
            gradients.append(each.bert.encoder.layer[-1].attention.self.query.weight.grad)
        torch.testing.assert_close(*gradients)
    with pytest.raises(TypeError, match="attach the module that was given"):
        attach(torch.compile(module))


def test_works_in_data_parallel_training():
    module, batch, options = made("bert")
    model, store = attach(module, **options).train(), torch.distributed.HashStore()
    torch.distributed.init_process_group("gloo", store=store, rank=0, world_size=1)
    try:
        nn.parallel.DistributedDataParallel(model)(batch).attention.square().sum().backward()
    finally:
        torch.distributed.destroy_process_group()
    assert module.bert.encoder.layer[-1].attention.self.query.weight.grad.any()


def test_bad_requests_are_told_before_any_work():
    module, batch, _ = made("bahdanau")
    for options, message in (
        ({}, r"no attention in Bahdanau that ssan knows .* \(modules by that name: attention\)"),
        ({"attention": "atention"}, "no module 'atention': did you mean attention"),
        ({"attention": "attention", "heads": "first"}, "heads must be 'mean' or the number of a head"),
        ({"attention": "attention", "query": "last"}, "unknown query 'last'"),
    ):
        with pytest.raises(ValueError, match=message):
            attach(module, **options)
    with pytest.raises(TypeError, match=r"needs a torch\.nn\.Module, got str"):
        attach("bert")
    model = nn.Sequential(nn.Embedding(60, 3), nn.Flatten())
    model.idle = nn.Softmax(-1)
    model.forward = lambda tokens: model[0](tokens).mean(1)
    with pytest.raises(ValueError, match="without any attention weights being seen"):
        attach(model, attention="idle")(batch)
    bert, batch, options = made("bert")
    with pytest.raises(IndexError, match="no layer 7: the model has 2 layers"):
        attach(bert, layer=7, **options)(batch)
    with pytest.raises(ValueError, match="which word each token is: make it with encode_words"):
        attach(bert, **options)(batch.replace(words=None))
    with pytest.raises(ValueError, match="positions where an example has no region: padding must get 0"):
        attach(bert, regions=ssan.TokenRegions(), reduce=lambda weights: weights.mean(1)[:, 0] + 0.01)(batch)
    for parameter in bert.parameters():
        parameter.requires_grad_(False)
    task = ssan.Task("few", batch, batch, batch, ("a", "b", "c"), WordRegions(4))
    bert.classifier.requires_grad_(True)
    target = random_maps(WordRegions(4).exists(batch))
    with pytest.raises(ValueError, match="carries no gradient"):
        ssan.fit(attach(bert, **options), task, TrainConfig(epochs=1), ssan.Supervision(batch.ids, target))


def test_check_tells_what_is_wrong(capsys):
    module, batch, options = made("bert")
    assert ssan.check(attach(module, **options), batch) == []
    told = capsys.readouterr().out
    assert "regions: 3 to 6 an example" in told
    assert "gradient: reaches 2" in told
    assert told.endswith("nothing is wrong\n")

    class Deaf(WordRegions):
        def hide(self, batch, masks):  # noqa: ARG002
            return batch

    assert "changes no score" in ssan.check(attach(module, regions=Deaf(4)), batch)[0]
    first = lambda weights: 0 * weights.mean((1, 2)) + (torch.arange(weights.shape[-1]) == 1)  # noqa: E731
    left = attach(module, **WORDS, reduce=first)
    assert any("left to right" in line for line in ssan.check(left, batch))
    left.detach()
    detached = attach(module, **WORDS, reduce=lambda weights: weights.mean(1)[:, 0].detach())
    assert "carries no gradient" in ssan.check(detached, batch)[0]
    module.set_attn_implementation("eager")
    counting = Gate()
    counting.cnn = nn.Sequential(counting.cnn, nn.BatchNorm2d(16))
    before = copy.deepcopy(counting.eval().state_dict())
    ssan.check(attach(counting, attention="gate", regions=ImageGrid((4, 4))), pictures())
    assert all(torch.equal(value, before[key]) for key, value in counting.state_dict().items())
    assert not counting.cnn[1].training
    assert "registration: cells lie " in capsys.readouterr().out
    named = {"inputs": lambda batch: batch_inputs(module.config, batch) | {"output_attentions": True}}
    dropped = attach(module, attention=lambda out: out.attentions[-1], **named, **WORDS)
    assert "after dropout" in ssan.check(dropped, batch)[0]
    assert "forward pass: " in ssan.check(attach(module, layer=5, **options), batch)[0]
