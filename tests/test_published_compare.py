"""A run beside a published one: what can be compared, the arithmetic of the verdict, the table and the picture."""

from __future__ import annotations

import json
import math

import pytest
from run_folders import write_run
from test_configs import CONFIGS

from fusion.__main__ import main
from fusion.errors import ConfigError
from fusion.published import ROWS, Curve, find_row, read_curve
from fusion.published.compare import (
    best_run,
    compare,
    differences,
    find_runs,
    network_identity,
    read_run,
    same_network,
    unlike_settings,
)
from fusion.published.verdict import error_range, judge, judge_best, standard_error
from fusion.training import configs, logbook
from fusion.training.config import read_config

CIFAR10 = find_row("cifar10_v1_aff_resnet32")
FINE = find_row("cifar100_fine_aff_resnet32")
COARSE = find_row("cifar100_coarse_aff_resnet32")
LEVEL = Curve((20.0,) * 30)


def run_of(tmp_path, config="cifar10_aff_resnet32.yaml", errors=(50.0, 40.0), words=(), name="run", **facts):
    return read_run(write_run(tmp_path / name, CONFIGS / config, errors, words, **facts))


def test_settings_of_a_run_are_read_once(tmp_path, monkeypatch):
    read = []
    monkeypatch.setattr(logbook, "read_config", lambda *words: read.append(words) or read_config(*words))
    assert run_of(tmp_path).errors == (50.0, 40.0)
    assert len(read) == 1


def own_curve(*errors):
    return Curve(errors)


# --- The verdict -----------------------------------------------------------------------------------------------------


def test_standard_error_is_that_of_a_share():
    assert standard_error(20.0, 10_000) == pytest.approx(0.4)
    assert standard_error(0.0, 100) == 0
    assert standard_error(50.0, 100) == pytest.approx(5)


@pytest.mark.parametrize(
    ("own", "word"), [(20.0, "within"), (20.39, "within"), (20.41, "above"), (19.61, "within"), (19.59, "below")]
)
def test_run_beside_a_level_curve_is_within_one_standard_error(own, word):
    verdict = judge(own_curve(*[50.0] * 9, own), LEVEL, 10_000)
    assert (verdict.word, verdict.epoch) == (word, 10)
    assert verdict.difference == pytest.approx(own - 20)
    assert (verdict.low, verdict.high) == pytest.approx((19.6, 20.4))


def test_verdict_is_on_the_last_epoch_that_both_have():
    published = Curve(tuple(float(100 - epoch) for epoch in range(1, 11)))
    assert judge(own_curve(99.0, 98.0, 97.0), published, 100).epoch == 3
    longer = judge(own_curve(*[99.0] * 9, 90.0, *[1.0] * 5), published, 100)
    assert (longer.epoch, longer.own, longer.published, longer.word) == (10, 90.0, 90.0, "within")


def test_spread_is_over_five_epochs_on_either_side_without_those_that_leap():
    falling = Curve(tuple(float(100 - epoch) for epoch in range(1, 31)))
    # Epochs 10 to 20 have 90 to 80, of which two are left out at either end.
    assert error_range(falling, 15) == (82.0, 88.0)
    assert error_range(falling, 30) == (70.0, 74.0)  # six epochs, one left out, but the epoch's own stays
    assert error_range(falling, 1) == (95.0, 99.0)
    leaping = Curve((*[20.0] * 14, 90.0, *[20.0] * 15))
    assert error_range(leaping, 14) == (20.0, 20.0)
    assert error_range(leaping, 15) == (20.0, 90.0)


def test_verdict_says_by_how_much():
    words = str(judge(own_curve(30.0), LEVEL, 10_000))
    assert words.startswith("above the published curve: worse")
    assert "30.00 % against 20.00 %, 10.00 points more" in words
    assert "within is from 19.60 to 20.40 %" in words
    assert str(judge(own_curve(10.0), LEVEL, 10_000)).startswith("below the published curve: better")
    assert str(judge(own_curve(20.1), LEVEL, 10_000)).startswith("within the published curve")


def test_published_run_held_against_itself_is_within_at_every_epoch():
    for row in ROWS:
        if row.curve:
            curve = read_curve(row.id)
            for epoch in range(1, curve.epochs + 1):
                assert judge(own_curve(*curve.errors[:epoch]), curve, row.test_set.images).word == "within"


def test_epochs_that_were_not_evaluated_do_not_count(tmp_path, capsys):
    run = run_of(tmp_path, errors=(None, 50.0, None, 40.0, None), words=["train.evaluate_every=2"])
    assert run.curve.evaluated == (2, 4)
    assert run.progress == "5 of 400 epochs"
    found = compare(CIFAR10, run)
    assert (found.verdict.epoch, found.verdict.own) == (4, 40.0)
    assert found.verdict.published == read_curve(CIFAR10.id).at(4)
    shown = {epoch: own for epoch, own, _ in found.lines_at()}
    assert (shown[2], shown[4], shown[1]) == (50.0, 40.0, None)
    assert main(["reproduce", CIFAR10.id, "--run", str(run.path)]) == 0
    assert "nan" not in capsys.readouterr().out


# --- What can be compared --------------------------------------------------------------------------------------------


def test_run_on_superclasses_is_refused_beside_fine_labels_and_the_other_way(tmp_path):
    coarse = run_of(tmp_path, "cifar100_coarse_aff_resnet32.yaml", data="CIFAR-100, 20 superclasses", classes=100)
    with pytest.raises(ConfigError, match="20 superclasses.*100 fine labels"):
        compare(FINE, coarse)
    fine = run_of(tmp_path, "cifar100_fine_aff_resnet32.yaml", name="fine", data="CIFAR-100", classes=100)
    with pytest.raises(ConfigError, match="20 superclasses"):
        compare(COARSE, fine)
    assert compare(COARSE, coarse).verdict.epoch == compare(FINE, fine).verdict.epoch == 2


@pytest.mark.parametrize(
    ("row", "words", "facts", "message"),
    [
        (FINE, (), {}, "different images"),
        (CIFAR10, (), {"test_images": 360}, "360 test images and 10,000"),
        (CIFAR10, ("data.name=image_folder",), {"classes": 3}, "3 classes and 10"),
        (FINE, ("data.name=image_folder",), {}, "10 classes and 100"),
        (CIFAR10, ("data.name=digits",), {"data": "UCI digits"}, "UCI digits.*different images"),
        (find_row("cifar100_table6_resnet_half_b1"), (), {}, "no curve.*not in this package"),
        (find_row("imagenet_other_resnet101"), (), {}, "no curve"),
    ],
)
def test_run_on_other_images_is_refused(tmp_path, row, words, facts, message):
    with pytest.raises(ConfigError, match=message):
        compare(row, run_of(tmp_path, words=words, **facts))


# --- Rows of which only the figure is known --------------------------------------------------------------------------

IAFF = find_row("cifar100_table4_inception_iaff_b2")


def block_run(tmp_path, errors, words=IAFF.words, name="run"):
    title = "CIFAR-100, 20 superclasses"
    own = [*words, "runtime.device='0'"]
    return run_of(tmp_path, IAFF.configs[0], errors, own, name, data=title, classes=20)


@pytest.mark.parametrize(
    ("best", "word"), [(19.9, "within"), (20.29, "within"), (20.31, "above"), (19.51, "within"), (19.49, "below")]
)
def test_best_error_is_compared_with_a_figure_by_one_standard_error(best, word):
    assert IAFF.error == 19.9  # whose standard error is 0.399
    verdict = judge_best(own_curve(50.0, best, 30.0), IAFF.error, 10_000)
    assert (verdict.word, verdict.epoch, verdict.own, verdict.published) == (word, 2, best, 19.9)
    assert str(verdict).startswith(f"{word} the published figure")


def test_run_of_a_row_s_command_has_no_differences_when_finished(tmp_path, capsys):
    run = block_run(tmp_path, [60.0] * 398 + [19.8, 20.5])
    found = compare(IAFF, run)
    assert found.differences == []
    assert (found.verdict.word, found.verdict.epoch) == ("within", 399)
    assert main(["reproduce", IAFF.id, "--run", str(run.path), "--json"]) == 0
    printed = json.loads(capsys.readouterr().out)
    assert (printed["published_best"], printed["published_curve"]) == ({"epoch": None, "error": 19.9}, None)
    assert (run.path / f"reproduce_{IAFF.id}.png").read_bytes().startswith(b"\x89PNG")
    assert best_run(IAFF, [run]).path == run.path
    assert best_run(find_row("cifar100_table4_inception_iaff_b1"), [run]) is None
    assert best_run(find_row("cifar100_table4_inception_aff_b2"), [run]) is None


def test_unfinished_run_of_such_a_row_is_neither_better_nor_worse(tmp_path, capsys):
    run = block_run(tmp_path, [60.0, 10.0])
    assert main(["reproduce", IAFF.id, "--run", str(run.path)]) == 0
    words = " ".join(capsys.readouterr().out.split())
    assert "The run is not finished: it has 2 of 400 epochs" in words
    assert "Verdict: below the published figure. At epoch 2 the error is 10.00 % against 19.90 %" in words
    assert "best 10.00 % 19.90 % -9.90 (epoch 2 of 2, the row's figure)" in words
    assert "better" not in words


def test_other_words_are_another_network(tmp_path):
    run = block_run(tmp_path, [60.0], ("model.fusion=iaff", "model.r=2", "model.blocks=2"))
    assert any(line.startswith("Another network") for line in differences(run, IAFF))


def test_image_folder_of_as_many_classes_and_test_images_is_compared_and_said(tmp_path):
    run = run_of(tmp_path, words=["data.name=image_folder"], data="image folder cifar")
    assert any("image folder cifar: taken for CIFAR-10" in line for line in compare(CIFAR10, run).differences)


def test_faithful_run_has_no_differences(tmp_path):
    run = run_of(tmp_path, words=["train.seed=3", "runtime.device='0'", "data.dir=elsewhere"])
    assert compare(CIFAR10, run).differences == []


def test_differences_are_named(tmp_path):
    words = ["model.blocks=1", "train.epochs=20", "schedule.steps=[10]", "augment.mixup_off_epochs=1"]
    lines = "\n".join(differences(run_of(tmp_path, words=words, train_images=500), CIFAR10))
    assert "Another network: cifar_resnet of 84,066 parameters, the row's AFF-ResNet-32 of 7,874,026" in lines
    assert "500 training images, the row's 50,000" in lines
    assert "20 epochs beside one of 400" in lines
    assert "schedule.steps [10] ([300, 350])" in lines
    assert "augment.mixup_off_epochs 1 (20)" in lines


def test_settings_that_cannot_be_compared_are_said(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(configs, "_PLACES", (tmp_path / "nowhere",))
    run = run_of(tmp_path, words=["runtime.device='0'"])
    assert unlike_settings(run, CIFAR10) is None
    (line,) = compare(CIFAR10, run).differences
    assert line.startswith("Whether the run has the settings of the row could not be checked: ")
    assert "cifar10_aff_resnet32.yaml" in line
    assert main(["reproduce", CIFAR10.id, "--runs", str(tmp_path)]) == 0
    assert "settings not checked" in capsys.readouterr().out
    assert main(["reproduce", CIFAR10.id, "--runs", str(tmp_path), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["rows"][0]["own"]["unlike"] is None


def test_run_whose_settings_could_not_be_checked_does_not_count_as_by_the_recipe(tmp_path, monkeypatch):
    run = run_of(tmp_path, words=["runtime.device='0'"])
    assert unlike_settings(run, CIFAR10) == []
    assert compare(CIFAR10, run).differences == []
    monkeypatch.setattr(configs, "_PLACES", (tmp_path / "nowhere",))
    assert unlike_settings(run, CIFAR10) != []


def test_total_batch_counts_devices(tmp_path):
    two = run_of(tmp_path, "cifar100_fine_aff_resnet32.yaml", words=["runtime.device='0,1'"], classes=100)
    assert not any("batch" in line for line in differences(two, FINE))
    one = run_of(tmp_path, "cifar100_fine_aff_resnet32.yaml", name="one", classes=100)
    assert any("total batch 128 (256)" in line for line in differences(one, FINE))
    wide = ["data.batch_size=256"]
    assert differences(run_of(tmp_path, "cifar100_fine_aff_resnet32.yaml", words=wide, name="wide"), FINE) == []


def test_second_half_of_a_chain_is_not_its_first(tmp_path):
    facts = {"data": "CIFAR-100, 20 superclasses", "classes": 100}
    first = run_of(tmp_path, "cifar100_coarse_aff_resnet32_first.yaml", [5.0], name="first", **facts)
    second = run_of(tmp_path, "cifar100_coarse_aff_resnet32.yaml", [9.0], name="second", **facts)
    assert any("started from scratch" in line for line in differences(first, COARSE))
    assert best_run(COARSE, [first]) is None
    assert best_run(COARSE, [first, second]) is second


def test_network_is_known_by_what_it_is():
    named = network_identity("aff_resnet32", {})
    assert named == network_identity("cifar_resnet", {"fusion": "ASKCFuse", "blocks": 5, "channel_times": 4})
    assert named == network_identity("resnet32", {"fusion": "AFF"})
    for change in ({"avg_down": False}, {"fusion": "iaff"}, {"blocks": 4}, {"r": 16}, {"norm": "group"}):
        assert named != network_identity("aff_resnet32", change)


def test_same_network_whatever_its_logits(tmp_path):
    run = run_of(tmp_path, "cifar100_coarse_aff_resnet32.yaml", words=["model.outputs=20"])
    assert same_network(run, COARSE)
    assert not same_network(run, CIFAR10)


# --- The best run of a row -------------------------------------------------------------------------------------------


def test_best_run_of_a_row_has_its_network_images_and_if_possible_its_recipe(tmp_path):
    words = {"device": "runtime.device='0'"}
    run_of(tmp_path, errors=[9.0, 5.0, 6.0], words=words.values(), name="as_run")
    run_of(tmp_path, errors=[9.0, 5.5], words=words.values(), name="worse")
    run_of(tmp_path, errors=[1.0], words=["schedule.lr=0.1"], name="other_recipe")
    run_of(tmp_path, errors=[1.0], words=["model.blocks=1"], name="other_network")
    run_of(tmp_path, errors=[1.0], name="other_images", test_images=7)
    write_run(tmp_path / "not_yet", CONFIGS / "cifar10_aff_resnet32.yaml", [])
    write_run(tmp_path / "grid" / "cell", CONFIGS / "cifar10_aff_resnet32.yaml", [4.0], words.values())
    runs = list(find_runs(tmp_path))
    assert len(runs) == 6
    assert best_run(CIFAR10, runs).path == tmp_path / "grid" / "cell"
    runs = [run for run in runs if run.path.name != "cell"]
    assert best_run(CIFAR10, runs).path == tmp_path / "as_run"
    others = [run for run in runs if run.path.name.startswith("other")]
    assert best_run(CIFAR10, others).path == tmp_path / "other_recipe"
    assert best_run(find_row("cifar10_v1_aff_resnext29_32x4d"), runs) is None
    assert best_run(find_row("imagenet_other_resnet101"), runs) is None


# --- The command -----------------------------------------------------------------------------------------------------


def test_table_lists_every_row_with_its_figure_and_command(capsys):
    assert main(["reproduce"]) == 0
    text = capsys.readouterr().out
    for row in ROWS:
        assert row.id in text
        assert all(command in text for command in row.commands)
    lines = text.splitlines()
    words = " ".join(text.split())
    assert "auto_aug=True had no effect" in words
    assert "20 superclasses" in words
    assert max(map(len, lines)) <= 130


def test_table_shows_the_best_own_run_in_the_unit_of_the_row(tmp_path, capsys):
    run_of(tmp_path, errors=[9.0, 5.0, 6.0], words=["runtime.device='0'"], name="mine")
    assert main(["reproduce", "--runs", str(tmp_path), "--json"]) == 0
    rows = {row["id"]: row for row in json.loads(capsys.readouterr().out)["rows"]}
    own = rows[CIFAR10.id]["own"]
    assert (own["figure"], own["epochs"], own["finished"]) == (95.0, 3, False)
    assert own["difference"] == pytest.approx(95.0 - 96.26)
    assert [row for row in rows.values() if row["own"]] == [rows[CIFAR10.id]]
    assert main(["reproduce", CIFAR10.id, "--runs", str(tmp_path)]) == 0
    text = capsys.readouterr().out
    assert "95.00 % (-1.26)" in text
    assert "3 of 400 epochs" in text
    assert "other settings" not in text


def test_unfinished_run_is_shown_with_its_epochs_so_far(tmp_path, capsys):
    published = read_curve(CIFAR10.id).errors
    run = run_of(tmp_path, errors=[error + 30 for error in published[:12]])
    picture = tmp_path / "picture.png"
    assert main(["reproduce", CIFAR10.id, "--run", str(run.path), "--output", str(picture)]) == 0
    text = capsys.readouterr().out
    assert "12 of 400 epochs (so far)" in text
    assert "above the published curve: worse. At epoch 12" in text
    words = " ".join(text.split())
    assert f" 12 {published[11] + 30:.2f} % {published[11]:.2f} % +30.00 " in words
    assert " 400 - " in words
    assert picture.read_bytes().startswith(b"\x89PNG")


def test_what_makes_a_run_unlike_the_row_comes_first_and_it_is_called_neither_better_nor_worse(tmp_path, capsys):
    words = ["model.blocks=1", "train.epochs=1", "schedule.warmup_epochs=0", "schedule.steps=[]"]
    run = run_of(tmp_path, errors=[10.0], words=[*words, "augment.mixup_off_epochs=0"])
    assert main(["reproduce", CIFAR10.id, "--run", str(run.path)]) == 0
    text = capsys.readouterr().out
    first, second = text.index("Another network"), text.index("Verdict: below the published curve. At epoch 1 ")
    assert text.index("may not be comparable") < first < text.index("A run of 1 epoch beside one of 400") < second
    assert "better" not in text
    assert "10.00 % against" in text


def test_comparison_as_json(tmp_path, capsys):
    run = run_of(tmp_path, errors=list(read_curve(CIFAR10.id).errors))
    assert main(["reproduce", CIFAR10.id, "--run", str(run.path), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["verdict"]["word"], found["verdict"]["epoch"]) == ("within", 400)
    assert math.isclose(found["verdict"]["difference"], 0, abs_tol=1e-9)
    assert found["best"]["epoch"] == found["published_best"]["epoch"] == 388
    assert found["differences"] == []
    assert (run.path / f"reproduce_{CIFAR10.id}.png").is_file()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["reproduce", "cifar10_v1_aff_resnet3"], "did you mean 'cifar10_v1_aff_resnet32'"),
        (["reproduce", "--run", "x"], "say which row"),
        (["reproduce", CIFAR10.id, "--output", "x.png"], "add --run"),
        (["reproduce", CIFAR10.id, "--run", "nowhere"], "not the folder of a run"),
        (["reproduce", "--runs", "nowhere"], "no such folder"),
    ],
)
def test_bad_words_are_one_message(words, message, capsys):
    assert main(words) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.startswith("error: ")


def test_run_without_a_finished_epoch_is_one_message(tmp_path, capsys):
    write_run(tmp_path / "run", CONFIGS / "cifar10_aff_resnet32.yaml", [])
    assert main(["reproduce", CIFAR10.id, "--run", str(tmp_path / "run")]) == 2
    assert "no epoch of this run is finished yet" in capsys.readouterr().err


def test_picture_that_cannot_be_written_is_one_message(tmp_path, capsys):
    run = run_of(tmp_path)
    (tmp_path / "no").write_text("")
    assert main(["reproduce", CIFAR10.id, "--run", str(run.path), "--output", str(tmp_path / "no" / "a.png")]) == 2
    assert "no is a file; expected a folder" in capsys.readouterr().err
