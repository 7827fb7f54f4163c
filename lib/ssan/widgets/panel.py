"""What every widget of this package is made of: controls, one picture, a sentence about it, and a line for errors."""

from __future__ import annotations

import base64
import html
import io
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TypeVar

import ipywidgets as widgets
import PIL.Image
from traitlets import TraitError

W = TypeVar("W", bound=widgets.Widget)
P = TypeVar("P", bound="Panel")


def control(kind: Callable[..., W], description: str, tooltip: str, **options) -> W:
    """A control with a label and a tooltip; sliders report where they were let go, not every place on the way."""
    if issubclass(kind, (widgets.IntSlider, widgets.FloatSlider, widgets.SelectionSlider)):
        options = {"continuous_update": False} | options
    layout = widgets.Layout(width=options.pop("width", "310px"))
    style = {"description_width": "105px"}
    return kind(description=description, tooltip=tooltip, layout=layout, style=style, **options)


def task_menu(names: Iterable[str]) -> widgets.Dropdown:
    """Which of several subjects."""
    return control(widgets.Dropdown, "Task", "Which task, and with it which trained model", options=tuple(names))


def example_slider(n: int) -> widgets.IntSlider:
    """Which of `n` examples."""
    return control(widgets.IntSlider, "Example", "Which example", value=0, min=0, max=n - 1)


@dataclass(frozen=True)
class Picture:
    """A picture for a page that is read without a kernel; notebooks show it when a cell ends with it.

    Attributes:
        png: the file.
        width: in pixels of a plain screen.
        alt: what it shows, in words.
    """

    png: bytes
    width: int
    alt: str

    def _repr_mimebundle_(self, **_: object) -> tuple[dict[str, str], dict[str, dict[str, object]]]:
        data = {"image/png": base64.b64encode(self.png).decode(), "text/plain": self.alt}
        return data, {"image/png": {"width": self.width, "alt": self.alt}}


class Panel:
    """A widget that draws one picture from its controls.

    Subclasses make their controls, call `super().__init__`, and implement `draw`, and `prepare` where a control has a
    say in what others offer. What goes wrong is said in the status line in plain words, kept in `error`, and raised:
    Jupyter writes it to its log, a test fails.

    Args:
        controls: rows of controls; a change of any of them draws anew, once.
        width: of the picture, in pixels.
        fallback: what stands in a stored notebook in place of the live widget.
        beside: what stands to the left of the picture, or above it where there is not enough room.
    """

    def __init__(
        self,
        controls: Sequence[Sequence[widgets.Widget]],
        width: int,
        fallback: str,
        beside: Sequence[widgets.Widget] = (),
    ) -> None:
        # One picture whose bytes change: making a new one for each state would flicker. Left to itself, a picture in
        # a box of widgets is stretched to the width of the notebook.
        self.picture = widgets.Image(format="png", layout=widgets.Layout(width=f"{width}px", max_width="100%"))
        self.picture.layout.flex = "0 0 auto"
        self.summary = widgets.HTML(layout=widgets.Layout(max_width=f"{width}px"))
        self.status = widgets.HTML()
        self.said, self.error = "", None
        self._fallback, self._width, self._held = fallback, width, False
        rows = [widgets.HBox(row, layout=widgets.Layout(flex_flow="row wrap")) for row in controls]
        body = widgets.HBox([*beside, self.picture], layout=widgets.Layout(flex_flow="row wrap"))
        self.box = widgets.VBox([*rows, self.status, body, self.summary])
        for row in controls:
            for one in row:
                if "value" in one.traits():
                    one.observe(self.changed, "value")
        self.refresh()

    def draw(self) -> tuple[bytes, str]:
        """The picture of the controls' state as a PNG file, and the same in words."""
        raise NotImplementedError

    def prepare(self, changed: widgets.Widget) -> None:
        """Bring the other controls in line after one was `changed`, before anything is drawn."""

    def changed(self, change: dict[str, object]) -> None:
        """What happens when somebody turns a control."""
        with self.telling(), self.held():
            self.prepare(change["owner"])

    def on_click(self, button: widgets.Button, action: Callable[[], object]) -> None:
        """Let `button` do `action`. What goes wrong is told as ever, though a button's callbacks cannot raise it."""

        def clicked(_: widgets.Button) -> None:
            with self.telling():
                action()

        button.on_click(clicked)

    def refresh(self) -> None:
        """Draw the state of the controls."""
        if self._held:
            return
        with self.telling():
            png, said = self.draw()
            self.picture.value, self.said = png, said
            # JupyterLab's class for running text; without it lines stand as far apart as controls do.
            self.summary.value = f'<div class="jp-RenderedHTMLCommon"><p>{html.escape(said)}</p></div>'

    @contextmanager
    def telling(self) -> Iterator[None]:
        """Says in the status line what goes wrong inside, and raises it all the same."""
        try:
            yield
        except Exception as error:
            self.error = error
            said = str(error) if isinstance(error, ValueError) else f"{type(error).__name__}: {error}"
            self._tell(f"That did not work: {said}. The picture still shows the state before.")
            raise
        self.error = None
        self._tell("")

    def _tell(self, said: str) -> None:
        # `role` makes screen readers read it out when it changes. JupyterLab lets no styles through, but tags.
        self.status.value = f'<div role="status">{f"<b>⚠ {html.escape(said)}</b>" if said else ""}</div>'

    @contextmanager
    def held(self) -> Iterator[None]:
        """Changes of several controls, drawn once at the end."""
        before, self._held = self._held, True
        try:
            yield
        finally:
            self._held = before
        self.refresh()

    def show(self: P, **values: object) -> P:
        """Set controls by their names, in the order given, and draw once; those not named stay as they are.

        Raises:
            AttributeError: if there is no control of a name, with the names there are.
            ValueError: if a value is not among a control's, with those that are; the status line says so.
        """
        with self.telling(), self.held():
            for name, value in values.items():
                self._set(name, value)
        return self

    def _set(self, name: str, value: object) -> None:
        shown = (self.picture, self.summary, self.status)
        own = {key: one for key, one in vars(self).items() if isinstance(one, widgets.Widget) and one not in shown}
        there = {key: one for key, one in own.items() if one.has_trait("value")}
        if name not in there:
            raise AttributeError(f"no control is called {name!r}: expected one of {', '.join(sorted(there))}")
        one, offered = there[name], ""
        if one.has_trait("options"):
            offered = f"one of {', '.join(repr(option) for option in one.options)}"
        elif one.has_trait("max"):
            offered = f"a number from {one.min} to {one.max}"
        if one.has_trait("max") and isinstance(value, int | float) and not one.min <= value <= one.max:
            raise ValueError(f"{name} cannot be {value!r}: expected {offered}")
        try:
            one.value = value
        except TraitError as error:
            raise ValueError(f"{name} cannot be {value!r}: expected {offered}") from error

    @property
    def png(self) -> bytes:
        """The picture as it is now."""
        return bytes(self.picture.value)

    def figure(self) -> Picture:
        """The picture as it is now, for pages that are read without a kernel; its alternative text is the summary."""
        # 256 colours are enough for these pictures, and a stored notebook is to stay small.
        small = io.BytesIO()
        picture = PIL.Image.open(io.BytesIO(self.png)).convert("RGB")
        picture.quantize(256, PIL.Image.Quantize.MAXCOVERAGE).save(small, "PNG", optimize=True)
        return Picture(small.getvalue(), self._width, self.said)

    def _repr_mimebundle_(self, **options: object) -> dict[str, object]:
        return self.box._repr_mimebundle_(**options) | {"text/plain": self._fallback}
