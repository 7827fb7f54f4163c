"""Training where users of `transformers` train: its `Trainer`, with the loss on the attention added by example id."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from transformers import Trainer

from ssan.attention import Output
from ssan.models.attach import AttachedModel, batch_inputs
from ssan.task import Batch
from ssan.training import Supervision

__all__ = ["AttentionTrainer", "Examples"]


class Examples(torch.utils.data.Dataset):
    """A batch as `Trainer` wants its data sets: counted, and taken one by one."""

    def __init__(self, batch: Batch) -> None:
        self.batch = batch

    def __len__(self) -> int:
        return len(self.batch)

    def __getitem__(self, row: int) -> tuple[Batch, int]:
        return self.batch, row


class AttentionTrainer(Trainer):
    """A `transformers.Trainer` whose loss has the distance of the attention from its targets added.

    Example:
        >>> arguments = TrainingArguments("out", num_train_epochs=3, remove_unused_columns=False)
        >>> trainer = AttentionTrainer(
        ...     ssan.attach(classifier, tokenizer=tokenizer), arguments,
        ...     train_dataset=task.train, eval_dataset=task.valid,
        ...     supervision=ssan.Supervision(surrogates.ids, surrogates.attention),
        ... )
        >>> trainer.train()

    Args:
        model: of `ssan.attach`; its module is what is trained and saved.
        args: `TrainingArguments`, with `remove_unused_columns=False`: the names of the examples must come through.
        train_dataset, eval_dataset: `Batch`es, as `ssan.encode_words` makes them.
        supervision: targets for the training examples; None trains plainly. Its `schedule` follows the epochs.
        **options: of `Trainer`, but for `data_collator`.

    Raises:
        TypeError: if the model is not attached.
        ValueError: if unused columns are to be removed, or an example has no target.
    """

    def __init__(
        self,
        model: AttachedModel,
        args: Any,
        *,
        train_dataset: Batch | None = None,
        eval_dataset: Batch | None = None,
        supervision: Supervision | None = None,
        **options: Any,
    ) -> None:
        if not isinstance(model, AttachedModel):
            raise TypeError(f"expected a model of ssan.attach, got {type(model).__name__}")
        if args.remove_unused_columns:
            raise ValueError("TrainingArguments(remove_unused_columns=False), or the names of the examples are lost")
        self.attached, self.supervision = model, supervision
        if supervision is not None:
            self._row = {name: row for row, name in enumerate(supervision.ids.tolist())}
            if missing := [name for name in train_dataset.ids.tolist() if name not in self._row]:
                raise ValueError(f"the supervision has no target for {len(missing)} training examples: {missing[:5]}")
        sets = [None if batch is None else Examples(batch) for batch in (train_dataset, eval_dataset)]
        super().__init__(
            model.module, args, train_dataset=sets[0], eval_dataset=sets[1], data_collator=self._collate, **options
        )

    def _collate(self, rows: list[tuple[Batch, int]]) -> dict[str, Tensor]:
        batch = rows[0][0].select([row for _, row in rows])
        named = {"labels": batch.label, "ids": batch.ids, "words": batch.words}
        return batch_inputs(self.attached.config, batch) | {
            name: value for name, value in named.items() if value is not None
        }

    def compute_loss(
        self, model: Any, inputs: dict[str, Tensor], return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> Any:
        """The model's loss, and the attention's in training."""
        inputs = dict(inputs)
        ids, words = inputs.pop("ids"), inputs.pop("words", None)
        tokens, mask = inputs.get("input_ids"), inputs.get("attention_mask")
        lengths = None if mask is None else mask.sum(1)
        batch = Batch(ids, inputs["labels"], tokens, lengths, image=inputs.get("pixel_values"), words=words)
        with self.attached.watching(batch) as result:
            loss, outputs = super().compute_loss(model, inputs, True, num_items_in_batch)
            result.append(outputs)
        if self.supervision is not None and model.training:
            output = Output(outputs["logits"], self.attached.map_of(result[-1], batch))
            rows = torch.tensor([self._row[name] for name in ids.tolist()])
            distance = self.supervision.distance(self.attached, batch, output, rows, self.attached.regions)
            done = (self.state.epoch or 0.0) / self.args.num_train_epochs
            share = 1.0 if num_items_in_batch is None else len(ids) / int(num_items_in_batch)
            loss = loss + self.supervision.weight * self.supervision.factor(min(done, 1 - 1e-9)) * share * distance
        return (loss, outputs) if return_outputs else loss
