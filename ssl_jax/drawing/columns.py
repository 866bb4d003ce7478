"""Pages of pictures: columns of them and of what is written beside them, each under its name."""

import numpy as np
from jaxtyping import UInt8
from PIL import Image, ImageDraw, ImageFont

NUMBERS = 9  # of one line of text at most
LINES = 3  # of text at most, for one entry of an example
PAPER = "gainsboro"  # so that a white tile has a border


def column(name: str, values: UInt8[np.ndarray, "b n t h w 3"], tile: int) -> Image.Image:
    """Rows of clips of frames under their name; a wider gap between clips than between frames."""
    if values.shape[1:3] == (9, 1):
        return _grids(name, values[:, :, 0], tile)
    b, n, t, h, w, _ = values.shape
    width = round(tile * min(max(w / h, 0.75), 3.0))
    clip = t * (width + 2) + (6 if t > 1 else 0)
    total = max(n * clip + 8, _width(name) + 8)
    drawn = Image.new("RGB", (total, _top() + b * (tile + 4)), PAPER)
    ImageDraw.Draw(drawn).text((2, 2), name, fill="black", font=_font())
    for row, i, k in np.ndindex(b, n, t):
        place = (i * clip + k * (width + 2), _top() + row * (tile + 4))
        drawn.paste(_sized(values[row, i, k], width, tile), place)
    return drawn


def _grids(name: str, values: UInt8[np.ndarray, "b 9 h w 3"], tile: int) -> Image.Image:
    """Rows of nine pictures, three by three, so that they lie as tiles of a puzzle do."""
    cell = (tile - 4) // 3
    total = max(3 * (cell + 2) + 8, _width(name) + 8)
    drawn = Image.new("RGB", (total, _top() + len(values) * (tile + 4)), PAPER)
    ImageDraw.Draw(drawn).text((2, 2), name, fill="black", font=_font())
    for row, y, x in np.ndindex(len(values), 3, 3):
        place = (x * (cell + 2), _top() + row * (tile + 4) + y * (cell + 2))
        drawn.paste(_sized(values[row, 3 * y + x], cell, cell), place)
    return drawn


def _sized(pixels: UInt8[np.ndarray, "h w 3"], width: int, height: int) -> Image.Image:
    enlarged = pixels.shape[0] <= height and pixels.shape[1] <= width
    how = Image.Resampling.NEAREST if enlarged else Image.Resampling.BOX
    return Image.fromarray(pixels).resize((width, height), how)


def text_column(entries: list[tuple[str, np.ndarray]], tile: int) -> Image.Image:
    """What is to be written of every example."""
    count = max(len(values) for _, values in entries)
    texts = [
        "\n".join(_text(name, values[row]) for name, values in entries if row < len(values))
        for row in range(count)
    ]
    width = max(_width(text) for text in texts)
    drawn = Image.new("RGB", (width + 16, _top() + count * (tile + 4)), PAPER)
    draw = ImageDraw.Draw(drawn)
    for row, text in enumerate(texts):
        draw.text((4, _top() + row * (tile + 4)), text, fill="black", font=_font())
    return drawn


def _text(name: str, values: np.ndarray | np.generic) -> str:
    """'target 3', or several numbers, those of each entry of the first axis on a line."""
    lines = np.reshape(values, (-1, values.shape[-1] if values.ndim else 1))
    written = [
        " ".join(f"{x:.2f}" if np.issubdtype(lines.dtype, np.floating) else str(x) for x in line)
        + (" ..." if lines.shape[1] > NUMBERS else "")
        for line in lines[:LINES, :NUMBERS]
    ]
    more = ["..."] if len(lines) > LINES else []
    return f"{name} " + f"\n{' ' * 4}".join(written + more)


def beside(columns: list[Image.Image], title: str) -> Image.Image:
    """Columns next to each other, under a title if there is one."""
    top = _top() if title else 0
    size = (sum(c.width for c in columns), top + max(c.height for c in columns))
    block = Image.new("RGB", size, PAPER)
    ImageDraw.Draw(block).text((2, 2), title, fill="darkred", font=_font())
    x = 0
    for each in columns:
        block.paste(each, (x, top))
        x += each.width
    return block


def below(blocks: list[Image.Image]) -> UInt8[np.ndarray, "h w 3"]:
    size = (max(b.width for b in blocks), sum(b.height for b in blocks))
    picture = Image.new("RGB", size, PAPER)
    y = 0
    for block in blocks:
        picture.paste(block, (0, y))
        y += block.height
    return np.array(picture)


def _width(text: str) -> int:
    """Of written lines, in pixels."""
    measure = ImageDraw.Draw(Image.new("RGB", (1, 1)))
    return int(measure.multiline_textbbox((0, 0), text, font=_font())[2])


def _font():
    return ImageFont.load_default(size=14)


def _top() -> int:
    """Height of a line of text above pictures."""
    return 22
