"""Text in pictures: drawn with a font that has its letters, or escaped."""

import numpy as np
import pytest
from PIL import ImageFont

from ssl_jax.drawing import fonts
from ssl_jax.drawing.layout import written


@pytest.fixture
def own_font_alone(monkeypatch):
    monkeypatch.setattr(fonts, "_fonts", lambda: (ImageFont.load_default(size=14),))


def test_plain_english_is_written_in_the_same_font_on_every_machine():
    text, font = fonts.lettering("a cat, 12.5 %\nand a dog")
    assert text == "a cat, 12.5 %\nand a dog"
    assert font.getname() == ImageFont.load_default(size=14).getname()


@pytest.mark.parametrize("text", ["Mädchen", "Девочка и кот", "ngỗng", "فتاة"])
def test_letters_come_from_a_font_that_has_them(text):
    # Matplotlib's, if the system has none.
    found, font = fonts.lettering(text)
    assert found == text
    missing = bytes(font.getmask(fonts.MISSING))
    assert all(bytes(font.getmask(letter)) != missing for letter in set(text) - {" "})


@pytest.mark.usefixtures("own_font_alone")
def test_letters_that_no_font_has_are_escaped():
    assert fonts.lettering("M\u00e4dchen 猫\n1")[0] == "M\\xe4dchen \\u732b\n1"
    np.testing.assert_array_equal(written("猫", 40), written("\\u732b", 40))
