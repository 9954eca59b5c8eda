"""Fonts for characters that matplotlib's own has not: found where one is installed, else named in the log, once."""

from __future__ import annotations

import logging

import numpy as np
import pytest
from matplotlib import font_manager, rcParams
from PIL import Image

from fusion import fonts
from fusion.drawing import new_page, save_page

CAT, DOG = "猫", "狗"


def write_font(path, characters):
    """A font in which each of the characters is a full square."""
    from fontTools.fontBuilder import FontBuilder
    from fontTools.pens.ttGlyphPen import TTGlyphPen

    names = {character: f"uni{ord(character):04X}" for character in characters}
    pen = TTGlyphPen(None)
    for number, corner in enumerate([(0, 0), (0, 1000), (1000, 1000), (1000, 0)]):
        pen.lineTo(corner) if number else pen.moveTo(corner)
    pen.closePath()
    square = pen.glyph()
    builder = FontBuilder(1000, isTTF=True)
    builder.setupGlyphOrder([".notdef", *names.values()])
    builder.setupCharacterMap({ord(character): name for character, name in names.items()})
    builder.setupGlyf({".notdef": TTGlyphPen(None).glyph(), **dict.fromkeys(names.values(), square)})
    builder.setupHorizontalMetrics(dict.fromkeys([".notdef", *names.values()], (1000, 0)))
    builder.setupHorizontalHeader(ascent=1000, descent=0)
    builder.setupNameTable({"familyName": path.stem, "styleName": "Regular"})
    builder.setupOS2()
    builder.setupPost()
    builder.save(str(path))
    return str(path)


@pytest.fixture
def installed(monkeypatch):
    """Sets which font files the system has."""

    def install(*files):
        monkeypatch.setattr(font_manager, "findSystemFonts", lambda *words, **keywords: list(files))

    known = list(font_manager.fontManager.ttflist)
    for cached in (fonts._search, fonts._advise):
        cached.cache_clear()
    install()
    yield install
    font_manager.fontManager.ttflist = known
    for cached in (fonts._search, fonts._advise):
        cached.cache_clear()


def drawn(path, title):
    save_page(new_page(1, 1, 2, title)[0], path)
    return np.asarray(Image.open(path).convert("L")).astype(int)


def test_latin_text_needs_no_other_font(installed):
    assert fonts.families_for("AFF-ResNet-32: 3.17 % ± 0.1, ½ α “quoted”…\n") == []


def test_installed_font_with_the_characters_is_used(installed, tmp_path, caplog):
    installed(write_font(tmp_path / "Other.ttf", "x"), write_font(tmp_path / "Squares.ttf", CAT))
    found = fonts.families_for(f"a {CAT}")
    assert found == [*rcParams["font.family"], "Squares"]
    picture = drawn(tmp_path / "cat.png", CAT * 20)
    assert not caplog.records
    assert (picture < 60).sum() > 20 * 100  # full squares; the box for a missing character is an outline
    installed()
    fonts._search.cache_clear()
    assert (drawn(tmp_path / "box.png", CAT * 20) < 60).sum() < (picture < 60).sum() / 1.5


def test_every_character_gets_a_font_that_has_it(installed, tmp_path):
    installed(write_font(tmp_path / "Cats.ttf", CAT), write_font(tmp_path / "Dogs.ttf", DOG))
    assert set(fonts.families_for(CAT + DOG)) >= {"Cats", "Dogs"}


def test_fonts_that_draw_no_text_are_not_used(installed, tmp_path):
    broken = tmp_path / "Broken.ttf"
    broken.write_bytes(b"no font")
    installed(str(broken), write_font(tmp_path / "LastResort.ttf", CAT), write_font(tmp_path / "Noto-Emoji.ttf", CAT))
    assert fonts.families_for(CAT) == []


@pytest.mark.filterwarnings("error")
def test_missing_font_is_named_once_and_the_picture_is_drawn(installed, tmp_path, caplog):
    with caplog.at_level(logging.WARNING, logger="fusion"):
        for title in (CAT, DOG, CAT + DOG):
            drawn(tmp_path / "picture.png", title)
    (record,) = caplog.records
    assert "fonts-noto-cjk" in record.getMessage() and "boxes" in record.getMessage()


def test_advice_is_for_the_script(installed, caplog):
    with caplog.at_level(logging.WARNING, logger="fusion"):
        fonts.families_for("ᚠ")  # a rune
    assert "fonts-noto-core" in caplog.text
