"""What a trained network says of images, on the command line, and how images are found."""

from __future__ import annotations

import json
import logging
import os

import numpy as np
import pytest
from PIL import Image
from run_folders import write_network

from fusion import get_model
from fusion.__main__ import main
from fusion.compat import mx
from fusion.errors import CheckpointError, ConfigError, DataError
from fusion.inference.images import find_images, read_batches
from fusion.inference.predict import probabilities
from fusion.inference.trained import load_run

CLASSES = ("ant", "bee", "cat", "dog")
WORDS = ["model.name=cifar_resnet", "model.fusion=aff", "model.blocks=1", "model.channel_times=1"]


def save(path, mode="RGB", seed=0, size=(20, 24)):
    path.parent.mkdir(parents=True, exist_ok=True)
    channels = {"RGB": 3, "RGBA": 4, "L": 1}[mode]
    pixels = np.random.default_rng(seed).integers(0, 256, (*size, channels), dtype=np.uint8)
    Image.fromarray(pixels.squeeze(), mode).save(path)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A run, and images of several kinds in nested folders."""
    root = tmp_path_factory.mktemp("predict")
    write_network(root / "run", [*WORDS, "data.name=image_folder", "data.dir=none"], CLASSES)
    save(root / "photos" / "a.png", seed=1)
    save(root / "photos" / "grey.jpg", "L", seed=2)
    save(root / "photos" / "deep" / "clear.PNG", "RGBA", seed=3)
    save(root / "photos" / "deep" / "er" / "b.jpeg", seed=4, size=(90, 40))
    (root / "photos" / "notes.txt").write_text("no image")
    (root / "photos" / "._a.png").write_bytes(b"no image")  # as macOS leaves them
    save(root / "photos" / ".hidden" / "h.png")
    return root


@pytest.fixture
def predict(folder, capsys):
    def command(*words):
        status = main(["predict", "--run", str(folder / "run"), *map(str, words)])
        return (status, *capsys.readouterr())

    return command


# --- Finding images --------------------------------------------------------------------------------------------------


def names(paths):
    return [path.name for path in paths]


def test_folders_are_searched_to_the_bottom(folder):
    assert names(find_images([str(folder / "photos")])) == ["a.png", "clear.PNG", "b.jpeg", "grey.jpg"]


def test_files_folders_and_patterns_together_each_file_once(folder):
    photos = folder / "photos"
    found = find_images([str(photos / "grey.jpg"), str(photos / "deep"), str(photos / "**" / "*.jp*g")])
    assert names(found) == ["grey.jpg", "clear.PNG", "b.jpeg"]


def test_pattern_s_other_files_and_folders_do_not_count(folder):
    assert names(find_images([str(folder / "photos" / "*")])) == ["a.png", "grey.jpg"]


def test_file_whose_name_is_a_pattern_is_that_file(tmp_path):
    save(tmp_path / "a[1].png")
    save(tmp_path / "a1.png")
    assert names(find_images([str(tmp_path / "a[1].png")])) == ["a[1].png"]


def test_what_was_named_is_returned_though_it_is_no_image(folder):
    assert names(find_images([str(folder / "photos" / "notes.txt"), "none.png"])) == ["notes.txt", "none.png"]


@pytest.mark.parametrize("word", ["empty", "empty/*.png", "photos/*.gif", "photos/.hidden/none*"])
def test_no_images_is_an_error(folder, word):
    (folder / "empty").mkdir(exist_ok=True)
    with pytest.raises(DataError, match="no image"):
        find_images([str(folder / "photos" / "a.png"), str(folder / word)])


def test_batches_are_of_the_readable_ones(folder):
    files = [folder / "photos" / name for name in ("a.png", "notes.txt", "grey.jpg", "none.png")]
    preparation = load_run(folder / "run").preparation
    batches = list(read_batches(files, preparation, 2))
    assert [batch.images.shape for batch in batches] == [(1, 32, 32, 3), (1, 32, 32, 3)]
    assert [names(batch.files) for batch in batches] == [["a.png"], ["grey.jpg"]]
    assert [names(bad.file for bad in batch.unreadable) for batch in batches] == [["notes.txt"], ["none.png"]]


# --- Answers ---------------------------------------------------------------------------------------------------------


def test_answers_are_the_network_s_softmax(folder, predict):
    status, printed, _ = predict(folder / "photos", "--json", "--top", 4, "--batch-size", 3)
    assert status == 0
    found = json.loads(printed)
    trained = load_run(folder / "run")
    assert found["model"] == "cifar_resnet (aff)"
    assert found["checkpoint"].endswith("best.params")
    assert found["unreadable"] == []
    assert len(found["images"]) == 4
    for answer in found["images"]:
        image = trained.preparation.read(folder / answer["file"])[None]
        logits = trained.net(mx.nd.array(trained.preparation.normalise(image)))
        expected = dict(zip(CLASSES, logits.softmax().asnumpy()[0]))
        assert {top["class"] for top in answer["top"]} == set(CLASSES)
        for top in answer["top"]:
            assert top["probability"] == pytest.approx(expected[top["class"]], rel=1e-4)
        shares = [top["probability"] for top in answer["top"]]
        assert shares == sorted(shares, reverse=True)
        assert sum(shares) == pytest.approx(1)


def test_lines_name_the_file_and_the_first_classes(folder, predict):
    status, printed, said = predict(folder / "photos" / "a.png", folder / "photos" / "grey.jpg", "--top", 2)
    first, second = printed.splitlines()
    assert (status, said) == (0, "")
    assert first.startswith(f"{folder / 'photos' / 'a.png'}: ")
    assert (
        second.count(" %)") == 2 == sum(second.count(f", {name} (") + second.count(f": {name} (") for name in CLASSES)
    )


def test_more_classes_than_there_are_is_all_of_them(folder, predict):
    _, printed, _ = predict(folder / "photos" / "a.png", "--top", 99)
    assert printed.count(" %") == 4


def test_answers_do_not_depend_on_the_batches(folder, predict):
    one, all_of_them = (predict(folder / "photos", "--batch-size", size, "--json")[1] for size in (1, 32))
    for a, b in zip(json.loads(one)["images"], json.loads(all_of_them)["images"]):
        assert a["file"] == b["file"]
        assert a["top"][0]["probability"] == pytest.approx(b["top"][0]["probability"], rel=1e-4)


def test_unreadable_files_are_reported_and_do_not_stop_the_rest(folder, predict):
    photos = folder / "photos"
    status, printed, said = predict(photos / "notes.txt", photos / "a.png", "none.png", "--batch-size", 1)
    assert status == 1
    assert len(printed.splitlines()) == 1 and printed.startswith(str(photos / "a.png"))
    assert "notes.txt: no image of a known kind; expected JPEG, PNG, WebP, BMP, GIF or TIFF" in said
    assert "none.png: No such file or directory; expected" in said


def test_unreadable_files_are_in_the_json(folder, predict):
    status, printed, _ = predict(folder / "photos" / "a.png", "none.png", "--json")
    found = json.loads(printed)
    assert status == 1
    assert [bad["file"] for bad in found["unreadable"]] == ["none.png"]
    assert len(found["images"]) == 1


def test_only_unreadable_files_is_an_answer_without_images(folder, predict):
    status, printed, said = predict("none.png")
    assert (status, printed) == (1, "")
    assert "none.png" in said


def test_long_lists_show_progress_on_standard_error_only(folder, predict, monkeypatch):
    monkeypatch.setattr(logging.getLogger("fusion"), "handlers", [])
    _, printed, said = predict(folder / "photos", "--batch-size", 1, "--json")
    json.loads(printed)
    assert "predict: 100 %" in said


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--top", "0"], "--top 0"),
        (["--batch-size", "0"], "--batch-size 0"),
        (["--checkpoint", "none.params"], "none.params"),
        (["--device", "tpu"], "'tpu'"),
    ],
)
def test_impossible_options_are_refused(folder, predict, words, message):
    status, printed, said = predict(folder / "photos" / "a.png", *words)
    assert (status, printed) == (2, "")
    assert said.startswith("error: ") and message in said


@pytest.mark.parametrize("option", ["--top", "--batch-size"])
def test_impossible_numbers_are_refused_before_the_network_is_loaded(folder, tmp_path, capsys, option):
    words = ["predict", "--run", str(tmp_path / "none"), str(folder / "photos"), option, "-1"]
    assert main(words) == 2
    assert f"{option} -1: expected at least 1" in capsys.readouterr().err


def test_batch_size_is_checked_at_once(folder):
    with pytest.raises(ConfigError, match="--batch-size 0: expected at least 1"):
        read_batches([folder / "photos" / "a.png"], load_run(folder / "run").preparation, 0)


def test_mistyped_model_is_no_model(folder, capsys):
    assert main(["predict", "--model", "aff_resnet8_digit", str(folder / "photos" / "a.png")]) == 2
    said = capsys.readouterr().err
    assert "--model: no such model 'aff_resnet8_digit', did you mean 'aff_resnet8_digits'" in said
    assert main(["predict", "--model", "aff_resnet50", str(folder / "photos" / "a.png")]) == 2
    assert "--checkpoint FILE" in capsys.readouterr().err
    words = ["predict", "--model", "aff_resnet50", "--checkpoint", "best", str(folder / "photos" / "a.png")]
    assert main(words) == 2
    assert "--checkpoint best: this is for --run DIR; with --model, name a file" in capsys.readouterr().err


def test_empty_folder_is_refused(tmp_path, predict):
    status, _, said = predict(tmp_path)
    assert status == 2
    assert "no images" in said


def test_model_by_name_with_a_file(folder, tmp_path, capsys):
    net = get_model("aff_resnet32", classes=3)
    net.initialize()
    net(mx.nd.zeros((1, 3, 32, 32)))
    net.save_parameters(str(tmp_path / "net.params"))
    words = ["--model", "aff_resnet32", "--checkpoint", str(tmp_path / "net.params")]
    assert main(["predict", *words, str(folder / "photos" / "a.png")]) == 0
    printed = capsys.readouterr().out
    assert {printed.split(": ")[1].split()[0]} <= {"0", "1", "2"}
    words[1] = "aff_resnext38_32x4d"
    assert main(["predict", *words, str(folder / "photos" / "a.png")]) == 2
    assert "parameters of another network" in capsys.readouterr().err


def test_answers_that_are_not_numbers_are_refused(folder):
    trained = load_run(folder / "run")
    trained.net.output.bias.set_data(mx.nd.full((4,), float("nan")))
    with pytest.raises(CheckpointError, match="not finite"):
        probabilities(trained, np.zeros((1, 32, 32, 3), np.uint8))


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_file_that_may_not_be_read_says_so(folder, tmp_path, predict):
    save(tmp_path / "secret.png")
    (tmp_path / "secret.png").chmod(0)
    status, _, said = predict(tmp_path / "secret.png")
    assert status == 1
    assert "Permission denied" in said
