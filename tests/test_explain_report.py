"""The report of a run: what is in it, that it is whole, and that a real browser shows it without complaint."""

from __future__ import annotations

import re
from base64 import b64decode
from html import unescape
from html.parser import HTMLParser
from io import BytesIO
from pathlib import Path

import browser
import numpy as np
import pytest
from classified import TASK
from PIL import Image
from run_folders import write_run

from fusion.__main__ import main
from fusion.errors import ConfigError
from fusion.explain.report import make_report
from fusion.explain.report_page import Bullets, Paragraph, Picture, Preformatted, Table, parts_as_html
from fusion.explain.report_sections import SECTIONS, published_section
from fusion.training.config import read_config
from fusion.training.engine import train
from fusion.training.logbook import RunDirectory

VOID = {"meta", "img", "br", "link"}


class Page(HTMLParser):
    """Refuses tags that are not closed in order; collects what the tests ask for."""

    def __init__(self, text):
        super().__init__()
        self.open, self.tags, self.words = [], [], []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.words.append(data)

    def all(self, tag):
        return [attributes for name, attributes in self.tags if name == tag]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A run of one epoch on a few images of two classes, one of whose names is awkward, and its report."""
    folder = tmp_path_factory.mktemp("report")
    draw = np.random.default_rng(0)
    for split, count in (("train", 8), ("test", 6)):
        for name in ("<ant> & $bee$", "cat"):
            (folder / "data" / split / name).mkdir(parents=True)
            for number in range(count):
                image = Image.fromarray(draw.integers(0, 256, (32, 32, 3), dtype=np.uint8))
                image.save(folder / "data" / split / name / f"{number}.png")
    words = ["model.name=cifar_resnet", "model.fusion=aff", "model.blocks=1", "model.channel_times=1"]
    words += ["data.name=image_folder", f"data.dir={folder / 'data'}", "data.batch_size=8", "train.epochs=2"]
    train(read_config(None, [*words, "schedule.mode=constant"]), RunDirectory(folder / "run"))
    assert main(["report", "--run", str(folder / "run")]) == 0
    return folder


@pytest.fixture(scope="module")
def text(folder):
    return (folder / "run" / "report.html").read_text(encoding="utf-8")


def test_report_is_whole_and_valid(text):
    page = Page(text)
    assert text.startswith('<!DOCTYPE html>\n<html lang="en">')
    headings = [heading for heading, _ in SECTIONS]
    assert re.findall("<h2>(.+?)</h2>", text) == headings
    identities = [attributes["id"] for _, attributes in page.tags if "id" in attributes]
    assert len(identities) == len(set(identities)) == len(headings)
    assert [link["href"] for link in page.all("a")] == [f"#{identity}" for identity in identities]
    assert "Not shown" not in text
    assert not page.all("script") and not page.all("link")


def test_report_needs_nothing_but_itself(text):
    images = Page(text).all("img")
    assert len(images) >= 7
    for attributes in images:
        head, data = attributes["src"].split(",", 1)
        assert head == "data:image/png;base64"
        assert Image.open(BytesIO(b64decode(data))).width > 900
        assert len(attributes["alt"]) > 20
    assert not re.search(r"https?://", re.sub(r"<pre>.*?</pre>", "", text, flags=re.DOTALL))
    assert "default-src 'none'" in Page(text).all("meta")[1]["content"]


def test_report_has_the_run_s_figures(folder, text):
    words = " ".join(Page(text).words)
    for expected in ("cifar_resnet (aff)", "16 to train, 12 to test", "2 of 2", "fusion: aff", "mxnet 1.9.1"):
        assert expected in words
    assert "&lt;ant&gt; &amp; $bee$ taken for" in text or "cat taken for &lt;ant&gt; &amp; $bee$" in text
    assert "<ant>" not in text
    assert "No published figure is on these images" in words


def test_section_that_cannot_be_made_says_why(folder, tmp_path, capsys):
    output = tmp_path / "out" / "report.html"
    words = ["report", "--run", str(folder / "run"), "--output", str(output), f"data.dir={tmp_path}"]
    assert main([*words, "--images", str(folder / "data" / "test" / "cat" / "0.png"), str(tmp_path / "none.png")]) == 0
    assert "left out" in capsys.readouterr().err
    text = output.read_text(encoding="utf-8")
    Page(text)
    assert unescape(text).count("Not shown: the run's data is needed") == 3  # confusion, pairs, distribution
    assert "cat/ 0.png" not in text  # it is in the picture
    assert text.count("<img") == 3  # curves, Grad-CAM and maps of the given image
    assert "Say where it is now with data.dir=PATH" in text


def test_registry_makes_the_sections():
    class Known:
        title, run = "t & u", RunDirectory(Path("r"))

    def fine(known):
        return [Paragraph("fine")]

    def broken(known):
        raise ConfigError("a < b")

    text = make_report(Known(), (("One", fine), ("Two", broken)))
    Page(text)
    assert "<h2>One</h2><p>fine</p>" in text
    assert '<h2>Two</h2><p class="quiet">Not shown: a &lt; b</p>' in text
    assert "<title>t &amp; u</title>" in text


class RunOnly:
    """What `published_section` asks for."""

    def __init__(self, path):
        self.run = RunDirectory(path)
        self.result = {"parameters": 84066}


def test_run_of_a_published_network_is_held_against_its_row(tmp_path):
    config = Path(__file__).parents[1] / "configs" / "cifar10_aff_resnet32.yaml"
    path = write_run(tmp_path / "run", config, [60.0, 45.0, 40.0], data="CIFAR-10", parameters=7874026)
    text = parts_as_html(published_section(RunOnly(path)))
    assert "AFF-ResNet-32, published as checkpoint named 0.9626: the run is" in text
    assert text.count("<img") == 1
    assert "may not be comparable" not in text
    path = write_run(tmp_path / "short", config, [10.0], ["train.epochs=40", "schedule.steps=[]"], parameters=7874026)
    text = parts_as_html(published_section(RunOnly(path)))
    assert text.index("A run of 40 epochs beside one of 400") < text.index("the run is below the published curve. At")
    small = ["model.name=cifar_resnet", "model.blocks=1", "model.channel_times=1"]
    path = write_run(tmp_path / "small", config, [60.0], small)
    text = parts_as_html(published_section(RunOnly(path)))
    assert "No published row is of this network" in text
    assert "checkpoint named 0.9705" in text and "5.84 M" in text and "<img" not in text


def test_every_kind_of_part_is_escaped():
    awkward = "<b> & \"quoted\" 'words'"
    parts = [
        Paragraph(awkward),
        Paragraph(awkward, quiet=True),
        Bullets([awkward]),
        Table([(awkward, awkward)], (awkward, awkward)),
        Preformatted(awkward),
        Preformatted(awkward, summary=awkward),
        Picture("AAAA", awkward),
    ]
    for part in parts:
        text = parts_as_html([part])
        page = Page(text)
        assert not page.all("b"), part
        assert awkward in " ".join(page.words), part
    (image,) = Page(parts_as_html(parts)).all("img")
    assert image == {"src": "data:image/png;base64,AAAA", "alt": awkward}
    assert unescape(parts_as_html(parts)).count(awkward) == 12


def test_result_s_rows_are_the_figures_of_an_epoch():
    row = {"epoch": 3.0, "val_top1_error": 0.0317, "val_top5_error": 0.001, "val_loss": 0.25, "train_loss": 1.5}
    assert dict(TASK.epoch_facts(row)) == {
        "top-1 error on the test set": "3.17 %",
        "accuracy": "96.83 %",
        "top-5 error": "0.10 %",
        "cross-entropy on the test set": "0.2500",
        "training loss": "1.5000",
    }


def test_report_refuses(folder, tmp_path, capsys):
    write_run(tmp_path / "unfinished", None, [], ["data.name=digits"])
    for words, message in (
        (["--run", str(tmp_path / "unfinished")], "no epoch of this run is finished"),
        (["--run", str(tmp_path)], "not the folder of a run"),
        (["--run", str(folder / "run")], "write over it with --force"),
        (["--run", str(folder / "run"), "--force", "model.fusion=se"], "only data.key=value"),
        (["--run", str(folder / "run"), "--output", str(tmp_path / "r.html"), "--images", "none/*.png"], "none/*.png"),
        (["--run", str(folder / "run"), "--output", str(tmp_path / "r.pdf")], "a name that ends in .html or .htm"),
    ):
        before = sorted(tmp_path.rglob("*")), (folder / "run" / "report.html").stat().st_mtime_ns
        assert main(["report", *words]) == 2
        assert message in capsys.readouterr().err
        assert before == (sorted(tmp_path.rglob("*")), (folder / "run" / "report.html").stat().st_mtime_ns)


# --- In a browser ----------------------------------------------------------------------------------------------------

needs_browser = pytest.mark.skipif(
    browser.find() is None, reason="no Chromium here: apt-get install chromium, for a look at the report in a browser"
)


@needs_browser
@pytest.mark.parametrize("dark", [False, True])
def test_browser_shows_the_report_without_complaint(folder, dark):
    path = folder / "run" / "report.html"
    found = browser.visit(path, dark)
    assert found.errors == []
    assert found.broken == []
    assert found.requests == [path.resolve().as_uri()]
    assert all(heading in found.dom for heading, _ in SECTIONS)
    shot = np.asarray(Image.open(BytesIO(found.screenshot)).convert("L"))
    assert shot.shape[0] > 3000  # all of the page
    assert (shot[:50, :200].mean() < 60) == dark


@needs_browser
@pytest.mark.parametrize(
    ("body", "complaint"),
    [
        ("<script>console.error('oops')</script>", "oops"),
        ("<script>nosuch()</script>", "ReferenceError"),
        ("<img src='none.png' alt='gone'>", "ERR_FILE_NOT_FOUND"),
        (
            "<meta http-equiv='Content-Security-Policy' content=\"default-src 'none'\"><img src='a.png' alt='gone'>",
            "Content Security Policy",
        ),
    ],
)
def test_browser_complains_of_a_broken_page(tmp_path, body, complaint):
    (tmp_path / "page.html").write_text(f"<!DOCTYPE html><html><head><title>x</title></head><body>{body}</body></html>")
    found = browser.visit(tmp_path / "page.html")
    assert any(complaint in error for error in found.errors)
    assert found.broken == (["gone"] if "gone" in body else [])
