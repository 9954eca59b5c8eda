"""examples/tour.ipynb: it runs from the first cell to the last, and what it says is true."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
TOUR = ROOT / "examples" / "tour.ipynb"

#: The whole file, in bytes: with its pictures it must stay small in the repository.
MOST_BYTES = 400_000


@pytest.fixture(scope="module")
def tour():
    return json.loads(TOUR.read_text(encoding="utf-8"))


def said(cells):
    """What the code cells have printed."""
    outputs = [output for cell in cells if cell["cell_type"] == "code" for output in cell["outputs"]]
    return "".join("".join(output.get("text", "")) for output in outputs)


def pictures(cells):
    outputs = [output for cell in cells if cell["cell_type"] == "code" for output in cell["outputs"]]
    return sum("image/png" in output.get("data", {}) for output in outputs)


def check(printed):
    """What is printed is what the text beside it promises."""
    (difference,) = re.findall(r"largest difference from equation 4: (\S+)", printed)
    assert float(difference) < 1e-5
    assert "weights of iAFF, one of each pass: 2\n" in printed
    assert "below 30 %: True\n" in printed
    assert "the files give the same answers: True\n" in printed


def test_tour_is_small_and_tidy(tour):
    assert TOUR.stat().st_size < MOST_BYTES
    text = TOUR.read_text(encoding="utf-8")
    assert not re.search(r"/(tmp|home|root|work|usr)/", text)
    cells = tour["cells"]
    assert cells[0]["cell_type"] == "markdown"
    assert {cell["cell_type"] for cell in cells} == {"markdown", "code"}
    assert not any(output["output_type"] == "error" for cell in cells for output in cell.get("outputs", []))
    numbers = [cell["execution_count"] for cell in cells if cell["cell_type"] == "code"]
    assert numbers in ([None] * len(numbers), list(range(1, len(numbers) + 1)))


@pytest.mark.slow
@pytest.mark.long
def test_tour_runs(tmp_path, monkeypatch):
    pytest.importorskip("ipykernel", reason="needs ipykernel")
    nbclient = pytest.importorskip("nbclient", reason="needs nbclient")
    nbformat = pytest.importorskip("nbformat", reason="needs nbformat")
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    notebook = nbformat.read(TOUR, as_version=4)
    nbclient.NotebookClient(
        notebook, timeout=600, kernel_name="python3", resources={"metadata": {"path": str(tmp_path)}}
    ).execute()
    check(said(notebook.cells))
    assert pictures(notebook.cells) == 4
