"""Names with control characters reach neither the terminal, nor a log, nor a report as they are."""

from __future__ import annotations

import io
import logging
import sys

import pytest

from fusion.__main__ import main
from fusion.command import log_to_terminal, reported
from fusion.drawing import plain
from fusion.errors import ConfigError
from fusion.explain.report_page import Paragraph, Shown, Table, page_as_html
from fusion.printing import printable, printable_streams
from fusion.training.config import read_config
from fusion.training.logbook import RunDirectory

#: Clears the screen, sets the title, hides a line, turns the text around, is not UTF-8; and what each is shown as.
NAMES = {
    "\x1b[2Jcat": "\\x1b[2Jcat",
    "\x1b]0;owned\x07": "\\x1b]0;owned\\x07",
    "cat\rdog": "cat\\rdog",
    "cat\x9b2J": "cat\\x9b2J",
    "\u202etac": "\\u202etac",
    "caf\udce9": "caf\\udce9",
    "a\u2028b\x85": "a\\u2028b\\x85",
}
every_name = pytest.mark.parametrize(("name", "shown"), NAMES.items())


@every_name
def test_control_characters_are_shown_by_their_numbers(name, shown):
    assert printable(name) == shown
    assert plain(name) == shown


@pytest.mark.parametrize("text", ["great white shark", "a\tb\nc", "Muräne", "鯊魚", "שלום", "🦈", ""])
def test_text_of_any_language_stays(text):
    assert printable(text) == text


@every_name
def test_command_prints_and_refuses_without_them(name, shown, capsys):
    @reported
    def command(words):
        print(name)
        logging.getLogger("fusion").warning("read %s", name)
        raise ConfigError(f"{name}: no such class")

    log_to_terminal("stderr")
    assert command([]) == 2
    printed = capsys.readouterr()
    assert (printed.out, printed.err) == (f"{shown}\n", f"read {shown}\nerror: {shown}: no such class\n")


@every_name
def test_words_of_the_command_line_are_refused_without_them(name, shown, capsys):
    for words in (
        ["evaluate", "--run", name],
        ["reproduce", name],
        ["reproduce", "--no", name],
        ["train", "--no", name],
    ):
        try:
            assert main(words) == 2
        except SystemExit as end:  # of argparse
            assert end.code == 2
        told = capsys.readouterr().err
        assert name not in told
        assert printable(told) == told


@every_name
def test_log_of_a_run_has_none(name, shown, tmp_path):
    run = RunDirectory(tmp_path / "run")
    run.create(read_config(None))
    with run.log():
        logging.getLogger("fusion").warning("class %s", name)
    (line,) = (run.path / "run.log").read_text(encoding="utf-8").split("\n")[:-1]
    assert line.endswith(f" class {shown}")


@every_name
def test_report_has_none_and_its_markup_is_as_before(name, shown, tmp_path):
    sections = [Shown(name, [Paragraph(f"<b>{name}"), Table([(name, name)], (name, name))])]
    page = page_as_html(name, tmp_path / name, sections)
    assert name not in page
    assert f"<title>{shown}</title>" in page
    assert f"<p>&lt;b&gt;{shown}</p>" in page
    assert f'<th scope="row">{shown}</th><td>{shown}</td>' in page
    assert f"{tmp_path / shown}" in page
    page.encode("utf-8")


def test_progress_bars_still_move_to_the_beginning_of_the_line(monkeypatch):
    stream = io.StringIO()
    monkeypatch.setattr(sys, "stderr", stream)
    with printable_streams():
        sys.stderr.write("\r 50 %")
        sys.stderr.writelines(["\r100 %\r", "\n"])
    assert stream.getvalue() == "\r 50 %\r100 %\\r\n"
    assert sys.stderr is stream
