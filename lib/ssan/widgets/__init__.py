"""Widgets for JupyterLab, made of core ipywidgets alone: no front-end code of this package's own.

`SamplingExplorer`, `MaskPainter` and `BeforeAfter` each draw one picture from a few controls. What they
draw is made by plain functions beside them (a state -> a picture and a text), which need no kernel and no browser.

Example:
    >>> explorer = SamplingExplorer([Subject.of("movie", task, baseline)])
    >>> explorer                                                         # the last line of a cell shows it
    >>> explorer.show(sampler="random", keep=0.3).figure()               # a picture of one state, for the page
"""

from ssan.widgets.before_after import BeforeAfter, Comparison
from ssan.widgets.blocks import Blocks
from ssan.widgets.explorer import Sampling, SamplingExplorer, explore, gallery
from ssan.widgets.painter import MaskPainter, paint
from ssan.widgets.subject import Subject

__all__ = ["BeforeAfter", "MaskPainter", "SamplingExplorer"]
__all__ += ["Blocks", "Comparison", "Sampling", "Subject"]
__all__ += ["explore", "gallery", "paint"]
