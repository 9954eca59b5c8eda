"""Names of classes from a user's file: each form of it, what is refused, and that only what is shown changes."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fusion.__main__ import main
from fusion.data.identity import Classes
from fusion.errors import DataError
from fusion.explain.answers import answer_all
from fusion.explain.gradcam_picture import class_number
from fusion.inference.shown_names import with_shown_names
from fusion.inference.trained import Preparation, Trained, load_pretrained

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
    with pytest.raises(DataError, match=r"has 2 names, and the network, whose classes have no names, has 3 outputs"):
        with_shown_names(network(("0", "1", "2"), named=False), file(tmp_path, content, name))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("\n".join(LINES[1:]), r"has no name for 1 of 3 classes of the network: 'n01440764'; add them"),
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
