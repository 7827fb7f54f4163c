"""Widgets for JupyterLab, made of core ipywidgets alone: no front-end code of this package's own.

`SamplingExplorer`, `MaskPainter`, `BeforeAfter` and `LossExplorer` each draw one picture from a few controls. What they
draw is made by plain functions (`sampling`, `painting`, `comparison`, `ablation`: a state -> a picture and a text),
which need no kernel and no browser.

Example:
    >>> explorer = SamplingExplorer([Subject.of("movie", task, baseline)])
    >>> explorer                                                         # the last line of a cell shows it
    >>> explorer.show(sampler="random", keep=0.3).figure()               # a picture of one state, for the page
"""

from ssan.widgets.before_after import BeforeAfter
from ssan.widgets.comparison import Comparison
from ssan.widgets.explorer import SamplingExplorer
from ssan.widgets.loss_explorer import LossExplorer
from ssan.widgets.painter import MaskPainter
from ssan.widgets.sampling import Sampling
from ssan.widgets.subject import Subject

__all__ = ["BeforeAfter", "Comparison", "LossExplorer", "MaskPainter", "Sampling", "SamplingExplorer", "Subject"]
