"""Exact search with a self-attentive BiLSTM: variants that begin alike share their forward states, and vice versa.

The state of an LSTM after some words is a function of these words alone. Variants of a sentence, and sentences of a
chunk, begin and end alike for long stretches, so there are far fewer distinct states than variants times words. The
distinct states of one time step run as one batch, the attention scores are a forward part plus a backward part before
the tanh, and linear layers without a non-linearity between them are folded into one. Every step is exact algebra on
the same numbers; only the rounding differs.

The limit: of a sentence of n words with two hidden, a third of the n forward and of the n backward states, in the mean,
is no other variant's. For long sentences the recurrent work falls to a third of the plain path's and no rearrangement
brings it lower; what is left is one product with the recurrent matrix per distinct state.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ssan.batch import Batch
from ssan.models.attention import Output
from ssan.models.text import SelfAttentiveLSTM
from ssan.regions import Regions, TokenRegions
from ssan.scorer import Scorer
from ssan.selectors import Chunk

# Words in one chunk of variants: enough to keep matrix products busy, few enough to stay near the processor.
CHUNK_WORDS = 2**14
# Words whose attention scores are computed at a time, for the same reason one level of cache further down.
BLOCK_WORDS = 2**10
# Up to here exp(2x) and its reciprocal are normal numbers in float32.
EXPONENT_BOUND = 40.0
# Contributions to the classes are computed for every state while they are no wider than so many states.
VALUE_WIDTH = 4


@dataclass(frozen=True)
class Prefixes:
    """The distinct beginnings of some sequences of words.

    Attributes:
        words: for lengths 1, 2, …, the last word of each distinct beginning of that length.
        parents: for lengths 2, 3, …, which of the beginnings one word shorter each of them continues.
        node: (N, T) int64, the number of the beginning that ends with each word, counted through all lengths; 0 behind
            a sequence's end.
    """

    words: list[Tensor]
    parents: list[Tensor]
    node: Tensor

    @classmethod
    def of(cls, sequences: Tensor, lengths: Tensor, n_words: int) -> Prefixes:
        """The beginnings of `sequences` (N, T) of `lengths` (N,), words being numbers below `n_words`."""
        words, parents, node = [], [], torch.zeros_like(sequences)
        current, begun, shortest = torch.zeros_like(lengths), 0, int(lengths.min())
        for step in range(sequences.shape[1]):
            rows = slice(None) if step < shortest else (lengths > step).nonzero().squeeze(1)
            keys = current[rows] * n_words + sequences[rows, step]
            distinct, current[rows] = torch.unique(keys, return_inverse=True)
            words.append(distinct % n_words)
            if step:
                parents.append(distinct // n_words)
            node[rows, step] = current[rows] + begun
            begun += len(distinct)
        return cls(words, parents, node)


def backwards(rows: Tensor, lengths: Tensor) -> Tensor:
    """The first `lengths` (N,) entries of each of the `rows` (N, T) in reverse; behind them stands the first again."""
    place = torch.arange(rows.shape[1], device=rows.device)
    return rows.gather(1, (lengths[:, None] - 1 - place).clamp(min=0))


class Direction:
    """One direction of an LSTM on distinct beginnings.

    Args:
        lstm: one layer.
        vectors: (V, D), the vectors of the words that occur.
        suffix: `""` for the forward weights, `"_reverse"` for the backward ones.
    """

    def __init__(self, lstm: nn.LSTM, vectors: Tensor, suffix: str) -> None:
        given, recurrent, *biases = (
            getattr(lstm, f"{name}_l0{suffix}") for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
        )
        # tanh(x) = 2 sigmoid(2x) - 1, so with the third gate's rows doubled one sigmoid serves all four gates.
        double = torch.ones_like(biases[0])
        double.view(4, -1)[2] = 2
        self.recurrent = (recurrent * double[:, None]).T.contiguous()
        self.words = torch.addmm((biases[0] + biases[1]) * double, vectors, (given * double[:, None]).T)

    def states(self, prefixes: Prefixes) -> Tensor:
        """(S, hidden): the state after each of the beginnings."""
        hidden = len(self.recurrent)
        bounds = [0]
        for words in prefixes.words:
            bounds.append(bounds[-1] + len(words))
        states = self.words.new_empty(bounds[-1], hidden)
        state = cell = None
        for step, (start, stop) in enumerate(pairwise(bounds)):
            gates = self.words.index_select(0, prefixes.words[step])
            if step:
                # Multiplied once for each parent, then handed to its children, of which there are more.
                parents = prefixes.parents[step - 1]
                gates += torch.mm(state, self.recurrent).index_select(0, parents)
            enter, forget, new, leave = gates.sigmoid_().split(hidden, 1)
            inflow = new.mul_(2).sub_(1).mul_(enter)
            cell = inflow.clone() if state is None else cell.index_select(0, parents).mul_(forget).add_(inflow)
            state = torch.sigmoid(cell * 2, out=states[start:stop])
            state.mul_(2).sub_(1).mul_(leave)
        return states


class FoldedLSTM:
    """What a `SelfAttentiveLSTM` computes in evaluation mode, on distinct states.

    Args:
        model: the model.
        words: (V,) the word ids that occur; sequences hold places in this list.
    """

    def __init__(self, model: SelfAttentiveLSTM, words: Tensor) -> None:
        self.model = model
        vectors = model.embedding.weight.index_select(0, words)
        self.directions = [Direction(model.lstm, vectors, suffix) for suffix in ("", "_reverse")]
        into, out = model.attention_in, model.attention_out
        self.into = [half.T.contiguous() for half in into.weight.chunk(2, 1)]
        self.into_bias = vectors.new_zeros(()) if into.bias is None else into.bias
        out_bias = vectors.new_zeros(len(out.weight)) if out.bias is None else out.bias
        # States lie in (-1, 1), so the sums of absolute weights bound both parts of what the tanh is taken of.
        self.exponential = bool((into.weight.abs().sum(1) + self.into_bias.abs()).max() < EXPONENT_BOUND)
        if self.exponential:
            self.out, self.out_bias = -2 * out.weight.T, out.weight.sum(1) + out_bias
        else:
            self.out, self.out_bias = out.weight.T, out_bias
        self.linear = all(isinstance(layer, nn.Linear) for layer in model.classifier)
        if self.linear:
            folded, self.offset = model.classifier[0].weight, model.classifier[0].bias
            for layer in model.classifier[1:]:
                folded, self.offset = layer.weight @ folded, F.linear(self.offset, layer.weight, layer.bias)
            self.classes = folded.unflatten(1, (len(out.weight), -1))  # (C, hops, 2 * hidden)

    def __call__(self, prefixes: list[Prefixes], lengths: Tensor, label: Tensor | None) -> tuple[Tensor, Tensor]:
        """Logits and attention of sequences.

        Args:
            prefixes: of the sequences, and of the same sequences read backwards.
            lengths: (N,).
            label: (N,), the class that is asked for of each sequence; None for all classes.

        Returns:
            Logits (N, C), or (N, 1) where a class is asked for; attention (N, hops, T).
        """
        states = [direction.states(own) for direction, own in zip(self.directions, prefixes, strict=True)]
        nodes = [prefixes[0].node, backwards(prefixes[1].node, lengths)]
        attention = self._attention(states, nodes, lengths)
        classes = None
        if self.linear:
            classes = torch.arange(len(self.classes), device=lengths.device) if label is None else torch.unique(label)
            width = len(classes) * self.classes.shape[1]
        if classes is not None and width <= VALUE_WIDTH * states[0].shape[1]:
            logits = self._logits_from_values(states, nodes, attention, classes, label)
        else:
            logits = self._logits_from_pooled(states, nodes, attention)
            logits = logits if label is None else logits.gather(1, label[:, None])
        return logits, attention.transpose(1, 2)

    def _attention(self, states: list[Tensor], nodes: list[Tensor], lengths: Tensor) -> Tensor:
        """(N, T, hops)."""
        left, right = (own @ half for own, half in zip(states, self.into, strict=True))
        left += self.into_bias
        if self.exponential:
            # tanh(f + b) = 1 - 2 / (1 + exp(2f) exp(2b)): exponentials of states instead of a tanh for every
            # combination of two. What does not depend on the combination has gone into `out` and `out_bias`.
            left, right = left.mul_(2).exp_(), right.mul_(2).exp_()
        scores = left.new_empty(nodes[0].numel(), self.out.shape[1])
        blocks = (own.flatten().split(BLOCK_WORDS) for own in nodes)
        for block, one, other in zip(scores.split(BLOCK_WORDS), *blocks, strict=True):
            one, other = left.index_select(0, one), right.index_select(0, other)
            both = one.mul_(other).add_(1).reciprocal_() if self.exponential else one.add_(other).tanh_()
            torch.addmm(self.out_bias, both, self.out, out=block)
        scores = scores.view(*nodes[0].shape, -1)
        beyond = torch.arange(scores.shape[1], device=lengths.device) >= lengths[:, None]
        return torch.softmax(scores.masked_fill_(beyond[..., None], -torch.inf), 1)

    def _logits_from_values(
        self, states: list[Tensor], nodes: list[Tensor], attention: Tensor, classes: Tensor, label: Tensor | None
    ) -> Tensor:
        """The classes are linear in the states: what a state adds to a class through a hop is computed once a state."""
        hops = attention.shape[-1]
        weights = self.classes[classes].chunk(2, 2)
        values = [
            (own @ half.flatten(0, 1).T).view(-1, hops) for own, half in zip(states, weights, strict=True)
        ]  # a row for every state and class
        wanted = classes[:, None] if label is None else label[None]
        logits = []
        for class_of in wanted:
            place = torch.searchsorted(classes, class_of.contiguous())[..., None]
            one, other = (
                table.index_select(0, (node * len(classes) + place).flatten())
                for table, node in zip(values, nodes, strict=True)
            )
            summed = one.add_(other).view_as(attention).mul_(attention).sum((1, 2))
            logits.append(summed + self.offset[class_of])
        return torch.stack(logits, 1)

    def _logits_from_pooled(self, states: list[Tensor], nodes: list[Tensor], attention: Tensor) -> Tensor:
        """The general case: the sentence matrix, as in the model itself."""
        size = max(1, BLOCK_WORDS // attention.shape[1])
        pooled = []
        for hops, *pair in zip(attention.transpose(1, 2).split(size), *(own.split(size) for own in nodes), strict=True):
            halves = [
                hops @ own.index_select(0, node.flatten()).view(*node.shape, -1)
                for own, node in zip(states, pair, strict=True)
            ]
            pooled.append(torch.cat(halves, -1).flatten(1))
        sentence = torch.cat(pooled)
        if self.linear:
            return F.linear(sentence, self.classes.flatten(1), self.offset)
        return self.model.classifier(sentence)


@dataclass
class PrefixScorer(Scorer):
    """Scores variants of sentences with `FoldedLSTM`. Its arguments are those of `Scorer`; see `accepts`."""

    def __post_init__(self) -> None:
        first = self.teachers[0]
        self._fixed, self._pad, self._reads_padding = first.config.fixed_length, first.pad_id, first.padding_attends
        others = torch.tensor([self._pad, self.regions.hidden_id], device=self.batch.device)
        self._words = torch.unique(torch.cat([self.batch.tokens.flatten(), others]))
        self._folded = [FoldedLSTM(teacher, self._words) for teacher in self.teachers]
        self._sources = [self.batch] * len(self.teachers)

    @staticmethod
    def accepts(teachers: list[nn.Module], regions: Regions) -> bool:
        """Whether masks replace words, and all teachers are of the right kind and treat padding alike."""
        if type(regions) is not TokenRegions or any(type(teacher) is not SelfAttentiveLSTM for teacher in teachers):
            return False
        if len({(teacher.padding_attends, teacher.config.fixed_length, teacher.pad_id) for teacher in teachers}) > 1:
            return False
        # A model that reads padding up to the longest sentence at hand depends on what else is in the batch.
        return not teachers[0].padding_attends or teachers[0].config.fixed_length is not None

    def __call__(self, rows: Tensor, indices: Tensor) -> Chunk:
        """Run variants `indices` (N,) of the examples `rows` (N,)."""
        variant, kept = self.regions.variants(self.batch, self.batch, rows, indices, self.sampler)
        if self.score == "logit":
            score, attention = self._mean(self._sequences(variant, variant.label), torch.zeros_like(rows))
        else:
            score, attention = self._mean(self._sequences(variant, None), variant.label)
        return self.chunk(rows, indices, kept, score, lambda positions: attention[positions])

    def order(self) -> Tensor:
        """Examples of one class together, so that a chunk needs few classes."""
        return torch.argsort(self.batch.label, stable=True)

    def chunk_size(self) -> int:
        """How many variants make a chunk when nobody says."""
        longest = self._fixed if self._reads_padding else self.batch.tokens.shape[1]
        return max(1, CHUNK_WORDS // longest)

    def _outputs(self, inputs: list[Batch]) -> list[Output]:
        return self._sequences(inputs[0], None)

    def _sequences(self, batch: Batch, label: Tensor | None) -> list[Output]:
        tokens, lengths = batch.tokens, batch.lengths
        if self._fixed is not None and tokens.shape[1] > self._fixed:
            raise ValueError(f"a sentence has {tokens.shape[1]} tokens, the model is fixed to {self._fixed}")
        if self._reads_padding:
            tokens = F.pad(tokens, (0, self._fixed - tokens.shape[1]), value=self._pad)
            lengths = torch.full_like(lengths, self._fixed)
        places = torch.searchsorted(self._words, tokens.contiguous())
        prefixes = [Prefixes.of(own, lengths, len(self._words)) for own in (places, backwards(places, lengths))]
        outputs = [Output(*folded(prefixes, lengths, label)) for folded in self._folded]
        if self._fixed is None:
            return outputs
        width = self._fixed - tokens.shape[1]
        return [output._replace(attention=F.pad(output.attention, (0, width))) for output in outputs]
