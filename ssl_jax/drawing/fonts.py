"""A font that has the letters of a text: captions and names of files are in any language."""

import functools
import importlib.util
from collections.abc import Sequence
from pathlib import Path

from PIL import ImageFont
from PIL.ImageFont import FreeTypeFont

SIZE = 14
# Fonts of many scripts, by the names of their files where Linux, macOS and Windows keep them.
FILES = (
    "DejaVuSans.ttf",
    "NotoSans-Regular.ttf",
    "NotoSansCJK-Regular.ttc",
    "DroidSansFallbackFull.ttf",
    "wqy-zenhei.ttc",
    "Arial Unicode.ttf",
    "arial.ttf",
    "msyh.ttc",
    "malgun.ttf",
    "Nirmala.ttf",
    "NotoSansDevanagari-Regular.ttf",
    "NotoSansThai-Regular.ttf",
)
MISSING = "\U0010ffff"  # no letter, so that fonts draw what stands for a missing one


def lettering(text: str, fonts: Sequence[FreeTypeFont] | None = None) -> tuple[str, FreeTypeFont]:
    """A line of text as it can be drawn, and the font for it.

    Of `fonts`, by default Pillow's and the system's, the first that has every letter is taken, or
    the one that has most. A letter that this one lacks is escaped, as in \\u4e2d.
    """
    letters = frozenset(text)
    # Pillow's has little more than English, but looks the same on every machine.
    fonts = _fonts() if fonts is None else fonts
    lacking, font = _lacking(letters, fonts[0]), fonts[0]
    for other in fonts[1:]:
        if not lacking:
            break
        found = _lacking(letters, other)
        if len(found) < len(lacking):
            lacking, font = found, other
    escapes = {ord(letter): ascii(letter)[1:-1] for letter in lacking}
    return text.translate(escapes), font


def _lacking(letters: frozenset[str], font: FreeTypeFont) -> set[str]:
    return {letter for letter in letters if not _has(font, letter)}


@functools.lru_cache(maxsize=10_000)
def _has(font: FreeTypeFont, letter: str) -> bool:
    if letter == " " or not letter.isprintable():
        return letter == " "
    return bytes(font.getmask(letter)) != bytes(font.getmask(MISSING))


@functools.cache
def _fonts() -> tuple[FreeTypeFont, ...]:
    """Pillow's own first, then those of FILES that are there."""
    files = list(FILES)
    # Matplotlib brings one along.
    if matplotlib := importlib.util.find_spec("matplotlib"):
        files.append(str(Path(matplotlib.origin).parent / "mpl-data/fonts/ttf/DejaVuSans.ttf"))
    found = [ImageFont.load_default(size=SIZE)]
    for file in files:
        try:
            found.append(ImageFont.truetype(file, SIZE))
        except OSError:
            continue
    return tuple(found)
