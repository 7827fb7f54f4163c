"""The loss explorer: what each attention loss does at each weight, from rows and maps that were made before."""

from __future__ import annotations

import ipywidgets as widgets
import pandas as pd

from ssan.report import METRICS
from ssan.widgets import loss_maps
from ssan.widgets.ablation import WIDTH, Choice, Drawer, check_rows, describe, losses_of, qualities, weights_of
from ssan.widgets.panel import Panel, control


class LossExplorer(Panel):
    """Choose a loss and its weight, and see accuracy and quality of attention among all that was tried, and examples.

    Args:
        rows: a row for each task, loss, weight and seed, with `accuracy` and some of `ssan.report.METRICS`. Rows of
            weight 0 are no supervision, whatever their loss is called. `ssan.widgets.ablation.of_study` makes such rows
            of a study's.
        maps: attention on a few test examples for each task, loss and weight, as `ssan.gallery_losses.loss_maps` makes
            them; None shows numbers alone.

    Raises:
        ValueError: if columns or rows are missing.
    """

    def __init__(self, rows: pd.DataFrame, maps: pd.DataFrame | None = None) -> None:
        check_rows(rows)
        if maps is not None:
            loss_maps.check_maps(maps)
        self.rows, self.maps = rows, maps
        tasks = tuple(rows["task"].unique())
        self.task = control(widgets.Dropdown, "Task", "Which task the rows are of", options=tasks)
        self.loss = control(widgets.Dropdown, "Loss", "The distance between attention and target", options=[""])
        self.weight = control(
            widgets.SelectionSlider, "Weight", "How much it counts beside the cross-entropy", options=[("", 0.0)]
        )
        self.metric = control(widgets.Dropdown, "Quality", "What is asked of the attention", options=[""])
        self._to_task()
        self._draw = Drawer()
        super().__init__(
            [[self.task, self.metric], [self.loss, self.weight]],
            WIDTH,
            "[the loss explorer: run this cell in JupyterLab to choose losses and weights]",
        )

    @property
    def state(self) -> Choice:
        """What the controls say."""
        return Choice(self.task.value, self.loss.value, self.weight.value, self.metric.value)

    def draw(self) -> tuple[bytes, str]:
        state, said = self.state, describe(self.rows, self.state)
        if self.maps is None:
            return self._draw(self.rows, state), said
        pairs = loss_maps.pairs_of(self.maps, state.task, state.loss, state.weight)
        return self._draw(self.rows, state, pairs), said + loss_maps.describe(pairs)

    def prepare(self, changed: widgets.Widget) -> None:
        if changed is self.task:
            self._to_task()
        elif changed is self.loss:
            self._to_loss()

    def _to_task(self) -> None:
        """Offer the losses and qualities that this task has rows of."""
        names = qualities(self.rows, self.task.value)
        _offer(self.metric, [(METRICS[name].split(" (")[0], name) for name in names])
        _offer(self.loss, [(loss, loss) for loss in losses_of(self.rows, self.task.value)])
        self._to_loss()

    def _to_loss(self) -> None:
        """Offer the weights that this loss was tried with."""
        weights = weights_of(self.rows, self.task.value, self.loss.value)
        _offer(self.weight, [(f"{weight:g}", weight) for weight in weights])


def _offer(menu: widgets.Dropdown | widgets.SelectionSlider, options: list[tuple[str, object]]) -> None:
    """Give a menu new options; it stays at what was chosen where that is still among them, else goes to the first."""
    before = menu.value
    menu.options = options
    values = [value for _, value in options]
    menu.value = before if before in values else values[0]
