"""The sampling explorer: what the parameters of the search do to one example."""

from __future__ import annotations

from collections.abc import Sequence

import ipywidgets as widgets

from ssan.scorer import SCORES
from ssan.selectors import SELECTORS
from ssan.widgets.panel import Panel, control, example_slider, task_menu
from ssan.widgets.sampling import SAMPLERS, Sampling, explore
from ssan.widgets.sampling_picture import WIDTH, describe, draw
from ssan.widgets.subject import Subject, by_name

# What stands in the menu of grids for text. Not None, which these menus take for "nothing is chosen".
WORDS = {"words": (0, 0)}


class SamplingExplorer(Panel):
    """Turn the parameters of a search and see its variants, their scores, and the surrogate beside the clean attention.

    Example:
        >>> SamplingExplorer([Subject.of("movie", task, baseline)])           # last line of a notebook cell

    Args:
        subjects: what one may look at.
        state: where to begin; None begins with the first subject's usual sampler.

    Raises:
        ValueError: if there are no subjects, or two of the same name.
    """

    def __init__(self, subjects: Sequence[Subject], state: Sampling | None = None) -> None:
        self.subjects = by_name(subjects)
        first = next(iter(self.subjects.values()))
        self.task = task_menu(self.subjects)
        self.example = example_slider(len(first.examples))
        self.sampler = control(
            widgets.Dropdown, "Sampler", "Which regions are hidden in each variant", options=tuple(SAMPLERS)
        )
        self.blocks = control(
            widgets.Dropdown, "Grid", "How finely images are cut: cells that are hidden together", options=WORDS
        )
        self.window = control(
            widgets.IntSlider, "Window", "Words in a window, or cells to a side", value=2, min=1, max=6
        )
        self.keep = control(
            widgets.FloatSlider,
            "Keep",
            "Probability that a region is kept; of “keep k” the share that is kept",
            value=0.5,
            min=0.1,
            max=0.9,
            step=0.05,
        )
        self.n_masks = control(
            widgets.SelectionSlider,
            "Masks",
            "How many random masks are drawn",
            options=[16, 32, 64, 128, 256, 512],
            value=128,
        )
        self.fill = control(widgets.Dropdown, "Hidden shows", "What stands in place of what is hidden", options=[""])
        self.seed = control(widgets.IntSlider, "Seed", "Other random masks of the same kind", value=0, min=0, max=20)
        self.score = control(widgets.Dropdown, "Score", "What a variant is judged by", options=tuple(SCORES))
        self.selector = control(
            widgets.Dropdown, "Selector", "What makes the surrogate of all variants", options=tuple(SELECTORS)
        )
        self._to_subject(first)
        if state is not None:
            self._to_state(state)
        self._unused()
        rows = [
            [self.task, self.example, self.score],
            [self.sampler, self.blocks, self.window],
            [self.keep, self.n_masks, self.seed],
            [self.fill, self.selector],
        ]
        super().__init__(rows, WIDTH, "[the sampling explorer: run this cell in JupyterLab to move its sliders]")

    @property
    def subject(self) -> Subject:
        """What is looked at."""
        return self.subjects[self.task.value]

    @property
    def state(self) -> Sampling:
        """What the controls say."""
        return Sampling(
            self.example.value,
            self.sampler.value,
            None if self.subject.grid is None else self.blocks.value,
            self.window.value,
            self.keep.value,
            self.n_masks.value,
            self.seed.value,
            self.fill.value,
            self.score.value,
            self.selector.value,
        )

    def draw(self) -> tuple[bytes, str]:
        found = explore(self.subject, self.state)
        return draw(found), describe(found)

    def prepare(self, changed: widgets.Widget) -> None:
        if changed is self.task:
            self._to_subject(self.subject)
        self._unused()

    def _to_subject(self, subject: Subject) -> None:
        """Give the controls what there is to choose from for this subject, and its usual sampler."""
        self.example.max, self.example.value = len(subject.examples) - 1, 0
        self.fill.options = tuple(subject.hidings)
        self.blocks.options = WORDS if subject.grid is None else coarser(subject.grid)
        self.sampler.value = "pairs" if subject.grid is None else "hide windows"
        self.selector.value = "importance" if subject.grid is None else "ridge"

    def _to_state(self, state: Sampling) -> None:
        for name in ("example", "sampler", "window", "keep", "n_masks", "seed", "score", "selector"):
            getattr(self, name).value = getattr(state, name)
        for name in ("blocks", "fill"):
            if getattr(state, name) is not None:
                getattr(self, name).value = getattr(state, name)

    def _unused(self) -> None:
        """Grey out what the sampler has no use for."""
        for name in ("window", "keep", "n_masks", "seed"):
            getattr(self, name).disabled = name not in SAMPLERS[self.sampler.value]
        self.blocks.disabled = self.subject.grid is None


def coarser(grid: tuple[int, int]) -> dict[str, tuple[int, int]]:
    """Name -> (rows, columns): the grid itself, and what is left of it when cells are joined two by two, and again."""
    found, (rows, columns) = {}, grid
    while min(rows, columns) >= 2:
        found[f"{rows} x {columns}"] = (rows, columns)
        if rows % 2 or columns % 2:
            break
        rows, columns = rows // 2, columns // 2
    return found or {f"{grid[0]} x {grid[1]}": grid}
