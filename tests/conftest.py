"""What every test finds: one thread, and no lines on the terminal that a command of an earlier test asked for."""

from __future__ import annotations

import logging
import os

import matplotlib.figure
import pytest

# Before MXNet is imported, which asks only then. With pytest-xdist there is a process of tests for each processor
# already; and figures are the same with and without it. Processes that tests start inherit this.
os.environ.setdefault("OMP_NUM_THREADS", "1")

from fusion import command


def forget_the_terminal():
    logger = logging.getLogger("fusion")
    logger.handlers[:] = [handler for handler in logger.handlers if not isinstance(handler, command._Terminal)]


@pytest.fixture(autouse=True)
def quiet_terminal():
    """A command in the process of the tests leaves its handler, as is right for the one command of a process."""
    forget_the_terminal()
    yield
    forget_the_terminal()


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item, call):
    """What a test logs may hold names that are not UTF-8, which pytest-xdist cannot pass on to its first process."""
    made = yield
    report = made.get_result()
    report.sections = [(title, text.encode(errors="backslashreplace").decode()) for title, text in report.sections]


@pytest.fixture
def figures(monkeypatch):
    """The figures that are written."""
    found = []
    save = matplotlib.figure.Figure.savefig

    def spy(figure, *arguments, **keywords):
        found.append(figure)
        save(figure, *arguments, **keywords)

    monkeypatch.setattr(matplotlib.figure.Figure, "savefig", spy)
    return found
