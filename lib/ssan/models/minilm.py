"""A pretrained transformer, MiniLM, for text classification: its lower layers frozen, its attention watched."""

from __future__ import annotations

import os

import torch
from torch import Tensor, nn

from ssan.attention import evaluating
from ssan.models.attach import AttachedModel, batch_inputs
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

    Raises:
        ValueError: if no layer is left to train.
    """

    def __init__(self, module: nn.Module, regions: Regions, frozen: int = 4) -> None:
        layers = module.bert.encoder.layer
        if not 0 <= frozen < len(layers):
            raise ValueError(f"frozen is how many of the {len(layers)} layers stay as they are, never all: {frozen}")
        unset = dict.fromkeys(("tokenizer", "attention", "inputs", "logits", "reduce"))
        super().__init__(module, layer=-1, heads="mean", query="cls", regions=regions, **unset)
        self.frozen = frozen
        self.below = [module.bert.embeddings, *layers[:frozen]] if frozen else []
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

    def _call(self, batch: Batch):
        if batch.features is None:
            return super()._call(batch)
        states = self._layers(slice(self.frozen, None), batch.features[:, : batch.tokens.shape[1]], batch)
        return self.module.classifier(self.module.dropout(self.module.bert.pooler(states)))

    def _layers(self, part: slice, states: Tensor, batch: Batch) -> Tensor:
        """`states` (B, T, width) through some of the layers, with the mask of padding that the module makes."""
        from transformers.masking_utils import create_bidirectional_mask

        real = batch_inputs(self.config, batch)["attention_mask"]
        mask = create_bidirectional_mask(config=self.config, inputs_embeds=states, attention_mask=real)
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
                made = self.module.bert.embeddings(batch_inputs(self.config, batch)["input_ids"])
                states[rows, : made.shape[1]] = self._layers(slice(self.frozen), made, batch).to(split.device)
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
