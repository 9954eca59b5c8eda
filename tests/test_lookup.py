"""Names by shell patterns."""

from __future__ import annotations

import pytest

from fusion.errors import FusionError
from fusion.lookup import is_pattern, matching

NAMES = ["resnet32", "aff_resnet32", "iaff_resnet32", "aff_resnet50"]


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        (None, NAMES),
        ("*", NAMES),
        ("aff_*", ["aff_resnet32", "aff_resnet50"]),
        ("*32", ["resnet32", "aff_resnet32", "iaff_resnet32"]),
        ("?aff*", ["iaff_resnet32"]),
        ("aff_resnet[35]?", ["aff_resnet32", "aff_resnet50"]),
        ("aff_resnet50", ["aff_resnet50"]),
    ],
)
def test_names_are_found_in_their_order(pattern, expected):
    assert matching(pattern, NAMES, "models") == expected


@pytest.mark.parametrize(
    ("pattern", "first"), [("afff_*", "aff_resnet32"), ("iafff*", "iaff_resnet32"), ("rsnet*", "resnet32")]
)
def test_pattern_of_nothing_is_refused_with_the_nearest_names(pattern, first):
    with pytest.raises(FusionError) as error:
        matching(pattern, NAMES, "models")
    assert str(error.value).startswith(f"{pattern!r} matches none of the models; the nearest of 4 are {first!r}, ")


def test_case_counts_as_on_linux():
    with pytest.raises(FusionError):
        matching("AFF_*", NAMES, "models")


def test_pattern_among_no_names_is_refused():
    with pytest.raises(FusionError, match="there are none"):
        matching("a*", [], "weights")


def test_pattern_is_told_from_a_name():
    assert [is_pattern(word) for word in ("aff_*", "aff?", "aff_[a-z]", "aff_resnet32")] == [True, True, True, False]
