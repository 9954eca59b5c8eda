"""The packaged experiments: found by name from any folder, in a checkout and where the package was installed."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from test_configs import CONFIGS, NAMES

from fusion.__main__ import main
from fusion.errors import ConfigError
from fusion.training import configs
from fusion.training import main as train
from fusion.training.config import differing_keys, read_config
from fusion.training.configs import find_config, packaged_config, packaged_configs

ROOT = CONFIGS.parent

FIND = """
import json, sys
from fusion.training.config import read_config
from fusion.training.configs import find_config
found = [find_config(word) for word in sys.argv[1:]]
print(json.dumps([[str(path), read_config(path).model.name] for path in found]))
"""


@pytest.fixture
def elsewhere(tmp_path, monkeypatch):
    """A folder that has no configs, as the current one."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def no_configs(tmp_path, monkeypatch):
    """The package as it is where its configs were not installed."""
    monkeypatch.setattr(configs, "_PLACES", (tmp_path / "nowhere",))


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    """What `pip install` puts into site-packages."""
    folder = tmp_path_factory.mktemp("installed")
    words = ["-q", "build", "--build-base", str(folder / "build"), "--build-lib", str(folder / "lib")]
    subprocess.run([sys.executable, "setup.py", *words], cwd=ROOT, check=True, capture_output=True)
    return folder / "lib"


def test_every_config_has_its_name():
    files = [path for path in CONFIGS.rglob("*.yaml") if path.parent != CONFIGS / "base"]
    assert sorted(packaged_configs().values()) == sorted(files)
    assert {path.name for path in files} > set(NAMES)


@pytest.mark.parametrize(
    "word", ["sirst_aff_fpn", "segmentation/sirst_aff_fpn", "configs/segmentation/sirst_aff_fpn.yaml"]
)
def test_config_in_a_folder_is_found_by_its_name_alone(elsewhere, word):
    assert find_config(word) == CONFIGS / "segmentation" / "sirst_aff_fpn.yaml"


@pytest.mark.parametrize("word", ["quickstart", "quickstart.yaml", "configs/quickstart.yaml", "configs/quickstart"])
def test_packaged_config_is_found_from_anywhere(elsewhere, word):
    assert find_config(word) == find_config(Path(word)) == CONFIGS / "quickstart.yaml"


def test_file_that_exists_wins(elsewhere):
    own = elsewhere / "configs" / "quickstart.yaml"
    own.parent.mkdir()
    own.write_text("train:\n  epochs: 3\n")
    assert find_config("configs/quickstart.yaml") == Path("configs/quickstart.yaml")
    assert find_config(own) == own
    assert packaged_config("configs/quickstart.yaml") == CONFIGS / "quickstart.yaml"
    (elsewhere / "quickstart").mkdir()  # a folder is no config
    assert find_config("quickstart") == CONFIGS / "quickstart.yaml"


def test_config_may_come_through_a_pipe():
    reader, writer = os.pipe()
    try:
        assert find_config(f"/dev/fd/{reader}") == Path(f"/dev/fd/{reader}")
    finally:
        os.close(reader)
        os.close(writer)


@pytest.mark.parametrize(
    "word",
    ["quickstrat", "configs/quickstar.yaml", "nowhere/quickstart.yaml", "../quickstart", "segmentation/quickstart"],
)
def test_unknown_config_is_refused_with_the_nearest(elsewhere, word):
    with pytest.raises(ConfigError, match=r"cannot read this config: no such file.*did you mean 'quickstart'") as error:
        find_config(word)
    assert str(error.value).startswith(f"{word}: ")


def test_folder_is_refused_as_one(elsewhere):
    with pytest.raises(ConfigError, match="it is a folder; expected a YAML file"):
        find_config(elsewhere)


def test_missing_configs_are_said(no_configs):
    with pytest.raises(ConfigError, match="the configs that come with the package are missing"):
        packaged_config("quickstart")


def test_folder_of_that_name_beside_an_installed_package_is_another_programs(tmp_path, monkeypatch):
    for name, file in (("theirs", "other.yaml"), ("ours", "quickstart.yaml")):
        (tmp_path / name).mkdir()
        (tmp_path / name / file).touch()
    monkeypatch.setattr(configs, "_PLACES", (tmp_path / "theirs", tmp_path / "ours"))
    assert packaged_configs() == {"quickstart": tmp_path / "ours" / "quickstart.yaml"}


def test_installed_package_has_them_all(installed):
    found = sorted(path.relative_to(installed / "fusion" / "configs") for path in installed.rglob("configs/**/*.yaml"))
    assert found == sorted(path.relative_to(CONFIGS) for path in CONFIGS.rglob("*.yaml"))


def test_installed_package_finds_and_reads_them(installed, elsewhere):
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(installed), *sys.path])}
    words = ["quickstart", "configs/cifar100_fine_aff_resnet32.yaml"]
    command = [sys.executable, "-c", FIND, *words]
    done = subprocess.run(command, cwd=elsewhere, env=environment, check=True, stdout=subprocess.PIPE)
    folder = installed / "fusion" / "configs"
    assert json.loads(done.stdout) == [
        [str(folder / "quickstart.yaml"), "cifar_resnet"],
        [str(folder / "cifar100_fine_aff_resnet32.yaml"), "aff_resnet32"],
    ]


# --- What inherits from them -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("base", ["quickstart", "quickstart.yaml", "configs/quickstart.yaml", "base/cifar100.yaml"])
def test_own_file_may_inherit_from_a_packaged_config(elsewhere, base):
    packaged = CONFIGS / (base if base.startswith("base/") else "quickstart.yaml")
    own = elsewhere / "own.yaml"
    own.write_text(f"base: {base}\ntrain: {{seed: 7}}\n")
    assert differing_keys(read_config(own), read_config(packaged)) == ["train.seed"]


def test_file_in_the_folder_of_the_own_one_wins_as_a_base(elsewhere):
    own = elsewhere / "experiments" / "own.yaml"
    own.parent.mkdir()
    own.write_text("base: quickstart.yaml\n")
    (own.parent / "quickstart.yaml").write_text("train: {epochs: 3, seed: 9}\n")
    assert read_config(own).train.seed == 9


def test_unknown_base_is_refused_with_its_line_and_the_nearest(elsewhere):
    own = elsewhere / "own.yaml"
    own.write_text("# mine\nbase: quickstrat\n")
    with pytest.raises(ConfigError, match=r"own\.yaml, line 2: base: quickstrat: cannot .* did you mean 'quickstart'"):
        read_config(own)


# --- Every --config --------------------------------------------------------------------------------------------------


def test_training_takes_a_name(elsewhere, capsys):
    assert train("training", ["--config", "cifar100_fine_aff_resnet32", "--print-config"]) == 0
    assert "aff_resnet32" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (["browse", "--config", "quickstart", "--epoch", "0"], "--epoch 0"),
        (["ablate", "--config", "quickstart", "--fusions", "nonsense", "--runs", "grid"], "--fusions"),
    ],
)
def test_commands_take_a_name(elsewhere, capsys, words, complaint):
    assert main(words) == 2  # for the word after the config's, which is looked at once that is read
    assert capsys.readouterr().err.startswith(f"error: {complaint}")


@pytest.mark.parametrize(
    "words",
    [["browse", "--config", "quickstrat"], ["ablate", "--config", "quickstrat", "--fusions", "aff", "--runs", "g"]],
)
def test_commands_refuse_an_unknown_name(elsewhere, capsys, words):
    assert main(words) == 2
    assert "did you mean 'quickstart'" in capsys.readouterr().err


@pytest.mark.parametrize("verb", ["train", "ablate", "browse"])
def test_help_says_that_names_work(capsys, verb):
    with pytest.raises(SystemExit):
        main([verb, "--help"])
    words = " ".join(capsys.readouterr().out.split())
    assert "a YAML file, or the name of a config that comes with the package, such as quickstart" in words
