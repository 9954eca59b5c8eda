"""Names of classes: the same, in another order, some of them, others, and none at all."""

from __future__ import annotations

import logging

import pytest

from fusion.data.identity import Classes, is_mapped, match_classes
from fusion.errors import DataError

PETS = Classes(("bird", "cat", "dog"), "the network of runs/pets")


def pets(*names, named=True):
    return Classes(names, "folder x", named)


def test_same_names_in_the_same_order_need_no_words(caplog):
    caplog.set_level(logging.INFO)
    places = match_classes(pets("bird", "cat", "dog"), PETS)
    assert places == (0, 1, 2)
    assert not is_mapped(places)
    assert not caplog.messages


def test_another_order_is_mapped_by_name(caplog):
    places = match_classes(pets("dog", "bird", "cat"), PETS)
    assert places == (2, 0, 1)
    assert is_mapped(places)
    assert caplog.messages == [
        "folder x: the classes have another order than those of the network of runs/pets; mapped by name"
    ]


def test_some_of_the_names_are_mapped_and_said_to_be_some(caplog):
    assert match_classes(pets("dog", "cat"), PETS) == (2, 1)
    assert "folder x: 2 of the 3 classes of the network of runs/pets" in caplog.text


@pytest.mark.parametrize("names", [("bird", "cat", "wolf"), ("cat", "wolf"), ("bird", "cat", "dog", "wolf")])
def test_another_name_is_refused_with_the_differences_whatever_the_number(names):
    with pytest.raises(DataError) as caught:
        match_classes(pets(*names), PETS)
    message = str(caught.value)
    assert f"folder x has other classes than the network of runs/pets: 1 of its {len(names)} classes is none" in message
    assert "'wolf'" in message
    assert ("it lacks" in message) is ("dog" not in names)


def test_many_differences_are_counted_and_a_few_are_shown():
    strange = [f"s{number}" for number in range(200)]
    with pytest.raises(
        DataError, match=r"200 of its 201 classes are none of the network's 3: 's0', .*'s4', \.\.\.; it"
    ):
        match_classes(pets("cat", *strange), PETS)


def test_without_names_only_the_number_is_known_and_said(caplog):
    assert match_classes(pets("0", "1", "2", named=False), PETS) == (0, 1, 2)
    assert "folder x does not name its classes: class number N of folder x is taken for output number N" in caplog.text
    with pytest.raises(DataError, match="folder x has 2 classes, and the network of runs/pets 3; folder x does not"):
        match_classes(pets("0", "1", named=False), PETS)


def test_numbers_that_are_names_are_names():
    with pytest.raises(DataError, match="'0', '1', '2'"):
        match_classes(pets("0", "1", "2"), PETS)
