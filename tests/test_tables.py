"""Tables of text and of Markdown."""

from __future__ import annotations

from fusion.tables import markdown_table, text_columns, text_table

HEADING = ("layer", "kind", "parameters")
ROWS = [("a", "Conv2D", "1,000"), ("  a.0", "Dense", "12")]


def test_text_is_aligned_with_indents_and_totals():
    assert text_table(HEADING, ROWS, left=2, totals=("total", "", "1,012")).splitlines() == [
        "layer  kind    parameters",
        "-------------------------",
        "a      Conv2D       1,000",
        "  a.0  Dense           12",
        "-------------------------",
        "total               1,012",
    ]


def test_cells_stay_as_they_are():
    """tabulate would read numbers and write them in another way."""
    lines = text_table(("a", "b"), [("1e5", "0010"), ("1.50", "nan")], left=0, gap=3).splitlines()
    assert lines[2:] == [" 1e5   0010", "1.50    nan"]


def test_table_without_rows_has_its_heading():
    assert text_table(("a", "bc"), []).splitlines() == ["a  bc", "-----"]
    assert markdown_table(("a", "bc"), []).startswith("| a")


def test_columns_have_no_heading():
    assert text_columns([("a", "x, y"), ("long", "")]).splitlines() == ["  a     x, y", "  long"]


def test_markdown_is_aligned():
    assert [" ".join(line.split()) for line in markdown_table(HEADING, ROWS, left=2).splitlines()] == [
        "| layer | kind | parameters |",
        "|:--------|:-------|-------------:|",
        "| a | Conv2D | 1,000 |",
        "| a.0 | Dense | 12 |",
    ]
