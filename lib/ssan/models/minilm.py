"""A pretrained transformer, MiniLM, for text classification: its lower layers frozen, its attention watched."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from ssan.attention import evaluating
from ssan.models.attach import AttachedModel, batch_inputs
from ssan.models.taps import attend
from ssan.regions import Regions
from ssan.runtime import seeded
from ssan.task import Batch, Split, Task

MOST_BYTES = 2**30  # states of a split beyond this are not kept in memory


class FrozenBelow(AttachedModel):
    """A BERT classifier of `transformers` of which the embeddings and the lower layers stay as they are. Our design.

    The attention is that of the last layer, `[CLS]` query, mean of heads, over words. The frozen part is always in
    evaluation mode, without dropout: what it makes of a sentence never changes, and a batch may bring it as `features`
    (B, T, width), see `prepared`. The state has only what is trained.

    Args:
        module: a `BertForSequenceClassification`.
        regions: what masks hide, see `ssan.WordRegions`.
        frozen: how many layers, from below; 0 trains everything, the embeddings too.

    A ValueError if no layer is left to train.
    """

    def __init__(self, module: nn.Module, regions: Regions, frozen: int = 4) -> None:
        layers = module.bert.encoder.layer
        if not 0 <= frozen < len(layers):
            raise ValueError(f"frozen is how many of the {len(layers)} layers stay as they are, never all: {frozen}")
        unset = dict.fromkeys(("tokenizer", "attention", "inputs", "logits", "reduce"))
        super().__init__(module, layer=-1, heads="mean", query="cls", regions=regions, **unset)
        self.frozen = frozen
        self.below = [module.bert.embeddings, *layers[:frozen]] if frozen else []
        self._states: dict[bytes, Tensor] | None = None
        for part in self.below:
            part.requires_grad_(False)
        self.trained = {name for name, value in module.named_parameters() if value.requires_grad}
        self.train(module.training)

    def train(self, mode: bool = True) -> FrozenBelow:
        """Training mode for all that is not frozen."""
        super().train(mode)
        for part in self.below:
            part.eval()
        return self

    def state_dict(self, *args, **kwargs) -> dict[str, Tensor]:
        """The module's, under its keys, of what is trained."""
        return {name: value for name, value in super().state_dict(*args, **kwargs).items() if name in self.trained}

    def load_state_dict(self, state: dict[str, Tensor], *args, **kwargs):
        """Into the module; what is frozen may be missing."""
        frozen = {name: value for name, value in self.module.state_dict().items() if name not in self.trained}
        return super().load_state_dict(frozen | dict(state), *args, **kwargs)

    @contextmanager
    def remembering(self, states: dict[bytes, Tensor]) -> Iterator[None]:
        """Inside, what the frozen layers make of a sentence is looked up in `states`, and put there where it is new.

        For nets with the same frozen layers that read the same sentences, masked ones too, and train nothing there.
        """
        self._states = states if self.frozen else None
        try:
            yield
        finally:
            self._states = None

    def _looked_up(self, batch: Batch) -> Tensor:
        """(B, T, width): the states after the frozen layers; those not seen before are computed."""
        lengths = batch.lengths.tolist()
        keys = [row[:n].numpy().tobytes() for row, n in zip(batch.tokens.cpu(), lengths, strict=True)]
        if new := [row for row, key in enumerate(keys) if key not in self._states]:
            made = self._below(batch.select(torch.tensor(new, device=batch.device)))
            self._states.update((keys[row], state[: lengths[row]]) for row, state in zip(new, made, strict=True))
        states = nn.utils.rnn.pad_sequence([self._states[key] for key in keys], batch_first=True)
        return nn.functional.pad(states, (0, 0, 0, batch.tokens.shape[1] - states.shape[1]))

    def _below(self, batch: Batch) -> Tensor:
        made = self.module.bert.embeddings(batch_inputs(self.config, batch)["input_ids"])
        return self._layers(slice(self.frozen), made, batch)

    def _call(self, batch: Batch):
        states = batch.features
        if states is None:
            states = self._below(batch) if self._states is None else self._looked_up(batch)
        states = self._layers(slice(self.frozen, -1), states[:, : batch.tokens.shape[1]], batch)
        return self.module.classifier(self.module.dropout(self.module.bert.pooler(self._last(states, batch))))

    def _last(self, states: Tensor, batch: Batch) -> Tensor:
        """(B, 1, width): what the last layer makes of the first position, all that the answer is read from."""
        layer = self.module.bert.encoder.layer[-1]
        own, mask = layer.attention.self, self._mask(states, batch)

        def heads(linear: nn.Module, of: Tensor) -> Tensor:
            return linear(of).unflatten(-1, (own.num_attention_heads, -1)).transpose(1, 2)

        asked = heads(own.query, states[:, :1]), heads(own.key, states), heads(own.value, states)
        options = {"dropout": own.dropout.p if own.training else 0.0, "scaling": own.scaling, "is_causal": False}
        seen, _ = attend(own, *asked, None if mask is None else mask[:, :, :1], **options)
        return layer.feed_forward_chunk(layer.attention.output(seen.flatten(2), states[:, :1]))

    def _mask(self, states: Tensor, batch: Batch) -> Tensor | None:
        """The mask of padding that the module makes."""
        from transformers.masking_utils import create_bidirectional_mask

        real = batch_inputs(self.config, batch)["attention_mask"]
        return create_bidirectional_mask(config=self.config, inputs_embeds=states, attention_mask=real)

    def _layers(self, part: slice, states: Tensor, batch: Batch) -> Tensor:
        """`states` (B, T, width) through some of the layers."""
        mask = self._mask(states, batch)
        for layer in self.module.bert.encoder.layer[part]:
            states = layer(states, mask)
        return states

    @torch.no_grad()
    def prepared(self, split: Split) -> Split:
        """`split` with the states after the frozen layers, so that training need not run these in every epoch.

        Splits that are not in memory, or whose states would take more than 1 GiB, are returned as they are.
        """
        weight, width = self.module.classifier.weight, self.config.hidden_size
        if not self.frozen or not isinstance(split, Batch):
            return split
        if split.tokens.numel() * width * weight.element_size() > MOST_BYTES:
            return split
        states = weight.new_zeros(*split.tokens.shape, width, device=split.device)
        with evaluating([self]):
            for rows in torch.argsort(split.lengths, stable=True).split(64):  # of like length
                batch = split.select(rows).to(weight.device)
                states[rows, : batch.tokens.shape[1]] = self._below(batch).to(split.device)
        return split.replace(features=states)


MODELS = {"minilm": FrozenBelow}


def make_model(
    task: Task, seed: int, name: str = "minilm", frozen: int = 4, root: str | os.PathLike | None = None
) -> FrozenBelow:
    """See `ssan.make_model`: MiniLM's weights as fetched, a head of classes drawn from `seed`.

    `frozen` as in `FrozenBelow`; `root` is the data cache, see `ssan.data.fetching.data_dir`.
    """
    import safetensors.torch
    from transformers import BertConfig, BertForSequenceClassification

    from ssan.data.fetching import fetch

    folder = fetch("minilm", root)
    with seeded(seed):
        module = BertForSequenceClassification(BertConfig.from_pretrained(folder, num_labels=task.n_classes))
    weights = safetensors.torch.load_file(folder / "model.safetensors")
    del weights["embeddings.position_ids"]  # no weight: transformers counts positions itself
    module.bert.load_state_dict(weights)
    return MODELS[name](module, task.regions, frozen)
