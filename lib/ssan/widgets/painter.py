"""The mask painter: click words or cells away, and see score, answer and attention move."""

from __future__ import annotations

from collections.abc import Sequence

import ipywidgets as widgets

from ssan.scorer import SCORES
from ssan.widgets.painting import WIDTH, Painting, best_mask, describe, draw, paint
from ssan.widgets.panel import Panel, control, example_slider, task_menu
from ssan.widgets.subject import Subject, by_name

CELL = 34  # pixels to a side of a button


class MaskPainter(Panel):
    """A button for every region of one example: pressed is hidden.

    Args:
        subjects: what one may paint on.

    Raises:
        ValueError: if there are no subjects, or two of the same name.
    """

    def __init__(self, subjects: Sequence[Subject]) -> None:
        self.subjects = by_name(subjects)
        first = next(iter(self.subjects.values()))
        self.task = task_menu(self.subjects)
        self.example = example_slider(len(first.examples))
        self.fill = control(
            widgets.Dropdown, "Hidden shows", "What stands in place of what is hidden", options=tuple(first.hidings)
        )
        self.score = control(widgets.Dropdown, "Score", "What the input is judged by", options=tuple(SCORES))
        self.keep_all = widgets.Button(description="Keep all", tooltip="Show every region again")
        self.best = widgets.Button(
            description="Best variant", tooltip="The mask that scores best of all pairs of words, or 2 x 2 windows"
        )
        self.on_click(self.keep_all, self.hide)
        self.on_click(self.best, self._best)
        self.regions = widgets.Box()
        self._buttons: list[widgets.ToggleButton] = []
        self._word = widgets.Layout(width="auto", height=f"{CELL}px", margin="2px")
        self._cell = widgets.Layout(width=f"{CELL}px", height=f"{CELL}px", padding="0", margin="0")
        self._lay_out()
        rows = [
            [self.task, self.example],
            [self.fill, self.score],
            [self.keep_all, self.best],
        ]
        fallback = "[the mask painter: run this cell in JupyterLab to click words and cells away]"
        super().__init__(rows, WIDTH, fallback, [self.regions])

    @property
    def subject(self) -> Subject:
        """What is painted on."""
        return self.subjects[self.task.value]

    @property
    def state(self) -> Painting:
        """What the controls say."""
        kept = tuple(not button.value for button in self.shown)
        return Painting(self.example.value, kept, self.fill.value, self.score.value)

    @property
    def shown(self) -> Sequence[widgets.ToggleButton]:
        """The buttons of this example's regions, in their order."""
        return self.regions.children

    def hide(self, *places: int) -> MaskPainter:
        """Hide the regions at `places` (from 0) and keep all others.

        Raises:
            ValueError: if there is no such region; the status line says so.
        """
        with self.telling():
            if wrong := [place for place in places if place not in range(len(self.shown))]:
                raise ValueError(
                    f"cannot hide {', '.join(map(repr, wrong))}: this example has {len(self.shown)} regions, "
                    f"expected numbers from 0 to {len(self.shown) - 1}"
                )
        with self.held():
            for place, button in enumerate(self.shown):
                button.value = place in places
        return self

    def draw(self) -> tuple[bytes, str]:
        found = paint(self.subject, self.state)
        return draw(found), describe(found)

    def _best(self) -> None:
        kept = best_mask(self.subject, self.state)
        self.hide(*(place for place, keeps in enumerate(kept) if not keeps))

    def prepare(self, changed: widgets.Widget) -> None:
        if changed is self.task:
            self.example.max, self.example.value = len(self.subject.examples) - 1, 0
            self.fill.options = tuple(self.subject.hidings)
        if changed in (self.task, self.example):
            self._lay_out()
        if changed in self._buttons:
            self._name(changed, self._names[self._buttons.index(changed)])

    def _lay_out(self) -> None:
        """A button for each region of the example, none pressed: words in lines, cells in their grid."""
        self._names = names = self.subject.region_names(self.subject.example(self.example.value))
        grid = self.subject.grid
        while len(self._buttons) < len(names):  # they are kept: making widgets takes longer than naming them anew
            button = widgets.ToggleButton()
            button.observe(self.changed, "value")
            self._buttons.append(button)
        for button, name in zip(self._buttons, names, strict=False):
            with button.hold_sync():
                button.value = False
                button.layout = self._word if grid is None else self._cell
                self._name(button, name)
        if grid is None:
            layout = {"display": "flex", "flex_flow": "row wrap", "width": "100%"}
        else:
            layout = {"display": "grid", "grid_template_columns": f"repeat({grid[1]}, {CELL}px)", "grid_gap": "2px"}
        self.regions.layout = widgets.Layout(**layout, align_content="flex-start")
        self.regions.children = self._buttons[: len(names)]

    def _name(self, button: widgets.ToggleButton, name: str) -> None:
        """What a button says: its word, or a cross where a cell is hidden, so that colour is not all that tells."""
        text = self.subject.grid is None
        button.description = name if text else ("×" if button.value else "·")
        button.button_style = "warning" if button.value else ""
        button.tooltip = f"{name}: {'hidden' if button.value else 'kept'}"
