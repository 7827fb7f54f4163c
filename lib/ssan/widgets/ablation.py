"""Rows of many losses and weights, and one of them looked at: the loss explorer without widgets."""

from __future__ import annotations

from dataclasses import dataclass

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from ssan import plots
from ssan.report import METRICS
from ssan.statistics import paired_difference
from ssan.widgets import loss_maps
from ssan.widgets.canvas import Canvas

# Room for axis and legend is left by hand: working it out takes longer than all the drawing.
_STYLE = plots.STYLE | {"figure.constrained_layout.use": False}
COLUMNS = ("task", "loss", "weight", "seed", "accuracy")
WIDTH = 800
_SIZE, _DPI = (8.0, 4.2), 130


@dataclass(frozen=True)
class Choice:
    """What the controls of the loss explorer say: a loss and its weight on a task, and which quality is asked about."""

    task: str
    loss: str
    weight: float
    metric: str


def of_study(rows: pd.DataFrame) -> pd.DataFrame:
    """Those rows of a study's ablations that vary the loss and its weight, and its unsupervised baseline as weight 0.

    Args:
        rows: as `ssan.study` writes them: `axis` names what was varied (`loss kl`), `value` says to what.

    Raises:
        ValueError: if these columns are missing.
    """
    if missing := [name for name in ("axis", "value", "condition") if name not in rows]:
        raise ValueError(f"rows of ablations have the columns axis, value and condition, here {missing} are missing")
    rows = rows.reset_index(drop=True)  # files laid end to end bring their numbers twice
    axis = rows["axis"].fillna("")
    varied = rows[axis.str.startswith("loss ")]
    names, weights = axis[varied.index].str.removeprefix("loss "), varied["value"].astype(float)
    plain = rows[(axis == "") & (rows["condition"] == "baseline")]
    return pd.concat([plain.assign(loss="none", weight=0.0), varied.assign(loss=names, weight=weights)])


def check_rows(rows: pd.DataFrame) -> None:
    """Raise ValueError unless `rows` has what is needed: `COLUMNS` and at least one quality of attention."""
    missing = [name for name in COLUMNS if name not in rows]
    if missing or not len(rows):
        raise ValueError(
            f"rows need the columns {', '.join(COLUMNS)} and at least one row, got {len(rows)} rows of "
            f"{', '.join(map(str, rows.columns))}"
        )
    if not (rows["weight"] > 0).any():
        raise ValueError("rows need at least one loss with a weight above 0: all weights are 0")
    if without := [task for task in rows["task"].unique() if not qualities(rows, task)]:
        known = ", ".join(name for name in METRICS if name != "accuracy")
        raise ValueError(f"rows of {', '.join(without)} have no quality of attention: expected one of {known}")


def qualities(rows: pd.DataFrame, task: str) -> list[str]:
    """The qualities of attention that the rows of `task` have."""
    own = rows[rows["task"] == task]
    return [name for name in METRICS if name != "accuracy" and name in own and own[name].notna().any()]


def weights_of(rows: pd.DataFrame, task: str, loss: str) -> list[float]:
    """The weights above 0 that `loss` was tried with on `task`, ascending."""
    own = rows[(rows["task"] == task) & (rows["loss"] == loss) & (rows["weight"] > 0)]
    return sorted(own["weight"].unique().tolist())


def losses_of(rows: pd.DataFrame, task: str) -> list[str]:
    """The losses that were tried on `task`, in the order of the rows."""
    return list(dict.fromkeys(rows.loc[(rows["task"] == task) & (rows["weight"] > 0), "loss"]))


def describe(rows: pd.DataFrame, choice: Choice) -> str:
    """The chosen loss and weight in numbers: means, and paired differences to no supervision where there are rows."""
    own = _of(rows, choice.task, choice.loss, choice.weight)
    if not len(own):
        return f"There is no row of {choice.task} with the loss {choice.loss} at weight {choice.weight:g}."
    seeds = f"{len(own)} seed" + "s" * (len(own) > 1)
    said = [f"{choice.task}, loss {choice.loss}, weight {choice.weight:g}, mean over {seeds}:"]
    plain = rows[(rows["task"] == choice.task) & (rows["weight"] == 0)].drop_duplicates("seed")
    for name in ("accuracy", choice.metric):
        mean = f"{METRICS[name].split(' (')[0]} {own[name].mean():.3f}"
        both = own.merge(plain, on="seed", suffixes=("", "_plain"))
        if len(both):
            mean += f", minus no supervision {paired_difference(both[name], both[f'{name}_plain'])}"
        said.append(mean + ";")
    return " ".join(said)[:-1] + "."


def _of(rows: pd.DataFrame, task: str, loss: str, weight: float) -> pd.DataFrame:
    return rows[(rows["task"] == task) & (rows["loss"] == loss) & (rows["weight"] == weight)]


class Drawer:
    """Draws choices one after the other on the same sheet, which saves making a new one each time."""

    def __init__(self) -> None:
        with mpl.rc_context(_STYLE):
            self._figure = Figure(figsize=_SIZE, dpi=_DPI)
            self._canvas = FigureCanvasAgg(self._figure)
            self._ax = self._figure.subplots()
            self._figure.subplots_adjust(left=0.09, right=0.74, bottom=0.13, top=0.92)

    def __call__(self, rows: pd.DataFrame, choice: Choice, pairs: pd.DataFrame | None = None) -> bytes:
        """A PNG file: accuracy against quality for all losses and weights of the task, the chosen one ringed.

        Below that the attention on a few examples with and without it: `pairs`, from `loss_maps.pairs_of`.
        """
        with mpl.rc_context(_STYLE):
            self._ax.clear()
            own = rows[rows["task"] == choice.task]
            tried = len(_of(rows, choice.task, choice.loss, choice.weight))
            chosen = (choice.loss, choice.weight) if tried else None
            plots.trade_off(own, choice.metric, METRICS[choice.metric], chosen, self._ax)
            what = "means over seeds" if own["seed"].nunique() > 1 else "one seed"
            self._ax.set_title(f"{choice.task}: {what}, weights beside the points", loc="left", fontsize=10)
            self._canvas.draw()
            plot = np.asarray(self._canvas.buffer_rgba())[..., :3]
        scale = _SIZE[0] * _DPI / WIDTH
        tall = WIDTH * _SIZE[1] / _SIZE[0]
        below = 0 if pairs is None else loss_maps.height(Canvas(WIDTH, 1, scale), pairs)
        sheet = Canvas(WIDTH, tall + below, scale)
        sheet.paste(0, 0, plot, WIDTH)
        if below:
            loss_maps.draw(sheet, tall, pairs, f"{choice.loss}, {choice.weight:g}")
        return sheet.png()
