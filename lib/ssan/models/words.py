"""A question-answering model seen as one that attends to the words of its question."""

from __future__ import annotations

from torch import nn

from ssan.batch import Batch
from ssan.models.attention import Output
from ssan.regions import TokenRegions


class QuestionWords(nn.Module):
    """The same model, whose attention is that over question words: so it can be searched, predicted and measured.

    Masks hide words of the question, and the image stays whole. To train with what is found, supervise the model:

        >>> words = QuestionWords(model)                                      # made with word_attention=True
        >>> found = find_surrogates(words, task.train, Pairs())
        >>> of_words = Supervision(task.train.ids, found.attention, of="question_attention")
        >>> fit(fresh_model, task, TrainConfig(), [of_image, of_words])

    Whether the paper supervises attention over question words is not known: the released text code calls its variables
    `q_att` and its file `question_attention_masks`, as if they had come from such code. Our reading.

    Args:
        model: returns `Output` with `question_attention`; its parameters are this module's.
    """

    regions = TokenRegions()

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, batch: Batch) -> Output:
        """Logits (B, C), attention over the words (B, T).

        Raises:
            ValueError: if the model has no attention over question words.
        """
        output = self.model(batch)
        if output.question_attention is None:
            raise ValueError(
                f"{type(self.model).__name__} returned no question_attention: make it with word_attention=True"
            )
        return Output(output.logits, output.question_attention)
