"""The names that a message suggests for one that is not known."""

from __future__ import annotations

import time

import pytest

from fusion.errors import DataError, FusionError, nearest

MANY = [f"n{number:08}" for number in range(0, 7000, 7)]


def test_close_names_are_suggested():
    assert nearest("iaf", ["aff", "iaff", "add"]) == "did you mean 'iaff' or 'aff'?"


def test_few_names_are_all_listed_where_none_is_close():
    assert nearest("zzz", ["b", "a"]) == "known: a, b"


@pytest.mark.parametrize("name", ["great white shark", "", None, "x" * 1_000_000])
def test_of_many_names_only_the_nearest_few_are_listed(name):
    message = nearest(name, MANY)
    assert len(message) < 120
    assert message.startswith("1,000 names are known, of which the nearest are 'n0000")


def test_close_name_is_found_among_many():
    assert "'n00000854'" in nearest("n0000854", MANY)
    assert nearest("great wite shark", [*MANY, "great white shark"]) == "did you mean 'great white shark'?"


def test_many_long_names_take_no_time():
    known = [f"some longer name of a class {number}, as WordNet has them" for number in range(20_000)]
    began = time.perf_counter()
    nearest("another longer name of a class, as WordNet has them", known)
    assert time.perf_counter() - began < 30  # of difflib alone, minutes


@pytest.mark.parametrize("kind", [FusionError, DataError])
def test_control_characters_of_a_quoted_name_are_escaped_in_a_message(kind):
    assert str(kind("class a\x1b[2J\u202eb: no such class\nknown: c")) == (
        "class a\\x1b[2J\\u202eb: no such class\nknown: c"
    )
