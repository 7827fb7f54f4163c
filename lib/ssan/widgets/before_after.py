"""The before/after browser: what supervision did to single test examples."""

from __future__ import annotations

from collections.abc import Sequence

import ipywidgets as widgets

from ssan.widgets.comparison import FILTERS, WIDTH, Browsing, Comparison, describe, draw
from ssan.widgets.panel import Panel, control


class BeforeAfter(Panel):
    """Leaf through the test examples that retraining fixed, broke, or left right, largest change of attention first.

    Args:
        comparisons: pairs of models, each on the examples of its task.

    Raises:
        ValueError: if there are none, or two of the same name.
    """

    def __init__(self, comparisons: Sequence[Comparison]) -> None:
        self.comparisons = {one.name: one for one in comparisons}
        if not self.comparisons or len(self.comparisons) < len(comparisons):
            raise ValueError(f"expected comparisons of different names, got {[one.name for one in comparisons]}")
        self.models = control(
            widgets.Dropdown, "Models", "Which two models are compared", options=tuple(self.comparisons), width="520px"
        )
        self.which = control(
            widgets.Dropdown,
            "Show",
            "Fixed: wrong before, right after; broken: the reverse; kept: right twice",
            options=FILTERS,
        )
        self.place = control(
            widgets.IntSlider, "Number", "From the largest change of attention to the smallest", min=1, max=1, value=1
        )
        self._count()
        rows = [[self.models], [self.which, self.place]]
        super().__init__(
            rows, WIDTH, "[the before/after browser: run this cell in JupyterLab to leaf through examples]"
        )

    @property
    def compared(self) -> Comparison:
        """Which two models."""
        return self.comparisons[self.models.value]

    @property
    def state(self) -> Browsing:
        """What the controls say."""
        return Browsing(self.which.value, self.place.value - 1)

    def draw(self) -> tuple[bytes, str]:
        return draw(self.compared, self.state), describe(self.compared, self.state)

    def prepare(self, changed: widgets.Widget) -> None:
        if changed is not self.place:
            self._count()

    def _count(self) -> None:
        """As many numbers as there are examples of this kind, and the first of them."""
        self.place.value = 1
        self.place.max = max(1, len(self.compared.rows(self.which.value)))
