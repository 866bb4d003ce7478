"""Text in pictures: drawn with a font that has its letters, or escaped."""

import matplotlib.ft2font
import numpy as np
import pytest
from PIL import ImageFont

from ssl_jax.drawing.fonts import lettering
from ssl_jax.drawing.layout import written

OWN = ImageFont.load_default(size=14)


def test_plain_english_is_written_in_the_same_font_on_every_machine():
    text, font = lettering("a cat, 12.5 %")
    assert text == "a cat, 12.5 %"
    assert font.getname() == OWN.getname()


@pytest.mark.parametrize("text", ["Mädchen", "Девочка и кот", "ngỗng", "فتاة"])
def test_letters_come_from_a_font_that_has_them(text):
    # Matplotlib's, if the system has none.
    found, font = lettering(text)
    assert found == text
    assert set(map(ord, text)) <= set(matplotlib.ft2font.FT2Font(font.path).get_charmap())


def test_letters_that_no_font_has_are_escaped_and_so_is_what_cannot_be_seen():
    assert lettering("Mädchen 猫\t\u202e", [OWN])[0] == "M\\xe4dchen \\u732b\\t\\u202e"


def test_every_line_has_its_own_font_and_all_the_same_height():
    english, mixed = (written(text, 60) for text in ("one\ntwo", "Девочка\ntwo"))
    wide = np.full_like(mixed, english[0, 0])
    wide[:, : english.shape[1]] = english
    np.testing.assert_array_equal(mixed[18:], wide[18:])
