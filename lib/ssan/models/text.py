"""The structured self-attentive BiLSTM (Lin et al. 2017), and the released code's variant of it as switches."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from ssan.attention import AttentionModel, Output
from ssan.regions import Regions, TokenRegions
from ssan.runtime import seeded
from ssan.search import Scorer
from ssan.task import Batch, Task


@dataclass(frozen=True)
class TextConfig:
    """Sizes and switches of `SelfAttentiveLSTM`. The defaults are a small corrected model; see also `as_released`.

    Attributes:
        embedding_dim: size of the word vectors; must fit the task's pretrained ones when these are used.
        hidden: LSTM units per direction.
        attention_dim: d_a of Lin et al., the width of the attention's hidden layer.
        hops: r of Lin et al., how many attention maps are made.
        mlp_dim: width of the layer between the sentence matrix and the classes; 0 for none.
        mlp_relu: whether a ReLU follows that layer. Without it the two layers are one linear map.
        dropout: on word vectors and on the sentence matrix, in training.
        use_vectors: start from the task's pretrained word vectors. The released code loads GloVe and assigns it to an
            attribute that nothing reads, so there the vectors stay random.
        attention_bias: biases in the two attention layers.
        padding_attends: run the LSTM over padding and let padding take part in the softmax, as the released code does.
        fixed_length: pad every sentence to this many tokens; None pads to the longest of the batch.
        hop_reduction: how r maps become the one that is supervised, see `ssan.attention.reduce_hops`.
        hides_padding: masked variants carry the hidden word on all their padding, as in the released search; needs
            `fixed_length`.
    """

    embedding_dim: int = 50
    hidden: int = 64
    attention_dim: int = 64
    hops: int = 1
    mlp_dim: int = 0
    mlp_relu: bool = True
    dropout: float = 0.3
    use_vectors: bool = True
    attention_bias: bool = False
    padding_attends: bool = False
    fixed_length: int | None = None
    hop_reduction: str = "mean"
    hides_padding: bool = False

    @classmethod
    def as_released(cls) -> TextConfig:
        """What the released code computes, accidents included."""
        sizes = {"embedding_dim": 300, "hidden": 256, "attention_dim": 350, "hops": 30, "mlp_dim": 2000}
        switches = {"mlp_relu": False, "use_vectors": False, "attention_bias": True, "padding_attends": True}
        switches |= {"fixed_length": 200, "hop_reduction": "softmax_of_sum", "hides_padding": True}
        return cls(**sizes, **switches, dropout=0.0)


@dataclass(frozen=True)
class ReleasedTokens(TokenRegions):
    """Tokens as the released search hides them: a masked variant carries the hidden word on all its padding, too.

    The clean sentence keeps the padding's own id, so where padding attends every variant differs from it in all of
    these places. Source: the released text code.

    Args:
        length: how many tokens a masked variant has.
        pad_id: what stands behind a sentence that nothing is hidden of.
    """

    length: int = 200
    pad_id: int = 1

    def hide(self, batch: Batch, masks: Tensor) -> Batch:
        """`batch` with tokens hidden where `masks` (B, T) is False, `length` tokens wide."""
        tokens = super().hide(batch, masks).tokens
        tokens = F.pad(tokens, (0, self.length - tokens.shape[1]), value=self.pad_id)
        padding, masked = ~self.exists(batch, self.length), ~masks.all(1, keepdim=True)
        return batch.replace(tokens=tokens.masked_fill(padding & masked, self.hidden_id))


class SelfAttentiveLSTM(AttentionModel):
    """H = BiLSTM(words); A = softmax(W_s2 tanh(W_s1 H^T)); logits = MLP(A H).

    Example:
        >>> model = SelfAttentiveLSTM(vocabulary=1000, n_classes=6, config=TextConfig(hops=4))
        >>> model(batch).attention.shape            # one map a hop
        torch.Size([B, 4, T])

    Args:
        vocabulary: number of words V.
        n_classes: number of classes C.
        config: sizes and switches.
        vectors: (V, embedding_dim) pretrained word vectors, or None. They are trained further.
        pad_id: the id written behind short sentences when `config.fixed_length` asks for more than the batch has.

    A ValueError if `vectors` does not have shape (V, embedding_dim), or `hides_padding` has no `fixed_length`.
    """

    def __init__(
        self, vocabulary: int, n_classes: int, config: TextConfig, vectors: Tensor | None = None, pad_id: int = 1
    ) -> None:
        super().__init__()
        self.config, self.pad_id = config, pad_id
        self.hop_reduction, self.padding_attends = config.hop_reduction, config.padding_attends
        if config.hides_padding and config.fixed_length is None:
            raise ValueError("hides_padding=True needs fixed_length: up to where masked variants are padded")
        if config.hides_padding:
            self.regions = ReleasedTokens(length=config.fixed_length, pad_id=pad_id)
        width = 2 * config.hidden
        self.embedding = nn.Embedding(vocabulary, config.embedding_dim)
        if config.use_vectors and vectors is not None:
            if vectors.shape != self.embedding.weight.shape:
                raise ValueError(
                    f"word vectors have shape {tuple(vectors.shape)}, "
                    f"expected {tuple(self.embedding.weight.shape)} (vocabulary, embedding_dim)"
                )
            self.embedding.weight.data.copy_(vectors)
        self.lstm = nn.LSTM(config.embedding_dim, config.hidden, bidirectional=True, batch_first=True)
        self.attention_in = nn.Linear(width, config.attention_dim, bias=config.attention_bias)
        self.attention_out = nn.Linear(config.attention_dim, config.hops, bias=config.attention_bias)
        sentence = config.hops * width
        if config.mlp_dim:
            between = [nn.ReLU()] if config.mlp_relu else []
            self.classifier = nn.Sequential(
                nn.Linear(sentence, config.mlp_dim), *between, nn.Linear(config.mlp_dim, n_classes)
            )
        else:
            self.classifier = nn.Sequential(nn.Linear(sentence, n_classes))
        self.dropout = nn.Dropout(config.dropout)

    def forward(self, batch: Batch) -> Output:
        """Logits (B, C) and attention (B, hops, T), T = `fixed_length` or the batch's longest sentence."""
        tokens, lengths = self._padded(batch)
        states = self._states(self.dropout(self.embedding(tokens)), lengths)  # (B, T, 2 * hidden)
        scores = self.attention_out(torch.tanh(self.attention_in(states))).transpose(1, 2)  # (B, hops, T)
        if not self.config.padding_attends:
            exists = torch.arange(tokens.shape[1], device=tokens.device) < lengths[:, None]
            scores = scores.masked_fill(~exists[:, None], -torch.inf)
        attention = torch.softmax(scores, dim=-1)
        sentence = (attention @ states).flatten(1)  # (B, hops * 2 * hidden)
        return Output(self.classifier(self.dropout(sentence)), attention)

    @classmethod
    def fast_scorer(cls, teachers: Sequence[AttentionModel], regions: Regions) -> type[Scorer] | None:
        """Shared prefixes, where masks replace words and all teachers are of this class and treat padding alike."""
        if type(regions) is not TokenRegions or any(type(teacher) is not SelfAttentiveLSTM for teacher in teachers):
            return None
        padding = {(teacher.padding_attends, teacher.config.fixed_length, teacher.pad_id) for teacher in teachers}
        # A model that reads padding up to the longest sentence at hand depends on what else is in the batch.
        if len(padding) > 1 or (teachers[0].padding_attends and teachers[0].config.fixed_length is None):
            return None
        from ssan.kernels.prefix_lstm import PrefixScorer

        return PrefixScorer

    def _padded(self, batch: Batch) -> tuple[Tensor, Tensor]:
        if batch.tokens is None:
            raise ValueError("SelfAttentiveLSTM needs a batch with tokens and lengths, this one has none")
        tokens, length = batch.tokens, self.config.fixed_length
        if length is None:
            return tokens, batch.lengths
        if tokens.shape[1] > length:
            raise ValueError(f"a sentence has {tokens.shape[1]} tokens, the model is fixed to {length}")
        return F.pad(tokens, (0, length - tokens.shape[1]), value=self.pad_id), batch.lengths

    @torch.autocast("cpu", enabled=False)  # which would ask for a bfloat16 LSTM: not every CPU has one
    def _states(self, words: Tensor, lengths: Tensor) -> Tensor:
        """BiLSTM states (B, T, 2 * hidden); zero on padding unless padding is to be read like words."""
        if self.config.padding_attends:
            return self.lstm(words)[0]
        if words.is_cuda:
            # Packing lets the backward direction start at the last real token, so no sentence sees another's padding.
            packed = pack_padded_sequence(words, lengths.cpu(), batch_first=True, enforce_sorted=False)
            return pad_packed_sequence(self.lstm(packed)[0], batch_first=True, total_length=words.shape[1])[0]
        # The same on a CPU, where packed sequences run step by step and whole ones as one oneDNN call, almost three
        # times as fast in training: the backward direction reads every sentence reversed in place.
        place = torch.arange(words.shape[1], device=words.device)
        exists = place < lengths[:, None]
        reverse = torch.where(exists, lengths[:, None] - 1 - place, place)[..., None]
        forward = self._direction(words, "")
        backward = self._direction(words.gather(1, reverse.expand_as(words)), "_reverse")
        return torch.cat([forward, backward.gather(1, reverse.expand_as(backward))], -1) * exists[..., None]

    def _direction(self, words: Tensor, suffix: str) -> Tensor:
        """One direction of the LSTM on whole sequences, first word first: (B, T, hidden)."""
        weights = [
            getattr(self.lstm, f"{name}_l0{suffix}") for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
        ]
        start = words.new_zeros(1, len(words), self.config.hidden)
        return torch.lstm(words, (start, start), weights, True, 1, 0.0, self.training, False, True)[0]


MODELS = {"lstm": SelfAttentiveLSTM}


def make_model(task: Task, seed: int, name: str = "lstm", config: TextConfig | None = None) -> SelfAttentiveLSTM:
    """See `ssan.make_model`. `config` is by default that of word vectors as wide as the task's."""
    if config is None:
        config = TextConfig() if task.vectors is None else TextConfig(embedding_dim=task.vectors.shape[1])
    with seeded(seed):
        return MODELS[name](len(task.words), task.n_classes, config, vectors=task.vectors)
