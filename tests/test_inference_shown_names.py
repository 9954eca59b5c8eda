"""Names of classes from a user's file: each form of it, what is refused, and that only what is shown changes."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fusion.__main__ import main
from fusion.data.identity import Classes
from fusion.errors import DataError
from fusion.explain import browse_picture
from fusion.explain.answers import answer_all
from fusion.explain.browse_picture import draw_fed_images
from fusion.explain.gradcam_picture import class_number
from fusion.explain.report_facts import Known
from fusion.inference.masks import labels_of
from fusion.inference.shown_names import with_shown_names
from fusion.inference.trained import Preparation, Trained, load_pretrained
from fusion.training.config import read_config
from fusion.training.configs import find_config

OWN = ("n01440764", "n01664065", "great white")
SHOWN = ("tench, Tinca tinca", "loggerhead, loggerhead turtle", "white shark")
LINES = tuple(f"{own} {shown}" for own, shown in zip(OWN, SHOWN))


def network(own=OWN, outputs=None, named=True):
    preparation = Preparation(8, 1.0, (0,) * 3, (1,) * 3, photos=False)
    names = own if outputs is None else (*own, *(f"(unused {number})" for number in range(len(own), outputs)))
    return Trained(None, names, preparation, "a", "b", Path("c"), None, known=Classes(own, "c") if named else None)


def file(tmp_path, content, name="names.txt"):
    path = tmp_path / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


@pytest.mark.parametrize(
    ("content", "name"),
    [
        ("\n".join(LINES), "synset_words.txt"),
        ("\n".join(reversed(LINES)) + "\n\n", "names.txt"),
        ("\n".join(line.replace(f"{own} ", f"{own}\t") for line, own in zip(LINES, OWN)), "names.tsv"),
        (b"\xef\xbb\xbf" + "\r\n".join(LINES).encode(), "windows.txt"),
        ("\n".join(LINES).encode("utf-16"), "utf16.txt"),
        ("\n".join([*LINES, "n99999999 of another network"]), "more.txt"),
        (json.dumps({str(number): [own, shown] for number, (own, shown) in enumerate(zip(OWN, SHOWN))}), "keras.json"),
        (json.dumps(dict(zip(OWN, SHOWN))), "names.json"),
        (json.dumps(dict(zip(OWN, SHOWN))), "without_suffix"),
    ],
)
def test_each_form_of_the_file_is_read(tmp_path, content, name):
    found = with_shown_names(network(), file(tmp_path, content, name))
    assert found.classes == SHOWN
    assert found.known.names == OWN


def test_outputs_without_a_class_keep_their_names(tmp_path):
    assert with_shown_names(network(outputs=5), file(tmp_path, "\n".join(LINES))).classes[3:] == (
        "(unused 3)",
        "(unused 4)",
    )


def test_same_name_of_two_classes_has_the_class_behind_it(tmp_path):
    found = with_shown_names(network(), file(tmp_path, f"{LINES[0]}\nn01664065 crane\ngreat white crane\n"))
    assert found.classes == (SHOWN[0], "crane (n01664065)", "crane (great white)")


@pytest.mark.parametrize(
    ("content", "name", "shown"),
    [
        ("\n".join(LINES[:2]), "synset_words.txt", SHOWN[:2]),
        ("great white shark\ntench", "names.txt", ("great white shark", "tench")),
        (json.dumps({"1": ["n2", "two"], "0": ["n1", "one"]}), "keras.json", ("one", "two")),
        (json.dumps(["one", "two"]), "list.json", ("one", "two")),
    ],
)
def test_network_without_names_takes_them_in_order(tmp_path, content, name, shown):
    assert with_shown_names(network(("0", "1"), named=False), file(tmp_path, content, name)).classes == shown
    with pytest.raises(DataError, match=r"has 2 names for 3 classes that are known by number only; expected"):
        with_shown_names(network(("0", "1", "2"), named=False), file(tmp_path, content, name))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("\n".join(LINES[1:]), r"has no name for 1 of 3 classes: 'n01440764'; add them"),
        ("\n".join(["n01440765 tench", *LINES[1:]]), r"line 1 has 'n01440765', .*did you mean 'n01440764'\?"),
        ("\n".join([*LINES, LINES[0]]), r"'n01440764' is in line 1 and again in line 4; remove one of them"),
        (f"{LINES[0]}\nn01664065\n{LINES[2]}", r"no name for 1 of 3|no name behind the class 'n01664065'"),
        (f"{LINES[0]}\nn01664065\t\n{LINES[2]}", r"line 2: .*expected CLASS<tab>NAME"),
        ("", "has no names; expected a line CLASS<tab>NAME"),
        (b"\xff\xfe\x00", "cannot be read as a file of class names"),
        ('{"0": ["n01440764"]}', r"entry '0': expected \[\"n01440764\", \"tench\"\]"),
        ('{"0": 3}', r"entry '0': expected"),
        ('{"0": ', "not JSON"),
        ("[" * 200 + "]" * 200, "nested more than 50 deep"),
    ],
)
def test_what_is_wrong_is_one_message(tmp_path, content, message):
    with pytest.raises(DataError, match=message) as error:
        with_shown_names(network(), file(tmp_path, content))
    assert "--class-names" in str(error.value)


def test_missing_file_is_one_message(tmp_path):
    with pytest.raises(DataError, match="No such file"):
        with_shown_names(network(), tmp_path / "nowhere.txt")


def test_class_to_explain_may_be_named_either_way(tmp_path):
    found = with_shown_names(network(), file(tmp_path, "\n".join(LINES)))
    assert class_number(found, "great white") == class_number(found, "white shark") == 2


def test_answers_are_shown_by_these_names(tmp_path, capsys):
    words = ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"]
    path = file(tmp_path, "".join(f"{number} {word}\n" for number, word in enumerate(words)))
    plain = load_pretrained("aff_resnet8_digits")
    named = with_shown_names(plain, path)
    Image.fromarray(np.full((32, 32, 3), 90, np.uint8)).save(tmp_path / "a.png")
    command = ["predict", "--model", "aff_resnet8_digits", "--json", "--top", "10", str(tmp_path / "a.png")]
    found = []
    for more in ([], ["--class-names", str(path)]):
        assert main([*command, *more]) == 0
        found.append(json.loads(capsys.readouterr().out.splitlines()[-1])["images"][0]["top"])
    assert [words[int(each["class"])] for each in found[0]] == [each["class"] for each in found[1]]
    assert [each["probability"] for each in found[0]] == [each["probability"] for each in found[1]]
    data = named.load_split(named.settings, "test")
    data.__dict__.update(images=data.images[:20], labels=data.labels[:20])
    assert answer_all(named, data).classes == tuple(words)


def test_classes_that_only_stand_in_for_names_take_them_in_order(tmp_path):
    numbered = network(("0", "1"))
    numbered = replace(numbered, known=Classes(("0", "1"), "c", named=False))
    assert with_shown_names(numbered, file(tmp_path, "\n".join(LINES[:2]))).classes == SHOWN[:2]


def test_background_stays_the_background_whatever_it_is_shown_as(tmp_path):
    found = with_shown_names(network(("background", "ship")), file(tmp_path, "background\tHintergrund\nship\tSchiff"))
    labels = labels_of(found)
    assert labels.has_background
    assert (labels.name(0), labels.name(1)) == ("Hintergrund", "Schiff")
    single = labels_of(with_shown_names(network(("ship",)), file(tmp_path, "ship\tSchiff")))
    assert (single.name(0), single.name(1)) == ("background", "Schiff")


def test_sheet_of_fed_images_and_report_show_these_names(tmp_path, capsys, monkeypatch):
    words = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
    path = file(tmp_path, "".join(f"{number}\t{word}\n" for number, word in enumerate(words)))
    found = []
    monkeypatch.setattr(browse_picture, "draw_contact_sheet", lambda images, captions, *others: found.extend(captions))
    draw_fed_images(read_config(find_config("quickstart"), ["augment.mixup_alpha=0"]), tmp_path / "a.png", 6, 0, path)
    assert found
    assert {caption.split(":")[0] for caption in found} <= set(words)
    network = load_pretrained("aff_resnet8_digits")
    assert Known(network.run, with_shown_names(network, path), network.settings).pictures[1] == list(words[:6])
    path.write_text(path.read_text().replace("9\tnine\n", ""))
    with pytest.raises(DataError, match="for 1 of 10 classes: '9'; add them"):
        draw_fed_images(read_config(find_config("quickstart"), []), tmp_path / "a.png", 6, 0, path)
