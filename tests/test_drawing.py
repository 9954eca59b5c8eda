"""Pages of pictures: the formats they are written in, and axes of epochs."""

from __future__ import annotations

from pathlib import Path

import pytest
from run_folders import write_run
from test_configs import CONFIGS

from fusion.__main__ import main
from fusion.drawing import FORMATS, label_epochs, new_page, picture_format, save_page
from fusion.errors import ConfigError
from fusion.files import whole_file_by_ending
from fusion.published import find_row

ROW = find_row("cifar10_v1_aff_resnet32")
BEGINNINGS = {".png": b"\x89PNG", ".pdf": b"%PDF", ".svg": b"<?xml", ".jpg": b"\xff\xd8\xff", ".jpeg": b"\xff\xd8\xff"}


@pytest.fixture
def run(tmp_path):
    return write_run(tmp_path / "run", CONFIGS / "cifar10_aff_resnet32.yaml", [50.0, 40.0])


def commands(run, folder):
    """Every command that writes one picture, without its output."""
    config = folder / "digits.yaml"
    config.write_text("data:\n  name: digits\n")
    return {
        "curves": ["curves", str(run)],
        "browse": ["browse", "--config", str(config), "--images", "2"],
        "reproduce": ["reproduce", ROW.id, "--run", str(run)],
    }


# --- Formats ---------------------------------------------------------------------------------------------------------


def test_every_format_has_its_content(tmp_path):
    assert set(FORMATS) == set(BEGINNINGS)
    for ending, beginning in BEGINNINGS.items():
        for name in (f"a{ending}", f"b{ending.upper()}"):
            save_page(new_page(1, 1, 2, "title")[0], tmp_path / name)
            assert (tmp_path / name).read_bytes().startswith(beginning), name


@pytest.mark.parametrize("name", ["a.gif", "a", "a.png.txt", ".png", "a."])
def test_other_names_are_refused(tmp_path, name):
    with pytest.raises(ConfigError, match=r"expected a name that ends in \.png, \.pdf, \.svg, \.jpg or \.jpeg"):
        picture_format(Path(name))
    with pytest.raises(ConfigError):
        save_page(new_page(1, 1, 2, "title")[0], tmp_path / name)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("command", ["curves", "browse", "reproduce"])
def test_commands_write_the_format_of_the_name_and_refuse_others(run, tmp_path, capsys, command):
    words = commands(run, tmp_path)[command]
    for ending, beginning in ((".pdf", b"%PDF"), (".svg", b"<?xml"), (".jpg", b"\xff\xd8\xff")):
        output = tmp_path / f"c{ending}"
        assert main([*words, "--output", str(output)]) == 0
        assert output.read_bytes().startswith(beginning)
    before = sorted(tmp_path.rglob("*"))
    for name in ("c.gif", "c", "new/c.gif"):
        capsys.readouterr()
        assert main([*words, "--output", str(tmp_path / name)]) == 2
        said = capsys.readouterr().err
        assert "expected a name that ends in .png, .pdf" in said and said.count("error: ") == 1
    assert sorted(tmp_path.rglob("*")) == before


def test_name_is_refused_before_any_work(run, tmp_path, monkeypatch, capsys):
    def work(*words, **keywords):
        raise AssertionError("work was done")

    monkeypatch.setattr("fusion.explain.browse.draw_fed_images", work)
    monkeypatch.setattr("fusion.explain.plots.read_run_curve", work)
    monkeypatch.setattr("fusion.published.command.read_run", work)
    for words in commands(run, tmp_path).values():
        assert main([*words, "--output", str(tmp_path / "c.gif")]) == 2
        assert "c.gif" in capsys.readouterr().err


def test_picture_that_fails_leaves_the_one_before(tmp_path):
    (tmp_path / "a.png").write_text("before")
    with pytest.raises(RuntimeError), whole_file_by_ending(tmp_path / "a.png") as path:
        path.write_text("half")
        raise RuntimeError
    assert (tmp_path / "a.png").read_text() == "before"
    assert [path.name for path in tmp_path.iterdir()] == ["a.png"]


# --- Epochs ----------------------------------------------------------------------------------------------------------


def ticks_of(axes):
    low, high = axes.get_xlim()
    return [tick for tick in axes.get_xticks() if low <= tick <= high]


@pytest.mark.parametrize("epochs", [1, 2, 3, 400])
def test_epochs_have_whole_ticks(tmp_path, epochs):
    figure, ((axes,),) = new_page(1, 1, 3, "title")
    axes.plot(range(1, epochs + 1), [0.5] * epochs)
    label_epochs(axes)
    save_page(figure, tmp_path / "a.png")
    assert ticks_of(axes)
    assert all(tick == round(tick) for tick in ticks_of(axes))


@pytest.mark.parametrize("epochs", [1, 2])
@pytest.mark.parametrize("command", ["curves", "reproduce"])
def test_pictures_of_few_epochs_have_whole_ticks(tmp_path, figures, epochs, command):
    run = write_run(tmp_path / "run", CONFIGS / "cifar10_aff_resnet32.yaml", [50.0, 40.0][:epochs])
    assert main([*commands(run, tmp_path)[command], "--output", str(tmp_path / "c.png")]) == 0
    axes_of_epochs = [axes for axes in figures[-1].axes if axes.get_xlabel() == "epoch"]
    assert len(axes_of_epochs) == 2
    for axes in axes_of_epochs:
        assert ticks_of(axes)
        assert all(tick == round(tick) for tick in ticks_of(axes))
