"""Numbers with their nouns, and titles that tell things apart."""

from __future__ import annotations

import pytest

from fusion.words import capitalised, counted, distinct


@pytest.mark.parametrize(
    ("text", "expected"),
    [("top-1 error, in percent", "Top-1 error, in percent"), ("mIoU, mean", "mIoU, mean"), ("IoU", "IoU"), ("", "")],
)
def test_sentence_begins_with_a_capital_but_for_terms_that_have_theirs_later(text, expected):
    assert capitalised(text) == expected


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ((0, "image"), "0 images"),
        ((1, "image"), "1 image"),
        ((2, "image"), "2 images"),
        ((50_000, "image"), "50,000 images"),
        ((1, "class", "classes"), "1 class"),
        ((20, "class", "classes"), "20 classes"),
    ],
)
def test_number_with_its_noun(words, expected):
    assert counted(*words) == expected


def test_titles_are_replaced_where_they_do_not_tell_apart():
    assert distinct(["aff", "add"], ["a", "b"]) == ["aff", "add"]
    assert distinct(["aff", "aff"], ["a", "b"]) == ["a", "b"]
    assert distinct(["aff", "aff"], ["run", "run"]) == ["run (1)", "run (2)"]
