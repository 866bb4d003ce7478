"""The layout of every picture that the library makes: rows of tiles in aligned columns."""

import dataclasses
import itertools
from collections.abc import Sequence

import numpy as np
from jaxtyping import UInt8
from PIL import Image, ImageDraw

from ssl_jax.drawing.fonts import lettering

PAPER = "gainsboro"  # so that a white tile has an edge
BORDER = 3  # of a tile with a coloured frame
HEAD = 22  # height of a title, and of headings
LINE = 18  # height of a line of text


@dataclasses.dataclass(frozen=True)
class Tile:
    """One picture of a page.

    Attributes:
      pixels: uint8 (h, w, 3).
      text: below it, of one line or more.
      frame: colour of its border, or '' for none.
    """

    pixels: UInt8[np.ndarray, "h w 3"]
    text: str = ""
    frame: str = ""


def page(
    rows: Sequence[Sequence[Tile | None]],
    tile: int = 96,
    headings: Sequence[str] = (),
    title: str = "",
) -> UInt8[np.ndarray, "h w 3"]:
    """Rows of tiles, each `tile` pixels high; None leaves a place empty.

    `headings` stand above the columns, the lines of `title` above these. ValueError if there is no
    tile.
    """
    cells = [
        (r, c, one, sized(one.pixels, tile))
        for r, row in enumerate(rows)
        for c, one in enumerate(row)
        if one is not None
    ]
    if not cells:
        raise ValueError("a page needs at least one picture")
    border = BORDER if any(one.frame for _, _, one, _ in cells) else 0
    line = LINE * max(len(one.text.split("\n")) if one.text else 0 for _, _, one, _ in cells)
    widths = [0] * max(map(len, rows))
    for c, heading in enumerate(headings):
        widths[c] = _width(heading)
    for _, c, one, picture in cells:
        widths[c] = max(widths[c], picture.width + 2 * border, _width(one.text))
    lefts = [*itertools.accumulate((width + 8 for width in widths), initial=0)]
    top = HEAD * bool(headings) + (LINE * len(title.split("\n")) + 4 if title else 0)
    pitch = tile + 2 * border + line + 4
    sheet = Image.new("RGB", (max(lefts[-1], _width(title) + 8), top + len(rows) * pitch), PAPER)
    draw = ImageDraw.Draw(sheet)
    _write(draw, (2, 2), title, "darkred")
    for left, heading in zip(lefts, headings, strict=False):
        _write(draw, (left + 2, top - HEAD + 2), heading)
    for r, c, one, picture in cells:
        x, y = lefts[c], top + r * pitch
        if one.frame:
            corner = x + picture.width + 2 * border - 1, y + tile + 2 * border - 1
            draw.rectangle((x, y, *corner), fill=one.frame)
        sheet.paste(picture, (x + border, y + border))
        _write(draw, (x + border, y + tile + 2 * border), one.text)
    return np.array(sheet)


def below(pages: Sequence[UInt8[np.ndarray, "_ _ 3"]]) -> UInt8[np.ndarray, "h w 3"]:
    """Pages one below the other."""
    tops = [*itertools.accumulate((len(one) for one in pages), initial=0)]
    sheet = Image.new("RGB", (max(one.shape[1] for one in pages), tops[-1]), PAPER)
    for top, one in zip(tops, pages, strict=False):
        sheet.paste(Image.fromarray(one), (0, top))
    return np.array(sheet)


def montage(clips: UInt8[np.ndarray, "n t h w 3"], tile: int) -> UInt8[np.ndarray, "h2 w2 3"]:
    """Clips of frames side by side, `tile` pixels high, clips farther apart than frames.

    Nine images lie three by three, as the tiles of a jigsaw do.
    """
    n, t, h, w, _ = clips.shape
    if (n, t) == (9, 1):
        height = width = (tile - 4) // 3
        places = [(x * (width + 2), y * (height + 2)) for y, x in np.ndindex(3, 3)]
    else:
        height, width = tile, round(tile * min(max(w / h, 0.75), 3.0))
        clip = t * (width + 2) + (6 if t > 1 else 0)
        places = [(i * clip + k * (width + 2), 0) for i, k in np.ndindex(n, t)]
    sheet = Image.new("RGB", (places[-1][0] + width + (8 if t > 1 else 2), tile), PAPER)
    for place, frame in zip(places, clips.reshape(-1, h, w, 3), strict=True):
        sheet.paste(sized(frame, height, width), place)
    return np.array(sheet)


def written(text: str, tile: int) -> UInt8[np.ndarray, "h w 3"]:
    """Lines of text as a picture, `tile` pixels high; '...' where there is no room for more."""
    lines, room = text.split("\n"), tile // LINE
    if len(lines) > room:
        text = "\n".join([*lines[: room - 1], "..."])
    sheet = Image.new("RGB", (_width(text) + 8, tile), PAPER)
    _write(ImageDraw.Draw(sheet), (4, 0), text)
    return np.array(sheet)


def wrapped(text: str, width: int) -> str:
    """The whole text in lines of `width` pixels, cut anywhere: names of files have few spaces."""
    lines = [""]
    for letter in text:
        if lines[-1] and _width(lines[-1] + letter) > width:
            lines.append("")
        lines[-1] += letter
    return "\n".join(lines)


def sized(pixels: UInt8[np.ndarray, "h w 3"], height: int, width: int = 0) -> Image.Image:
    """Resized to a height, of its own proportions unless there is a width.

    Enlarged pixels stay squares; smaller ones are means.
    """
    h, w = pixels.shape[:2]
    width = width or max(1, round(height * w / h))
    enlarged = h <= height and w <= width
    how = Image.Resampling.NEAREST if enlarged else Image.Resampling.BOX
    return Image.fromarray(pixels).resize((width, height), how)


def _width(text: str) -> int:
    """Of written lines, in pixels."""
    lines = (lettering(line) for line in text.split("\n"))
    return max(int(font.getbbox(line)[2]) for line, font in lines)


def _write(draw: ImageDraw.ImageDraw, place: tuple[int, int], text: str, fill: str = "black"):
    x, y = place
    # Line by line, each in its own font: fonts differ in how far they set lines apart.
    for number, line in enumerate(text.split("\n")):
        shown, font = lettering(line)
        draw.text((x, y + number * LINE), shown, fill=fill, font=font)
