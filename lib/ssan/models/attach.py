"""`attach`: any module with attention as an `AttentionModel`, nothing in it changed but what is watched."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from ssan.attention import AttentionModel, Output, as_distribution, evaluating
from ssan.models.taps import find_tap, patches
from ssan.models.words import WordRegions
from ssan.regions import ImageGrid, Regions, TokenRegions
from ssan.search import Scorer
from ssan.task import Batch


def attach(
    module: nn.Module,
    *,
    tokenizer: Any | None = None,
    attention: str | Callable[[Any], Tensor] | None = None,
    inputs: Callable[[Batch], Any] | None = None,
    logits: Callable[[Any], Tensor] | None = None,
    layer: int = -1,
    heads: int | str = "mean",
    query: str | None = None,
    reduce: Callable[[Tensor], Tensor] | None = None,
    regions: Regions | None = None,
) -> AttachedModel:
    """Make an `AttentionModel` of a module that nobody wrote for this package. Our design.

    Known without being told: classifiers of `transformers` and `timm`, and modules with `nn.MultiheadAttention` inside.
    The weights are read before dropout and carry gradient.

    Example:
        >>> model = ssan.attach(hf_classifier, tokenizer=tokenizer)
        >>> model = ssan.attach(timm_vit)
        >>> model = ssan.attach(mine, attention="encoder.attn", inputs=lambda batch: {"x": batch.image})
        >>> with ssan.attach(mine, attention=lambda out: out[1], logits=lambda out: out[0]) as model: ...

    Args:
        module: the module; its parameters, and the keys of its state, are the attached model's.
        tokenizer: of a text model; words are then the regions, see `ssan.encode_words`.
        attention: where the weights are: path of a submodule that is an attention known to us, or gives the weights as
            its output or as the last tensor of it; or a function of the module's output. None looks for what is known.
        inputs: `batch` -> a dict of arguments, a tuple of them, or the only one. None: by name for `transformers`, else
            the image, else the tokens.
        logits: the module's output -> (B, C). None: its `logits`, its first element, or itself.
        layer: which of the layers with attention, in the order they are called.
        heads: `mean`, or which head.
        query: whose attention: `cls` (the first position) or `mean` over all. None: `cls` where there is such a
            position and the answer is read from it.
        reduce: weights as the module has them -> (B, K), K positions or regions, instead of `heads` and `query`.
        regions: what can be hidden. None: words with a tokenizer, the grid of patches for images, else the task's.

    Raises:
        ValueError: if there is no attention to be found, or an argument is none of these.
        TypeError: if `module` is compiled, or no module.
    """
    return AttachedModel(
        module, tokenizer=tokenizer, attention=attention, inputs=inputs, logits=logits, layer=layer, heads=heads,
        query=query, reduce=reduce, regions=regions,
    )  # fmt: skip


class AttachedModel(AttentionModel):
    """What `attach` returns; `detach()`, or the end of a `with` block, leaves the module as it was found.

    Attributes:
        total, on_regions: (B,) how much attention there was in the last forward pass, and how much of it on regions;
            what lies on special tokens is the rest.
    """

    def __init__(self, module: nn.Module, **options: Any) -> None:
        super().__init__()
        if not isinstance(module, nn.Module):
            raise TypeError(f"attach needs a torch.nn.Module, got {type(module).__name__}")
        if hasattr(module, "_orig_mod"):
            raise TypeError("a compiled module shows no attention: attach the module that was given to torch.compile")
        heads, query = options["heads"], options["query"]
        if query not in (None, "cls", "mean"):
            raise ValueError(f"unknown query {query!r}: expected 'cls', 'mean' or None")
        if heads != "mean" and not isinstance(heads, int):
            raise ValueError(f"heads must be 'mean' or the number of a head, got {heads!r}")
        self.module, self.options, self.tap = module, options, None
        self.total = self.on_regions = None
        # Whose `config` says what the module is: nothing is imported for it.
        self.config = getattr(module, "config", None) if hasattr(module, "set_attn_implementation") else None
        self.regions = options["regions"]
        if self.regions is None and options["tokenizer"] is not None:
            self.regions = WordRegions.of(options["tokenizer"])
        self.grid, self.query = patches(module, self.config)
        if self.regions is None and self.grid is not None:
            self.regions = ImageGrid(self.grid)
        self.open()

    def open(self) -> AttachedModel:
        """Watch the module; done by `attach`."""
        if self.tap is None and not callable(self.options["attention"]):
            self.tap = find_tap(self.module, self.options["attention"], self.options["layer"])
        return self

    def detach(self) -> nn.Module:
        """Stop watching, and give the module back."""
        if self.tap is not None:
            self.tap.close()
            self.tap = None
        return self.module

    def __enter__(self) -> AttachedModel:
        return self.open()

    def __exit__(self, *_: object) -> None:
        self.detach()

    def __deepcopy__(self, memo: dict) -> AttachedModel:
        """A copy that watches its own copy of the module."""
        watched = self.tap is not None
        self.detach()
        memo[id(self)] = twin = self.__class__.__new__(self.__class__)
        memo[id(self.options)] = self.options  # shared: a tokenizer is large, and nobody writes into them
        try:
            twin.__dict__.update(copy.deepcopy(self.__dict__, memo))
        finally:
            if watched:
                self.open()
        return twin.open() if watched else twin

    def state_dict(self, *args: Any, **kwargs: Any) -> dict[str, Any]:
        """The module's, under its keys."""
        return self.module.state_dict(*args, **kwargs)

    def load_state_dict(self, *args: Any, **kwargs: Any) -> Any:
        """Into the module."""
        return self.module.load_state_dict(*args, **kwargs)

    def settle(self, batch: Batch) -> None:
        """Find the chosen layer, by one forward pass on an example, if that has not been done."""
        if self.tap is None or self.tap.chosen is not None:
            return
        self.tap.weights = []
        try:
            with torch.no_grad(), torch.random.fork_rng(), evaluating([self.module]):
                self._call(batch.select(slice(0, 1)))
            self.tap.settle()
        finally:
            self.tap.weights = None

    def forward(self, batch: Batch) -> Output:
        with self.watching(batch) as result:
            output = self._call(batch)
            result.append(output)
        return Output(self._logits(output), self.map_of(result[1], batch))

    @contextmanager
    def watching(self, batch: Batch) -> Iterator[list]:
        """One forward pass of the module on `batch` inside; afterwards the list's last entry are its weights.

        With `attention` a function, put the module's output into the list.
        """
        reads = callable(self.options["attention"])
        if self.tap is None and not reads:
            raise ValueError("the model was detached: open() watches its module again")
        self.settle(batch)
        result: list = []
        try:
            if not reads:
                self.tap.weights = []
            yield result
            result.append(self.options["attention"](result[-1]) if reads else self.tap.last())
        finally:
            if not reads:
                self.tap.weights = None

    def map_of(self, weights: Tensor, batch: Batch) -> Tensor:
        """(B, R): attention over the regions, from the weights of a forward pass on `batch`.

        Weights of several heads are averaged or chosen, those of several queries too; what lies on no region (special
        tokens, class tokens) is left out; the rest sums to 1.
        """
        positions, regions, n = self._positions(weights, batch), self.regions, len(batch)
        if positions.dim() != 2 or len(positions) != n:
            raise ValueError(
                f"the attention has shape {tuple(positions.shape)}, expected ({n}, positions): use reduce="
            )
        if isinstance(regions, WordRegions):
            kept = regions.pool(positions, batch)
        else:
            kept = positions if regions is None or regions.grid is None else self._cells(positions, regions.grid)
        if regions is None and batch.lengths is not None:
            regions = TokenRegions()
        exists = regions and regions.exists(batch, kept.shape[1])
        self.total, self.on_regions = positions.detach().sum(1), kept.detach().sum(1)
        stray = 0 if exists is None else float((kept.detach() * ~exists).max())
        if stray > 1e-6:
            raise ValueError(
                f"the attention gives {stray:.2g} to one of {kept.shape[1]} positions where an example has no region: "
                "padding must get 0, and reduce= must sum positions into regions where these are not the same"
            )
        return as_distribution(kept, exists)

    def _positions(self, weights: Tensor, batch: Batch) -> Tensor:
        """(B, K): the attention on each position."""
        options = self.options
        if not isinstance(weights, Tensor):
            raise ValueError(f"attention= returned {type(weights).__name__}, expected a tensor of weights")
        if options["reduce"] is not None:
            return options["reduce"](weights)
        weights = weights.float()
        if weights.dim() == 4 and self._is_gate(weights):
            return weights.flatten(1)
        if weights.dim() == 4:
            weights = weights.mean(1) if options["heads"] == "mean" else weights[:, options["heads"]]
        if weights.dim() == 3 and 1 != weights.shape[1] != weights.shape[2]:  # maps of several heads or hops
            weights = weights.mean(1) if options["heads"] == "mean" else weights[:, options["heads"]]
        if weights.dim() == 3:
            query = options["query"] or self.query
            weights = weights[:, 0] if query == "cls" or weights.shape[1] == 1 else self._mean(weights, batch)
        return weights

    def _is_gate(self, weights: Tensor) -> bool:
        """Whether a 4-d tensor is a picture of weights (B, 1, rows, columns), no attention of queries."""
        sums = weights.detach().sum(-1)
        return weights.shape[1] == 1 and bool(((sums - 1).abs() > 1e-2).any())

    @staticmethod
    def _mean(weights: Tensor, batch: Batch) -> Tensor:
        """Over the queries that exist."""
        if batch.lengths is None or weights.shape[1] != batch.tokens.shape[1]:
            return weights.mean(1)
        real = TokenRegions().exists(batch, weights.shape[1])
        return (weights * real[..., None]).sum(1) / batch.lengths[:, None]

    def _cells(self, positions: Tensor, grid: tuple[int, int]) -> Tensor:
        """(B, R): positions of patches summed into the cells of `grid`."""
        fine, count = self.grid, positions.shape[1]
        if fine is None:  # a class token or registers before a square of patches
            prefix = next((p for p in range(min(6, count)) if math.isqrt(count - p) ** 2 == count - p), None)
            if prefix is None:
                raise ValueError(f"the attention has {count} positions, which are no square of patches: use reduce=")
            fine = (math.isqrt(count - prefix),) * 2
        prefix = count - fine[0] * fine[1]
        if prefix < 0 or fine[0] % grid[0] or fine[1] % grid[1]:
            raise ValueError(
                f"the attention lies on {fine[0]}x{fine[1]} patches ({count} positions), the regions on "
                f"{grid[0]}x{grid[1]} cells: choose a grid whose rows and columns divide those of the patches, and the "
                f"attention is summed into it, or regions=ssan.ImageGrid({fine})"
            )
        cells = positions[:, prefix:].unflatten(1, (grid[0], fine[0] // grid[0], grid[1], fine[1] // grid[1]))
        return cells.sum((2, 4)).flatten(1)

    def _call(self, batch: Batch) -> Any:
        given = batch_inputs(self.config, batch) if self.options["inputs"] is None else self.options["inputs"](batch)
        if isinstance(given, dict):
            return self.module(**given)
        return self.module(*given) if isinstance(given, tuple) else self.module(given)

    def _logits(self, output: Any) -> Tensor:
        if self.options["logits"] is not None:
            return self.options["logits"](output)
        if hasattr(output, "logits"):
            return output.logits
        return output[0] if isinstance(output, tuple | list) else output

    @classmethod
    def fast_scorer(cls, teachers: list[AttentionModel], regions: Regions) -> type[Scorer] | None:  # noqa: ARG003
        return ByLength


class ByLength(Scorer):
    """Works on examples of like length together, about one at a time on a processor."""

    def order(self) -> Tensor:
        lengths = self.batch.lengths
        return super().order() if lengths is None else torch.argsort(lengths, stable=True)

    def chunk_size(self) -> int:
        if self.batch.tokens is None or self.batch.device.type != "cpu":
            return self.forward_size()
        return max(1, 2**9 // self.batch.tokens.shape[1])


def batch_inputs(config: Any | None, batch: Batch) -> Any:
    """What a module is called with when nobody says: by name for `transformers`, else the image or the tokens."""
    if config is None:
        return batch.image if batch.image is not None else batch.tokens
    given = {} if batch.image is None else {"pixel_values": batch.image}
    if batch.tokens is not None:
        real = TokenRegions().exists(batch, batch.tokens.shape[1])
        padding = getattr(config, "pad_token_id", None)
        given["input_ids"] = batch.tokens if padding is None else batch.tokens.where(real, padding)
        given["attention_mask"] = real.long()
    return given
