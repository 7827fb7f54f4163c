"""Attention on a few test examples with and without a loss: the lower half of the loss explorer's picture."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import torch

from ssan.gallery_images import image_from_text
from ssan.widgets import drawing
from ssan.widgets.canvas import FAINT, Canvas

COLUMNS = ("task", "seed", "loss", "weight", "example", "answer", "attention", "question", "truth", "image", "boxes")
LABEL, GAP, SMALL = 126, 8, 11
_MARGIN = 18


def check_maps(maps: pd.DataFrame) -> None:
    """Raise ValueError unless `maps` has `COLUMNS` and, for every task, each example once without supervision."""
    if missing := [name for name in COLUMNS if name not in maps]:
        raise ValueError(f"maps need the columns {', '.join(COLUMNS)}; {', '.join(missing)} are missing")
    plain = maps[maps["weight"] == 0]
    for task, own in maps.groupby("task"):
        known = plain.loc[plain["task"] == task, "example"]
        if known.duplicated().any() or set(own["example"]) - set(known):
            raise ValueError(f"maps of {task} need each example exactly once without supervision (weight 0)")


def pairs_of(maps: pd.DataFrame, task: str, loss: str, weight: float) -> pd.DataFrame:
    """The examples of a task without supervision and with this loss and weight, a row each; empty where there are none.

    Of the latter are the columns `answer_with` and `attention_with`.
    """
    own = maps[maps["task"] == task]
    # Read from a file, what is empty is NaN.
    own = own.assign(**{name: own[name].astype(object).fillna("") for name in ("question", "image")})
    plain, chosen = own[own["weight"] == 0], own[(own["loss"] == loss) & (own["weight"] == weight)]
    return plain.merge(chosen[["example", "answer", "attention"]], on="example", suffixes=("", "_with"))


def describe(pairs: pd.DataFrame) -> str:
    """How many of the examples are answered correctly, in words; empty without examples."""
    if not len(pairs):
        return ""
    before, after = ((pairs[name] == pairs["truth"]).sum() for name in ("answer", "answer_with"))
    return (
        f" Of the {len(pairs)} test examples in the picture (one seed), {before} are answered correctly without "
        f"supervision and {after} with it."
    )


def height(canvas: Canvas, pairs: pd.DataFrame) -> float:
    """How much room `draw` needs."""
    if not len(pairs):
        return 0
    if pairs["image"].astype(bool).all():
        side, lines = _side(canvas, pairs), _questions(canvas, pairs)
        return 2 * _MARGIN + 14 * max(map(len, lines)) + 3 * (side + 22) + 30
    lines = [drawing.lines_of(canvas, text.split(), canvas.width - LABEL - 70) for text in pairs["question"]]
    return 2 * _MARGIN + sum(2 * drawing.LINE_HEIGHT * len(own) + 14 for own in lines) + 30


def draw(canvas: Canvas, y: float, pairs: pd.DataFrame, name: str) -> None:
    """Draw the examples, of which there must be one, below `y`; `name` is what the loss and its weight are called."""
    maps = {key: [np.asarray(json.loads(text)) for text in pairs[key]] for key in ("attention", "attention_with")}
    top = max(float(weights.max()) for own in maps.values() for weights in own)
    images = pairs["image"].astype(bool).all()
    what = "images" if images else "sentences"
    canvas.text(0, y + _MARGIN / 2, f"The first {len(pairs)} test {what}, seed {int(pairs['seed'].iloc[0])}", bold=True)
    (_draw_images if images else _draw_sentences)(canvas, y + 1.5 * _MARGIN, pairs, name, maps, top)
    below = y + height(canvas, pairs) - 18
    drawing.scale_bar(canvas, LABEL, below, 320, top, "viridis" if images else "Blues")


def _side(canvas: Canvas, pairs: pd.DataFrame) -> float:
    return (canvas.width - LABEL - GAP * len(pairs)) / max(len(pairs), 6)


def _questions(canvas: Canvas, pairs: pd.DataFrame) -> list[list[str]]:
    """The questions set in lines, one list an image; an empty one where nothing is asked."""
    lines = []
    for text in pairs["question"]:
        set_in = drawing.lines_of(canvas, text.split(), _side(canvas, pairs) + 10, SMALL) if text else []
        lines.append([" ".join(word for _, word in line) for line in set_in])
    return lines


def _draw_images(canvas: Canvas, y: float, pairs: pd.DataFrame, name: str, maps: dict, top: float) -> None:
    side, lines = _side(canvas, pairs), _questions(canvas, pairs)
    first = y + 14 * max(map(len, lines))
    rows = [("image and\ntruth", None, "truth"), ("without\nsupervision", "attention", "answer")]
    rows.append((name.replace(", ", "\nweight "), "attention_with", "answer_with"))
    for number, (label, key, said) in enumerate(rows):
        down = first + number * (side + 22)
        for k, words in enumerate(label.split("\n")):
            canvas.text(0, down + side / 2 - 8 + 16 * k, words, SMALL, bold=number == 2)
        for place, (_, pair) in enumerate(pairs.iterrows()):
            x = LABEL + place * (side + GAP)
            picture = drawing.picture_of(torch.from_numpy(image_from_text(pair["image"])))
            shown = (
                picture if key is None else drawing.with_map(picture, maps[key][place], _grid(maps[key][place]), top)
            )
            canvas.paste(x, down, shown, side)
            corners = torch.tensor(json.loads(pair["boxes"])).view(-1, 4)
            drawing.boxes(canvas, x, down, side, corners, picture.shape[1])
            mark = "" if key is None else " ✓" if pair[said] == pair["truth"] else " ✗"
            canvas.text(x + side / 2, down + side + 9, f"{pair[said]}{mark}", SMALL, align="centre", bold=mark == " ✗")
            if number == 0:
                for k, line in enumerate(lines[place]):
                    canvas.text(x, y + 14 * k + 4, line, SMALL, FAINT)


def _draw_sentences(canvas: Canvas, y: float, pairs: pd.DataFrame, name: str, maps: dict, top: float) -> None:
    for place, (_, pair) in enumerate(pairs.iterrows()):
        lines = drawing.lines_of(canvas, pair["question"].split(), canvas.width - LABEL - 70)
        for label, key, said in (("without", "attention", "answer"), (name, "attention_with", "answer_with")):
            middle = y + drawing.LINE_HEIGHT / 2
            canvas.text(0, middle, label, SMALL, bold=label == name)
            drawing.sentence(canvas, LABEL, y, lines, maps[key][place], top)
            mark = "✓" if pair[said] == pair["truth"] else "✗"
            canvas.text(canvas.width, middle, f"{pair[said]} {mark}", SMALL, align="right", bold=mark == "✗")
            y += drawing.LINE_HEIGHT * len(lines)
        y += 14


def _grid(weights: np.ndarray) -> tuple[int, int]:
    """A square grid of so many cells: all image tasks of the study have one."""
    side = round(len(weights) ** 0.5)
    return side, len(weights) // side
