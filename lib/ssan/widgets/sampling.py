"""What one search finds on one example, with everything there is to look at: the sampling explorer without widgets."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor

from ssan.batch import Batch
from ssan.regions import Regions
from ssan.samplers import HideWindows, KeepK, KeepWindows, Pairs, RandomMasks, Rise, Singles
from ssan.search import find_surrogates, replay
from ssan.selectors import Chunk, Clean, Selector, make_selector
from ssan.variants import Sampler
from ssan.widgets.blocks import Blocks
from ssan.widgets.subject import Subject

# Sampler -> which parameters it has.
SAMPLERS: dict[str, tuple[str, ...]] = {
    "pairs": (),
    "singles": (),
    "hide windows": ("window",),
    "keep windows": ("window",),
    "random": ("keep", "n_masks", "seed"),
    "keep k": ("keep", "n_masks", "seed"),
    "rise": ("keep", "n_masks", "seed"),
}


@dataclass(frozen=True)
class Sampling:
    """What the controls of the sampling explorer say.

    Attributes:
        example: place among the subject's examples.
        sampler: see `SAMPLERS`.
        blocks: (rows, columns) of the blocks of cells that are hidden together; None for single cells, and for text.
        window: of the window samplers: words, or blocks to a side.
        keep: probability that a region is kept; `keep k` keeps this share of the regions.
        n_masks: number of masks of the random samplers.
        seed: of the random samplers.
        fill: what hidden regions show, a name in `Subject.hidings`; None for the task's own.
        score: what a variant is judged by.
        selector: what makes the surrogate.
    """

    example: int = 0
    sampler: str = "pairs"
    blocks: tuple[int, int] | None = None
    window: int = 2
    keep: float = 0.5
    n_masks: int = 128
    seed: int = 0
    fill: str | None = None
    score: str = "logit"
    selector: str = "importance"


def make_sampler(state: Sampling, n_regions: int, grid: tuple[int, int] | None) -> Sampler:
    """The sampler that `state` asks for, for an example of `n_regions` regions (on `grid`, if they are cells).

    Raises:
        ValueError: if the sampler is unknown, or its numbers do not fit the example.
    """
    if state.sampler not in SAMPLERS:
        raise ValueError(f"unknown sampler {state.sampler!r}: expected one of {', '.join(SAMPLERS)}")
    blocks = grid if state.blocks is None else state.blocks
    if grid is not None and state.sampler == "rise":
        # RISE has a lattice of its own, laid over the pixels: there the blocks say how fine that is.
        return Rise(state.n_masks, blocks[0], state.keep, state.seed, grid)
    n = n_regions if grid is None else blocks[0] * blocks[1]
    k = max(1, round(state.keep * n))
    sampler = {
        "pairs": lambda: Pairs(),
        "singles": lambda: Singles(),
        "hide windows": lambda: HideWindows(state.window, blocks),
        "keep windows": lambda: KeepWindows(state.window, blocks),
        "random": lambda: RandomMasks(state.n_masks, state.keep, state.seed),
        "keep k": lambda: KeepK(state.n_masks, k, state.seed),
        "rise": lambda: Rise(state.n_masks, keep=state.keep, seed=state.seed),
    }[state.sampler]()
    return sampler if grid is None or blocks == grid else Blocks(sampler, grid, blocks)


@dataclass
class Recording:
    """A selector that does what another does, and keeps the index, score and mask of every variant besides.

    For one example and for looking at it: it needs memory for all variants, which a search must not.
    """

    selector: Selector
    _chunks: list[Chunk] = field(init=False, default_factory=list)
    _clean: Clean = field(init=False, repr=False)

    def start(self, clean: Clean) -> None:
        self._chunks, self._clean = [], clean
        self.selector.start(clean)

    def update(self, chunk: Chunk, improved: Tensor) -> None:
        self._chunks.append(chunk)
        self.selector.update(chunk, improved)

    def finish(self) -> Tensor:
        return self.selector.finish()

    @property
    def score(self) -> Tensor:
        """(M,): of all variants in order of index, the clean one first."""
        return torch.cat([self._clean.score, *(chunk.score for chunk in self._chunks)])

    @property
    def kept(self) -> Tensor:
        """(M, R): their masks."""
        every = [chunk.kept.float() for chunk in self._chunks]
        return torch.cat([self._clean.exists[:, : every[0].shape[1] if every else None].float(), *every])


@dataclass(frozen=True)
class Explored:
    """One search on one example.

    Attributes:
        subject, state: what was asked for.
        example: a batch of one.
        regions: what was hidden, and how.
        score: (M,), of all variants in order of index; 0 is the clean input.
        kept: (M, R) in [0, 1], their masks.
        best: index of the best variant, by the rule of the search.
        clean: (R,), the attention on the clean input.
        surrogate: (R,), what the selector made of the variants.
        shown: (K,), indices of the variants in the gallery, from the best to the worst score.
        shown_attention: (K, R), the attention on each of them.
        shown_image: (K, C, H, W), what the model saw of each; None for text.
    """

    subject: Subject
    state: Sampling
    example: Batch
    regions: Regions
    score: Tensor
    kept: Tensor
    best: int
    clean: Tensor
    surrogate: Tensor
    shown: Tensor
    shown_attention: Tensor
    shown_image: Tensor | None


def gallery(score: Tensor, n: int = 9) -> Tensor:
    """(min(n, M),) which variants to show of scores (M,): a third the best, a third a spread, a third the worst.

    The spread lies at equal steps of rank between the other two. From the best score to the worst; of equal scores
    the lower index comes first.
    """
    order = score.argsort(descending=True, stable=True)
    if len(order) <= n:
        return order
    third = n // 3
    rest, wanted = len(order) - 2 * third, n - 2 * third
    middle = third + (2 * torch.arange(wanted) + 1) * rest // (2 * wanted)
    return torch.cat([order[:third], order[middle], order[len(order) - third :]])


def explore(subject: Subject, state: Sampling) -> Explored:
    """Search one example as `state` says. Takes one search and one forward pass over the gallery.

    Raises:
        ValueError: if `state` names what is not there, or numbers that do not fit.
    """
    example = subject.example(state.example)
    regions = subject.hiding(state.fill)
    n_regions = int(subject.task.regions.count(example))
    sampler = make_sampler(state, n_regions, subject.grid)
    recording = Recording(make_selector(state.selector))
    asked = {"score": state.score, "regions": regions}
    found = find_surrogates(subject.model, example, sampler, selector=recording, **asked)

    score = recording.score
    shown = gallery(score)
    copies = example.select([0] * len(shown))
    _, attention = replay(subject.model, copies, sampler, shown, **asked)
    image = copies.image
    if image is not None and not regions.on_features:
        rows = torch.arange(len(shown), device=shown.device)
        image = regions.variants(copies, copies, rows, shown, sampler)[0].image
    return Explored(
        subject,
        state,
        example,
        regions,
        score,
        recording.kept[:, :n_regions],
        int(found.index),
        found.clean_attention[0, :n_regions],
        found.attention[0, :n_regions],
        shown,
        attention[:, :n_regions],
        image,
    )
