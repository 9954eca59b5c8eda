"""python -m fusion configs: the packaged configs by name and pattern, what they say of themselves, and all settings."""

from __future__ import annotations

import json

import pytest

from fusion.__main__ import main
from fusion.published import ROWS
from fusion.training.config import read_config, value_of
from fusion.training.configs import packaged_config, packaged_configs
from fusion.training.settings import KEYS


@pytest.fixture
def run(capsys):
    def run(*words):
        status = main(["configs", *words])
        printed = capsys.readouterr()
        return status, printed.out, printed.err

    return run


def listed(run, *words):
    status, printed, said = run(*words, "--json")
    assert (status, said) == (0, "")
    return json.loads(printed)["configs"]


def test_every_config_is_listed_once_with_what_it_is(run):
    status, printed, said = run()
    assert (status, said) == (0, "")
    lines = printed.splitlines()
    assert all(lines.count(f"  {name}") == 1 for name in packaged_configs())
    place = lines.index("  cifar100_fine_aff_resnet32")
    assert lines[place + 1].startswith("    CIFAR-100 on its 100 fine labels, AFF-ResNet-32: the recipe as it was run")
    assert "83.57 % accuracy" in lines[place + 2]
    assert max(map(len, lines)) <= 124


def test_headings_are_the_data_sets(run):
    titles = {
        ("digits", "fine"): "The embedded digits",
        ("cifar10", "fine"): "CIFAR-10",
        ("cifar100", "coarse"): "CIFAR-100, 20 superclasses",
        ("cifar100", "fine"): "CIFAR-100, 100 fine labels",
        ("imagenet", "fine"): "ImageNet and other photos",
        ("mask_folder", "fine"): "Images with masks",
    }
    found = listed(run)
    assert len(found) == len(packaged_configs())
    for config in found:
        data = read_config(config["file"]).data
        assert config["group"] == titles[data.name, data.labels], config["name"]


def test_every_config_says_what_it_is_and_no_field_is_lost(run):
    for config in listed(run):
        text = packaged_configs()[config["name"]].read_text(encoding="utf-8")
        comment = [line[2:] for line in text.split("base:")[0].splitlines() if line.startswith("# ")]
        words = " ".join(comment).split()
        shown = f"{config['about']} " + " ".join(f"{key}: {value}" for key, value in config["header"].items())
        assert shown.split() == words, config["name"]
        assert config["about"], config["name"]


def test_published_rows_name_their_configs(run):
    trained = {config["name"]: set(config["rows"]) for config in listed(run)}
    for row in ROWS:
        for config in row.configs:
            assert row.id in trained[packaged_config(config).stem]
    assert trained["quickstart"] == set()


def test_pattern_and_name(run):
    assert [config["name"] for config in listed(run, "cifar10_*")] == [
        name for name in packaged_configs() if name.startswith("cifar10_")
    ]
    _, printed, _ = run("configs/segmentation/sirst_small.yaml")
    assert printed.splitlines()[:2] == ["Images with masks", "  sirst_small"]
    _, one, _ = run("cifar100_coarse_table3_resnet")
    assert "Cost:" in one
    assert "cifar100_table3_resnet_aff_b1" in one
    _, several, _ = run("cifar100_coarse_table*")
    assert "Cost:" not in several
    assert "global + global     75.4" in several


@pytest.mark.parametrize("name", ["quickstart", "segmentation/sirst_small", "quicks*"])
def test_resolved_config_is_what_a_run_would_read(run, name, tmp_path):
    status, printed, said = run(name, "--resolved")
    assert (status, said) == (0, "")
    (tmp_path / "own.yaml").write_text(printed)
    expected = read_config(packaged_config(name.replace("quicks*", "quickstart")))
    assert read_config(tmp_path / "own.yaml") == expected
    assert "  momentum: 0.9" in printed  # from base/cifar.yaml or the defaults
    _, as_json, _ = run(name, "--resolved", "--json")
    assert json.loads(as_json) == {key: value_of(expected, key) for key in KEYS}


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (["quickstrat"], "did you mean 'quickstart'"),
        (["quickk*"], "'quickk*' matches none of the configs of the package; the nearest of"),
        (["--resolved"], "say which config"),
        (["cifar10_*", "--resolved"], "'cifar10_*' matches 4 configs, and --resolved shows one"),
        (["quickstrat", "--resolved"], "did you mean 'quickstart'"),
    ],
)
def test_bad_words_are_refused_in_one_line(run, words, complaint):
    status, printed, said = run(*words)
    assert (status, printed) == (2, "")
    assert complaint in said
    assert said.count("\n") == 1
