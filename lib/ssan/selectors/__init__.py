"""Selectors: streaming reducers that turn the variants' scores and attention into one target per example.

A selector sees the variants in chunks and keeps running sums or a running best, never all variants at once. It is used
as `start(...)`, `update(...)` for every chunk, `finish()`. Variants of one example arrive in the order of their index.

| name | the target | from |
|---|---|---|
| `best` | attention on the best-scoring variant | the paper |
| `importance` | mean score with a region kept, less that with it hidden | ours |
| `ridge` | coefficients of a regression of the score on the mask | ours |
"""

from __future__ import annotations

from ssan.selectors.base import Chunk, Clean, Selector
from ssan.selectors.best import Best
from ssan.selectors.importance import Importance
from ssan.selectors.ridge import Ridge

__all__ = ["Best", "Importance", "Ridge"]
__all__ += ["SELECTORS", "Chunk", "Clean", "Selector", "make_selector"]

SELECTORS: dict[str, type[Selector]] = {"best": Best, "importance": Importance, "ridge": Ridge}


def make_selector(selector: str | Selector) -> Selector:
    """A selector from its name in `SELECTORS`, with its default settings, or itself; a ValueError if it is neither."""
    if hasattr(selector, "finish"):
        return selector
    if selector not in SELECTORS:
        raise ValueError(f"unknown selector {selector!r}: expected one of {', '.join(SELECTORS)}")
    return SELECTORS[selector]()
