"""Charts as PNG images with a palette, which take a tenth of what a plotting library writes.

What is blank is transparent, and text is gray, so that an image reads on light and on dark pages.
"""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from typing import TypeAlias

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from dagster_beiwe.pictures.charts import BLANK, Chart, Levels, Tick, spaced

_Color: TypeAlias = tuple[int, int, int, int]
"""Red, green, blue, and opacity."""

_TRANSPARENT: _Color = (0, 0, 0, 0)
_TEXT: tuple[_Color, ...] = tuple((124, 124, 124, opacity) for opacity in (128, 255))
"""Gray that reads on white and on black, in steps for the smooth edges of letters."""

_WIDTH, _NARROWEST, _WIDEST = 900, 2, 14
_HEIGHT, _LOWEST, _HIGHEST = 270, 4, 18
"""Sides of cells in pixels: few of them grow to fill an area, and a year fits into Dagster's dialog."""
_LARGE = 6

_FONT = 12
_LINE, _ROW_LABELS_APART = 16, 18
_GAP = 6


def plain_png(chart: Chart, *, cell: int = 1) -> bytes:
    """The matrix alone, whose cells are squares of so many pixels."""
    return _encode(_enlarged(chart.levels, cell, cell), _colors(chart))


def labeled_png(chart: Chart, *, row_height: int | None = None) -> bytes:
    """The matrix with the labels of its axes, its marks, and its legend.

    Cells grow while there are few of them, unless ``row_height`` is given. Labels keep their distance.
    """
    width = min(max(_WIDTH // max(chart.columns, 1), _NARROWEST), _WIDEST)
    height = row_height or min(max(_HEIGHT // max(chart.rows, 1), _LOWEST), _HIGHEST)
    return _encode(_Canvas(chart, width, height).draw(), (*_colors(chart), *_TEXT))


def data_url(png: bytes) -> str:
    """An address that holds the image itself."""
    return f"data:image/png;base64,{base64.b64encode(png).decode()}"


class _Canvas:
    """Places the matrix and its texts. Texts are drawn in gray, apart from the matrix, and put on it at the end."""

    def __init__(self, chart: Chart, width: int, height: int) -> None:
        self._chart, self._width, self._height = chart, width, height
        self._font = ImageFont.load_default(_FONT)
        self._row_ticks = spaced(chart.row_ticks, apart=_ROW_LABELS_APART / height)
        self._left = 2 * _GAP + max((self._length(tick.text) for tick in self._row_ticks), default=0)
        self._left += self._left % 2  # two pixels share a byte
        self._top = _LINE if chart.marks else _GAP
        self._bottom = self._top + chart.rows * height
        self._right = self._left + chart.columns * width
        self._legend = chart.legend
        lines = 1 + len(self._legend)
        widest = max((self._length(key.meaning) + 2 * _LINE for key in self._legend), default=0)
        last = max((self._left + tick.at * width + self._length(tick.text) for tick in chart.column_ticks), default=0)
        self._size = (max(self._right, last, self._left + widest) + _GAP, self._bottom + _GAP + lines * _LINE + _GAP)

    def draw(self) -> Levels:
        levels = np.zeros(self._size[::-1], np.uint8)
        levels[self._top : self._bottom, self._left : self._right] = _enlarged(
            self._chart.levels, self._width, self._height
        )
        image = Image.new("L", self._size)
        self._axes(ImageDraw.Draw(image))
        self._keys(ImageDraw.Draw(image), levels)
        gray = np.asarray(image, np.uint16)
        step = (gray * len(_TEXT) + 254) // 255
        levels[step > 0] = (len(self._chart.scale) - 1 + step[step > 0]).astype(np.uint8)
        return levels

    def _axes(self, pen: ImageDraw.ImageDraw) -> None:
        for tick in self._row_ticks:
            middle = self._top + tick.at * self._height + self._height / 2
            pen.text((self._left - _GAP, middle), tick.text, 255, self._font, anchor="rm")
        for tick in self._spaced_columns(self._chart.column_ticks):
            x = self._left + tick.at * self._width
            pen.line([(x, self._bottom + 1), (x, self._bottom + 4)], 255)
            pen.text((x, self._bottom + _GAP), tick.text, 255, self._font, anchor="lt")
        for mark in self._chart.marks:
            x = self._left + mark.at * self._width
            pen.line([(x, self._top - 4), (x, self._bottom)], 255)
        for mark in self._spaced_columns(self._chart.marks):
            pen.text((self._left + mark.at * self._width, 0), mark.text, 255, self._font, anchor="lt")

    def _keys(self, pen: ImageDraw.ImageDraw, levels: Levels) -> None:
        """The legend below the axis: a square of each shade, and its meaning."""
        for number, key in enumerate(self._legend, start=1):
            y = self._bottom + _GAP + number * _LINE + 2
            if key.shade.color is None:
                pen.rectangle((self._left, y, self._left + 9, y + 9), outline=128)
            levels[y : y + 10, self._left : self._left + 10] = self._chart.scale.index(key.shade)
            pen.text((self._left + _LINE, y + 5), key.meaning, 255, self._font, anchor="lm")

    def _spaced_columns(self, ticks: Sequence[Tick]) -> tuple[Tick, ...]:
        longest = max((self._length(tick.text) for tick in ticks), default=0)
        return spaced(ticks, apart=(longest + _GAP) / self._width)

    def _length(self, text: str) -> int:
        return round(self._font.getlength(text))


def _colors(chart: Chart) -> tuple[_Color, ...]:
    return tuple((*shade.color, 255) if shade.color else _TRANSPARENT for shade in chart.scale)


def _enlarged(levels: Levels, width: int, height: int) -> Levels:
    """Each cell as a rectangle; large ones have a blank line between them."""
    enlarged = levels.repeat(height, axis=0).repeat(width, axis=1)
    if min(width, height) >= _LARGE:
        enlarged[height - 1 :: height] = BLANK
        enlarged[:, width - 1 :: width] = BLANK
    return enlarged


def _encode(levels: Levels, colors: Sequence[_Color]) -> bytes:
    """A PNG whose pixels take as few bits as its colors allow."""
    height, width = levels.shape
    image = Image.frombytes("P", (width, height), np.ascontiguousarray(levels).tobytes())
    image.putpalette([part for color in colors for part in color[:3]])
    bits = next(bits for bits in (1, 2, 4, 8) if len(colors) <= 2**bits)
    file = io.BytesIO()
    opacities = bytes(color[3] for color in colors).rstrip(b"\xff")
    image.save(file, "PNG", optimize=True, bits=bits, transparency=opacities)
    return file.getvalue()
