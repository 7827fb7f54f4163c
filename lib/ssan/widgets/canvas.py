"""A sheet to draw on, with Pillow: a widget redraws at every turn of a control, and must not take a tenth of a second.

All lengths are in pixels of a plain screen; the sheet itself is finer by `scale`, so that letters are sharp on others.
"""

from __future__ import annotations

import functools
import io
from pathlib import Path

import matplotlib as mpl
import numpy as np
from PIL import Image, ImageDraw, ImageFont

INK, FAINT, LINE = "#1a1a1a", "#595959", "#b0b0b0"
BLUE, ORANGE = "#0072B2", "#D55E00"  # Okabe and Ito's, as everywhere in this package
SIZE = 13  # of ordinary type


@functools.cache
def _font(size: int, bold: bool) -> ImageFont.FreeTypeFont:
    name = "DejaVuSans-Bold.ttf" if bold else "DejaVuSans.ttf"
    return ImageFont.truetype(str(Path(mpl.get_data_path()) / "fonts" / "ttf" / name), size)


@functools.lru_cache(maxsize=4096)
def _length(words: str, size: int, bold: bool) -> float:
    return _font(size, bold).getlength(words)


@functools.lru_cache(maxsize=4096)
def _letters(words: str, size: int, bold: bool) -> tuple[Image.Image, int, int]:
    """Words as a mask, and where it lies seen from the left end of their middle line: a picture repeats its words."""
    font = _font(size, bold)
    left, top, right, bottom = font.getbbox(words, anchor="lm")
    mask = Image.new("L", (max(1, right - left), max(1, bottom - top)))
    ImageDraw.Draw(mask).text((-left, -top), words, fill=255, font=font, anchor="lm")
    return mask, left, top


@functools.cache
def palette(name: str) -> np.ndarray:
    """(256, 3) uint8, a colour map of matplotlib."""
    return (mpl.colormaps[name](np.linspace(0, 1, 256))[:, :3] * 255).round().astype(np.uint8)


def colours(values: np.ndarray, top: float, name: str) -> np.ndarray:
    """(..., 3) uint8 of `values` (...) between 0 and `top` in the colour map `name`."""
    place = np.clip(np.asarray(values, dtype=float) / max(top, 1e-12), 0, 1)
    return palette(name)[(place * 255).round().astype(int)]


class Canvas:
    """A white sheet.

    Args:
        width, height: in pixels of a plain screen.
        scale: how much finer the sheet is.
    """

    def __init__(self, width: float, height: float, scale: float = 1.5) -> None:
        self.width, self.height, self.scale = width, height, scale
        self._image = Image.new("RGB", (self._at(width), self._at(height)), "white")
        self._draw = ImageDraw.Draw(self._image)

    def _at(self, length: float) -> int:
        return round(length * self.scale)

    def _type(self, size: float) -> int:
        return max(1, round(size * self.scale))

    def length(self, words: str, size: float = SIZE, bold: bool = False) -> float:
        """How long `words` are."""
        return _length(words, self._type(size), bold) / self.scale

    def text(
        self,
        x: float,
        y: float,
        words: str,
        size: float = SIZE,
        colour: str | tuple[int, ...] = INK,
        *,
        align: str = "left",
        bold: bool = False,
    ) -> None:
        """Write `words` with their middle line at `y`, and their left end, centre or right end at `x`."""
        mask, left, top = _letters(words, self._type(size), bold)
        x -= self.length(words, size, bold) * {"left": 0, "centre": 0.5, "right": 1}[align]
        self._image.paste(colour, (self._at(x) + round(left), self._at(y) + round(top)), mask)

    def box(self, x: float, y: float, width: float, height: float, fill=None, outline=None, line: float = 1) -> None:
        """A rectangle."""
        corners = (self._at(x), self._at(y), max(self._at(x), self._at(x + width) - 1), self._at(y + height) - 1)
        corners = (*corners[:3], max(corners[1], corners[3]))
        self._draw.rectangle(corners, fill=fill, outline=outline, width=max(1, self._at(line)))

    def line(self, x0: float, y0: float, x1: float, y1: float, colour=LINE, line: float = 1) -> None:
        """A straight line."""
        ends = (self._at(x0), self._at(y0), self._at(x1), self._at(y1))
        self._draw.line(ends, fill=colour, width=max(1, self._at(line)))

    def paste(self, x: float, y: float, picture: np.ndarray, side: float) -> None:
        """A picture (H, W, 3) uint8, enlarged to `side` pixels of width with hard edges."""
        wide, high = self._at(side), self._at(side * picture.shape[0] / picture.shape[1])
        image = Image.fromarray(picture).resize((wide, high), Image.Resampling.NEAREST)
        self._image.paste(image, (self._at(x), self._at(y)))

    def png(self) -> bytes:
        """The sheet as a PNG file."""
        file = io.BytesIO()
        self._image.save(file, "PNG", compress_level=3)
        return file.getvalue()
