"""Experiments as files and words: inheritance, types, limits, what does not go together, and the way back to YAML."""

from __future__ import annotations

import copy
import dataclasses
import textwrap
from pathlib import Path

import numpy as np
import pytest
import yaml

from fusion.data.augment import POLICIES
from fusion.errors import ConfigError
from fusion.tasks import find_task
from fusion.tasks.classification.batches import count_outputs
from fusion.training.config import MOST_FILES, differing_keys, model_keywords, read_config, to_yaml
from fusion.training.settings import LEAST_RATE, Settings, value_of
from fusion.training.typed_yaml import MOST_BYTES, MOST_NESTED

CONFIGS = Path(__file__).resolve().parents[1] / "configs"
EXPERIMENTS = sorted(path for path in CONFIGS.rglob("*.yaml") if path.parent != CONFIGS / "base")

SECTIONS = {
    section.name: section.default_factory
    for section in dataclasses.fields(Settings)
    if dataclasses.is_dataclass(section.default_factory)
}
WHOLE_RUN = {key.name: key for key in dataclasses.fields(Settings) if key.name not in SECTIONS}
FIELDS = {
    **WHOLE_RUN,
    **{f"{name}.{key.name}": key for name, section in SECTIONS.items() for key in dataclasses.fields(section)},
}
FLOATS = sorted(name for name, key in FIELDS.items() if "float" in key.type and "List" not in key.type)

#: Two runs that between them change every setting.
ELSEWHERE = {
    "task": "classification",
    "model": {
        "name": "resnet",
        "fusion": "iaff",
        "layers": 101,
        "start_layer": 2,
        "deep_stem": False,
        "avg_down": False,
        "dilated": True,
        "last_gamma": False,
        "final_drop": 0.25,
        "norm": "group",
        "norm_layer": "group",
        "r": 8,
        "outputs": 12,
        "initializer": "msraprelu",
    },
    "data": {"name": "image_folder", "dir": "pictures # 1", "size": 64, "fit": "resize", "batch_size": 3, "workers": 2},
    "augment": {
        "crop_padding": 0,
        "flip": False,
        "auto_augment": "randaugment",
        "randaugment_layers": 3,
        "randaugment_magnitude": 28,
        "mixup_alpha": 0.2,
        "cutmix_alpha": 0.5,
        "mixup_off_epochs": 3,
        "mean": [0.1, 1e-05, 0.3],
        "std": [0.4, 0.5, 12.5],
    },
    "optimizer": {
        "lr_factors": ["classifier=10"],
        "name": "sgd",
        "momentum": 0.0,
        "weight_decay": 3e-05,
        "decay_norm_and_bias": False,
        "clip_gradient_norm": 5.0,
        "betas": [0.8, 0.99],
        "epsilon": 1e-06,
        "layer_decay": 0.75,
        "accumulate": 3,
    },
    "schedule": {
        "mode": "poly",
        "lr": 1e-07,
        "steps": [3, 6],
        "factor": 1 / 3,
        "power": 0.9,
        "final_lr": 1e-22,
        "warmup_epochs": 0.5,
        "warmup_lr": 0.01,
    },
    "train": {
        "epochs": 7,
        "label_smoothing": 0.1,
        "initial_parameters": "a: b.params",
        "fresh": ["classifier", "stage?.*"],
        "freeze": ["features.0"],
        "seed": 2**40,
        "evaluate_every": 5,
        "patience": 4,
        "ema_decay": 0.9999,
        "dtype": "float16",
        "teacher": "runs/a b",
        "teacher_checkpoint": "last",
        "distillation_weight": 0.9,
        "distillation_temperature": 2.5,
    },
    "runtime": {
        "device": "0,1",
        "distributed": "dist_sync",
        "log_every": 1,
        "keep_every": 2,
        "tensorboard": True,
        "hybridize": False,
    },
}
SUPERCLASSES = {
    "model": {"name": "resnext", "cardinality": 8, "bottleneck_width": 2, "use_se": True, "sync_batch_norm": True},
    "data": {"name": "cifar100", "dir": "01", "labels": "coarse", "url": "http://localhost:8000/a?b=c&d=#e"},
}
PHOTOS = {
    "data": {
        "name": "imagenet",
        "dir": "records",
        "size": 320,
        "source": "record",
        "pipeline": "native",
        "classes": 1000,
        "crop_share": 0.9,
        "max_bad_images": 0,
    },
    "augment": {
        "crop_padding": 0,
        "crop_area": [0.25, 0.75],
        "crop_aspect": [0.5, 2.0],
        "colour_jitter": 0.4,
        "lighting": 0.1,
    },
}
NARROW = {"model": {"name": "cifar_inception", "blocks": 2, "channel_times": 3, "as_released": True}}
MASKS = {
    "model": {"name": "fpn", "tiny": True, "stages": 4, "head_drop": 0.2, "prior": 0.01},
    "train": {"loss": "dice + 0.5 focal", "focal_gamma": 3.0},
    "runtime": {"pictures_every": 5},
    "eval": {"resize": 512, "padding": "zeros", "tile": 256, "overlap": 16, "flips": True},
    "data": {
        "name": "mask_folder",
        "dir": "sirst",
        "train_split": "trainval",
        "test_split": "val",
        "mask_suffix": "_pixels0.png",
        "ignore": 11,
        "mask_mismatch": "resize",
    },
    "augment": {
        "crop_padding": 0,
        "crop_size": [180, 240],
        "scale": [0.5, 2.0],
        "padding": "background",
        "target_probability": 0.5,
        "blur_probability": 0.25,
    },
}
LONG_SIDE = {
    "model": {"name": "unet"},
    "data": {"name": "voc_masks", "dir": "voc"},
    "augment": {"crop_padding": 0, "long_side": [256, 1024]},
}
#: Of networks with an answer per pixel.
DENSE = {
    "model": {"name": "unet", "encoder": "resnet50", "decoder_width": 256, "tiny": True, "join": "pairs"},
    "train": {"encoder_parameters": "runs/a b/checkpoints/best.params"},
    "data": {"name": "mask_folder", "dir": "camvid"},
    "augment": {"crop_padding": 0},
}


@pytest.fixture
def write(tmp_path):
    """Write a config file by its name and text."""

    def write_file(name, text):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(textwrap.dedent(text), encoding="utf-8")
        return path

    return write_file


def settings_of(changes):
    settings = Settings()
    for section, values in changes.items():
        if section in WHOLE_RUN:
            setattr(settings, section, values)
            continue
        for key, value in values.items():
            setattr(getattr(settings, section), key, copy.copy(value))
    return settings


def refusal(*words, path=None):
    with pytest.raises(ConfigError) as caught:
        read_config(path, words)
    return str(caught.value)


# --- Inheritance -----------------------------------------------------------------------------------------------------


def test_no_file_and_no_words_are_the_defaults():
    assert read_config(None) == Settings()


def test_empty_file_is_the_defaults(write):
    assert read_config(write("a.yaml", "# nothing\n")) == Settings()


def test_file_overrides_its_base_and_keeps_the_rest(write):
    write("base.yaml", "schedule: {lr: 0.5, factor: 0.3}\ntrain: {seed: 7}\n")
    settings = read_config(write("a.yaml", "base: base.yaml\nschedule:\n  lr: 0.25\n"))
    assert (settings.schedule.lr, settings.schedule.factor, settings.train.seed) == (0.25, 0.3, 7)


def test_base_is_overridden_even_if_it_is_written_last(write):
    write("base.yaml", "train: {seed: 7}\n")
    assert read_config(write("a.yaml", "train: {seed: 8}\nbase: base.yaml\n")).train.seed == 8


def test_of_a_list_of_bases_the_later_wins_and_the_file_over_all(write):
    write("one.yaml", "train: {seed: 1, epochs: 11, label_smoothing: 0.1}\n")
    write("two.yaml", "train: {seed: 2, epochs: 12}\n")
    train = read_config(write("a.yaml", "base: [one.yaml, two.yaml]\ntrain:\n  seed: 3\n")).train
    assert (train.seed, train.epochs, train.label_smoothing) == (3, 12, 0.1)


def test_bases_chain_and_each_path_is_from_its_own_folder(write):
    write("shared/bottom.yaml", "train: {seed: 1, epochs: 11}\noptimizer: {momentum: 0.5}\n")
    write("shared/middle.yaml", "base: bottom.yaml\ntrain: {seed: 2}\n")
    settings = read_config(write("runs/top.yaml", "base: ../shared/middle.yaml\noptimizer: {name: sgd}\n"))
    assert (settings.train.seed, settings.train.epochs) == (2, 11)
    assert (settings.optimizer.name, settings.optimizer.momentum) == ("sgd", 0.5)


def test_two_bases_may_share_theirs(write):
    write("bottom.yaml", "train: {seed: 1}\n")
    write("left.yaml", "base: bottom.yaml\n")
    write("right.yaml", "base: bottom.yaml\ntrain: {epochs: 3}\n")
    train = read_config(write("top.yaml", "base: [left.yaml, right.yaml]\n")).train
    assert (train.seed, train.epochs) == (1, 3)


def test_words_win_over_the_file_and_later_words_over_earlier(write):
    path = write("a.yaml", "train: {seed: 1}\n")
    assert read_config(path, ["train.seed=2", "train.seed=3"]).train.seed == 3


def test_list_is_replaced_and_not_joined(write):
    write("base.yaml", "schedule: {steps: [1, 2, 3]}\n")
    assert read_config(write("a.yaml", "base: base.yaml\nschedule: {steps: [4]}\n")).schedule.steps == [4]


@pytest.mark.parametrize("through", ["a.yaml", "b.yaml"])
def test_file_that_inherits_from_itself_is_refused(write, through):
    path = write("a.yaml", f"base: {through}\n")
    write("b.yaml", "base: ./a.yaml\n")
    message = refusal(path=path)
    assert "inherits from itself" in message
    assert "a.yaml" in message
    assert through in message


def test_missing_file_and_missing_base_are_named(write, tmp_path):
    assert "nothing.yaml: cannot read" in refusal(path=tmp_path / "nothing.yaml")
    assert "absent.yaml: cannot read" in refusal(path=write("a.yaml", "base: absent.yaml\n"))
    assert "cannot read" in refusal(path=tmp_path)


@pytest.mark.parametrize("base", ["3", "[a.yaml, 3]", "{a: b}", "true", "null", "", "!odd a.yaml"])
def test_base_that_is_not_a_file_or_files_is_refused_with_its_line(write, base):
    message = refusal(path=write("a.yaml", f"# a comment\nbase: {base}\n"))
    assert "a.yaml, line 2: " in message
    assert "base" in message


# --- Where a complaint comes from ------------------------------------------------------------------------------------


def test_unknown_section_is_named_with_line_and_nearest(write):
    message = refusal(path=write("a.yaml", "train:\n  seed: 1\nmodle:\n  name: resnet\n"))
    assert "a.yaml, line 3: no section is named 'modle'" in message
    assert "did you mean 'model'" in message


@pytest.mark.parametrize(
    ("key", "suggested"),
    [("schedule.learning_lr", "schedule.lr"), ("model.lr", "schedule.lr"), ("augment.flipp", "augment.flip")],
)
def test_unknown_key_is_named_with_place_and_nearest(write, key, suggested):
    section, leaf = key.split(".")
    message = refusal(path=write("a.yaml", f"# a comment\n{section}:\n  {leaf}: 1\n"))
    assert f"a.yaml, line 3: no setting is named '{key}'" in message
    assert f"'{suggested}'" in message
    message = refusal(f"{key}=1")
    assert f"command line, '{key}=1': no setting is named '{key}'" in message
    assert f"'{suggested}'" in message


def test_key_without_its_section_is_told_the_whole_key():
    assert "did you mean 'schedule.lr'?" in refusal("lr=1")


def test_complaint_about_a_base_names_the_base(write):
    write("base.yaml", "train:\n  epochs: 3\n  epoch: 4\n")
    assert "base.yaml, line 3: no setting is named 'train.epoch'" in refusal(
        path=write("a.yaml", "base: base.yaml\ntrain: {seed: 1}\n")
    )


def test_complaint_names_the_place_that_won(write):
    path = write("a.yaml", "train:\n  seed: 1\n  epochs: 0\n")
    assert "a.yaml, line 3: train.epochs is 0" in refusal(path=path)
    assert "command line, 'train.epochs=-1': train.epochs is -1" in refusal("train.epochs=-1", path=path)


@pytest.mark.parametrize("word", ["schedule.lr", "schedule", "", "--fast"])
def test_word_without_a_value_is_refused(word):
    assert refusal(word).startswith(f"command line, {word!r}: expected section.key=value")


@pytest.mark.parametrize("word", ["train.epochs=@3", "train.epochs=2020-13-45", "schedule.steps=[3", "schedule.lr={"])
def test_word_that_is_not_of_its_type_nor_yaml_is_named(word):
    name, _, text = word.partition("=")
    assert refusal(word).startswith(f"command line, {word!r}: {name} is {text!r}; expected ")


@pytest.mark.parametrize("text", ["- a\n- b\n", "hello\n", "3\n"])
def test_file_without_sections_is_refused(write, text):
    assert "a.yaml: expected sections" in refusal(path=write("a.yaml", text))


@pytest.mark.parametrize("text", ["train: 3\n", "train:\n", "train: [seed]\n"])
def test_section_without_settings_is_refused_with_its_line(write, text):
    assert "a.yaml, line 2: train is a section" in refusal(path=write("a.yaml", "\n" + text))


@pytest.mark.parametrize("text", ["train: [", "train:\n\tseed: 1\n", "train: {}\n---\ntrain: {}\n", "\0"])
def test_damaged_yaml_is_refused_by_the_name_of_the_file(write, text):
    assert "a.yaml" in refusal(path=write("a.yaml", text))


def test_file_that_is_not_text_is_refused_by_name(tmp_path):
    path = tmp_path / "a.yaml"
    path.write_bytes(b"\xff\xfe\x00")
    assert "a.yaml: not a text file" in refusal(path=path)


@pytest.mark.parametrize(
    "text",
    [
        "schedule:\n  lr: !odd 3\n",
        "schedule:\n  lr: !!int abc\n",
        "schedule:\n  lr: 2020-13-45\n",
        'data:\n  dir: "\\UFFFFFFFF"\n',
        'data:\n  dir: "\\U00110000"\n',
        'data:\n  dir: "a\\0b"\n',
    ],
)
def test_value_that_yaml_cannot_make_is_refused_with_its_line(write, text):
    assert "a.yaml, line 2: " in refusal(path=write("a.yaml", text))


def test_key_that_is_not_a_word_is_refused_with_its_line(write):
    assert "a.yaml, line 1: " in refusal(path=write("a.yaml", "[train]: 1\n"))


def test_setting_left_empty_is_null(write):
    path = write("a.yaml", "model:\n  blocks:\n  norm: group\n")
    assert read_config(path).model.blocks is None
    assert "b.yaml, line 2: train.epochs is None" in refusal(path=write("b.yaml", "train:\n  epochs:\n"))


# --- Types -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "text", "expected"),
    [
        ("train.epochs", "10.0", "a whole number"),
        ("train.epochs", "ten", "a whole number"),
        ("train.epochs", "1e1", "a whole number"),
        ("train.epochs", "true", "a whole number"),
        ("train.epochs", "[10]", "a whole number"),
        ("train.epochs", "null", "a whole number"),
        ("schedule.lr", "fast", "a number"),
        ("schedule.lr", "true", "a number"),
        ("schedule.lr", "[0.1]", "a number"),
        ("schedule.lr", "{a: 1}", "a number"),
        ("schedule.lr", "null", "a number"),
        ("augment.flip", "maybe", "true or false"),
        ("augment.flip", "1.5", "true or false"),
        ("augment.flip", "[true]", "true or false"),
        ("augment.flip", "null", "true or false"),
        ("schedule.steps", "300", "a list such as [300, 450]"),
        ("schedule.steps", "[1.5]", "a list such as [300, 450]"),
        ("schedule.steps", "[one]", "a list such as [300, 450]"),
        ("schedule.steps", "[null]", "a list such as [300, 450]"),
        ("schedule.steps", "{0: 1}", "a list such as [300, 450]"),
        ("schedule.steps", "null", "a list such as [300, 450]"),
        ("augment.mean", "0.5", "a list such as [0.5, 0.5, 0.5]"),
        ("augment.mean", "[a, b, c]", "a list such as [0.5, 0.5, 0.5]"),
        ("augment.mean", "null", "a list such as [0.5, 0.5, 0.5]"),
        ("model.name", "[resnet]", "text"),
        ("model.name", "null", "text"),
        ("model.blocks", "many", "a whole number, or null for the default"),
        ("model.blocks", "1.5", "a whole number, or null for the default"),
        ("model.final_drop", "half", "a number, or null for the default"),
        ("model.deep_stem", "deep", "true or false, or null for the default"),
        ("data.dir", "{a: b}", "text, or null for the default"),
    ],
)
def test_wrong_type_is_refused_with_place_value_and_what_was_expected(write, name, text, expected):
    section, key = name.split(".")
    value = 10.0 if text == "1e1" else yaml.safe_load(text)  # to PyYAML, which has YAML 1.1's numbers, 1e1 is text
    message = refusal(path=write("a.yaml", f"{section}:\n  {key}: {text}\n"))
    assert "a.yaml, line 2: " in message
    assert message.endswith(f"{name} is {value!r}; expected {expected}")
    if not expected.startswith("text") or text == "null":  # on the command line the others are text
        word = f"{name}={text}"
        assert refusal(word) == f"command line, {word!r}: {name} is {value!r}; expected {expected}"


@pytest.mark.parametrize(("text", "value"), [("1e-4", 1e-4), ("1E-4", 1e-4), ("5e3", 5e3), ("1", 1.0), (".5", 0.5)])
def test_number_is_read_with_and_without_a_point(write, text, value):
    path = write("a.yaml", f"schedule: {{lr: {text}}}\naugment: {{std: [{text}, 1, 1]}}\nmodel: {{name: resnet}}\n")
    settings = read_config(path)
    assert settings.schedule.lr == value
    assert type(settings.schedule.lr) is float
    assert settings.augment.std == [value, 1.0, 1.0]
    assert all(type(number) is float for number in settings.augment.std)
    assert read_config(None, [f"schedule.lr={text}"]).schedule.lr == value


def test_values_have_their_types():
    settings = read_config(None, ["augment.flip=false", "schedule.steps=[3, 6]", "runtime.device=0", "model.blocks=2"])
    assert settings.augment.flip is False
    assert settings.schedule.steps == [3, 6]
    assert type(settings.schedule.steps) is list
    assert settings.runtime.device == "0"
    assert settings.model.blocks == 2


def test_optional_setting_goes_back_to_null(write):
    path = write("a.yaml", "model: {blocks: 2, deep_stem: true}\ndata: {dir: here}\n")
    settings = read_config(path, ["model.blocks=null", "model.deep_stem=null", "data.dir="])
    assert (settings.model.blocks, settings.model.deep_stem, settings.data.dir) == (None, None, None)


#: Folders that YAML 1.1, or the signs of OmegaConf, would have changed or refused.
FOLDERS = (
    *(
        "data #2",
        "0123",
        "on",
        "no",
        "@x",
        "1:30",
        "2020-01-01",
        "2020-13-45",
        "1e3",
        "0x1F",
        "[a]",
        "{a: b}",
        "~",
        "- a",
    ),
    *(
        "a: b",
        "'quoted'",
        '"',
        "%x",
        "`x`",
        "*x",
        "&x",
        "!x",
        "|",
        " ",
        " a ",
        "a=b",
        "${nothing}",
        "a${b",
        "???",
        "é/ü",
    ),
    *("Null", "true", "# all", "\\U0001F600", "C:\\data", "[", "\udcff"),
)


@pytest.mark.parametrize("folder", FOLDERS)
def test_text_on_the_command_line_is_taken_as_it_is(folder):
    assert read_config(None, [f"data.dir={folder}"]).data.dir == folder


@pytest.mark.parametrize("folder", FOLDERS)
def test_text_of_the_command_line_comes_back_from_the_run_folder(write, folder):
    settings = read_config(None, [f"data.dir={folder}"])
    assert read_config(write("a.yaml", to_yaml(settings, reasons=True))) == settings


@pytest.mark.parametrize(
    ("written", "folder"),
    [("0123", "0123"), ("on", "on"), ("2020-13-45", "2020-13-45"), ("1e3", "1e3"), ("1:30", "1:30"), ("'null'", "null"),
     ("'${nothing}'", "${nothing}"), ("???", "???"), ("a b  # c", "a b"), ("'a # b'", "a # b"), ('"a\\tb"', "a\tb"),
     ("|\n    a\n    b", "a\nb\n"), ("null", None), ("~", None), ("", None)],
)  # fmt: skip
def test_text_in_a_file_is_what_yaml_has_between_its_signs(write, written, folder):
    assert read_config(write("a.yaml", f"data:\n  dir: {written}\n")).data.dir == folder


@pytest.mark.parametrize("text", ["1", "010", "+7", "0o17", "0x1F", "123"])
def test_whole_numbers_are_those_of_yaml_1_2(write, text):
    value = {"010": 10, "0o17": 15, "0x1F": 31}.get(text) or int(text)
    assert read_config(None, [f"train.epochs={text}"]).train.epochs == value
    assert read_config(write("a.yaml", f"train: {{epochs: {text}}}\n")).train.epochs == value
    assert read_config(None, [f"schedule.lr={text}"]).schedule.lr == value


@pytest.mark.parametrize("text", ["1:30", "1_000", "0b11", "٣", "1 000", "1,000", "--3", "0o8", "", "9" * 5000])
def test_what_yaml_1_2_has_no_number_for_is_refused(write, text):
    for name in ("train.epochs", "schedule.lr"):
        section, key = name.split(".")
        assert refusal(f"{name}={text}").startswith("command line, ")
        message = refusal(path=write("a.yaml", f"{section}:\n  {key}: {text}\n"))
        assert f"a.yaml, line 2: {name} is " in message
        assert len(message) < 1000


@pytest.mark.parametrize("text", ["yes", "no", "on", "off", "y", "1", "0", "tRUE"])
def test_only_true_and_false_are_truth_values(write, text):
    for message in (refusal(f"augment.flip={text}"), refusal(path=write("a.yaml", f"augment: {{flip: {text}}}\n"))):
        assert "augment.flip is " in message
        assert message.endswith("; expected true or false")


# --- The task --------------------------------------------------------------------------------------------------------


def test_task_is_that_of_the_data_set_unless_it_is_set(write, monkeypatch):
    for room in ("tasks", "training.checks"):
        monkeypatch.setattr(f"fusion.{room}.list_tasks", lambda: ["another", "classification", "third"])
    classification = find_task("classification")
    monkeypatch.setattr("fusion.tasks.find_task", lambda name: classification)
    assert read_config(None).task is None
    path = write("a.yaml", "base: base.yaml\ntask: classification\ntrain: {seed: 1}\n")
    write("base.yaml", "train: {epochs: 2}\ntask: another\n")
    assert read_config(path).task == "classification"
    assert read_config(path, ["task=third"]).task == "third"
    assert read_config(path, ["task=null"]).task is None


def test_task_is_written_on_top_of_the_sections():
    assert to_yaml(Settings()).splitlines()[:2] == ["task: null", "model:"]
    assert to_yaml(settings_of({"task": "0123"})).splitlines()[0] == "task: '0123'"


def test_misspelt_task_is_named_with_its_nearest(write):
    assert "line 1: no section is named 'tsk': did you mean 'task'" in refusal(path=write("a.yaml", "tsk: a\n"))
    assert "no setting is named 'tsk': did you mean 'task'" in refusal("tsk=a")
    assert "line 1: task is {'name': 'a'}; expected text" in refusal(path=write("a.yaml", "task: {name: a}\n"))


def test_config_of_an_older_run_has_no_task(write):
    older = to_yaml(settings_of(NARROW)).split("\n", 1)[1]
    assert "task" not in older
    assert read_config(write("a.yaml", older)) == settings_of(NARROW)


# --- What is read of a file ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("train:\n  seed: 1\n  epochs: 3\n  seed: 2\n", "line 4: 'seed' is there twice, in line 2 and in line 4"),
        ("train:\n  seed: 1\ndata: {size: 32}\ntrain: {}\n", "line 4: 'train' is there twice, in line 1 and in line 4"),
        ("base: a\nbase: b\n", "line 2: 'base' is there twice, in line 1 and in line 2"),
        ("train: {seed: 1, seed: 1}\n", "line 1: 'seed' is there twice, in line 1:"),
    ],
)
def test_key_that_is_there_twice_is_refused_with_both_lines(write, text, complaint):
    assert f"a.yaml, {complaint}" in refusal(path=write("a.yaml", text))


def test_alias_is_refused_with_its_line(write):
    bomb = "\n".join(f"  - &x{i} [{', '.join([f'*x{i - 1}'] * 9)}]" for i in range(1, 9))
    text = f"schedule:\n  lr:\n  - &x0 [lol]\n{bomb}\n"
    assert "a.yaml, line 4: an alias such as *x0 is not read here" in refusal(path=write("a.yaml", text))


@pytest.mark.parametrize("text", ["!!bool maybe", "!!int 5", "!!python/object/apply:os.system [ls]", "!mine a"])
def test_tag_is_refused_with_its_line(write, text):
    message = refusal(path=write("a.yaml", f"augment:\n  flip: {text}\n"))
    assert "a.yaml, line 2: a tag such as !" in message


@pytest.mark.parametrize("depth", [MOST_NESTED, 500, 90_000])
def test_value_nested_too_deeply_is_refused_with_its_line(write, depth):
    message = refusal(path=write("a.yaml", "schedule:\n  lr: " + "[" * depth))
    assert f"a.yaml, line 2: there are more than {MOST_NESTED} levels" in message


def test_file_of_another_size_than_a_config_is_refused(tmp_path):
    path = tmp_path / "a.yaml"
    path.write_text("train: {seed: 3}\n" + "#" * (MOST_BYTES - 18) + "\n", encoding="utf-8")
    assert read_config(path).train.seed == 3
    path.write_text("train: {seed: 3}\n" + "#" * MOST_BYTES, encoding="utf-8")
    assert "a.yaml: more than 100,000 bytes" in refusal(path=path)


def test_file_without_an_end_is_refused():
    assert "/dev/zero: more than 100,000 bytes" in refusal(path="/dev/zero")


def test_bases_that_multiply_are_refused(write):
    for number in range(30):
        write(f"{number}.yaml", f"base: [{number + 1}.yaml, {number + 1}.yaml]\n")
    write("30.yaml", "train: {seed: 1}\n")
    assert f"more than {MOST_FILES} files" in refusal(path=write("a.yaml", "base: 0.yaml\n"))


def test_base_whose_name_no_file_can_have_is_refused(write):
    assert "cannot read this config" in refusal(path=write("a.yaml", 'base: "a\\0b"\n'))


def test_long_values_are_cut_short_in_a_message(write):
    for message in (
        refusal("train.epochs=" + "x" * 50_000),
        refusal("x" * 50_000 + "=1"),
        refusal("data.name=" + "x" * 50_000),
        refusal(path=write("a.yaml", "train: {epochs: " + "x" * 50_000 + "}\n")),
        refusal(path=write("a.yaml", "train:\n  ? " + "x" * 50_000 + "\n  : 1\n")),
        refusal(path=write("a.yaml", "? " + "x" * 50_000 + "\n: 1\n")),
    ):
        assert len(message) < 3000


def test_network_and_task_both_answer_for_images_or_both_for_pixels():
    message = refusal("model.name=fpn")
    assert message.startswith(
        "model.name=fpn (command line) does not go with data.name=digits (default): fpn gives an "
    )
    assert "answer per pixel, and classification needs a classifier: use a network of cifar_resnet" in message
    assert "unet" not in message
    message = refusal("train.encoder_parameters=a.params", "model.name=aff_resnet32")
    assert "aff_resnet32 has no encoder; add train.encoder_parameters=null" in message
    masks = ["data.name=mask_folder", "data.dir=x", "augment.crop_padding=0"]
    words = ["model.name=fpn", "train.encoder_parameters=a.params"]
    assert read_config(None, [*masks, *words]).model.name == "fpn"
    message = refusal(*masks, "model.name=aff_resnet32")
    assert "gives an answer per image, and segmentation needs an answer per pixel: use a network of fpn," in message


# --- Limits ----------------------------------------------------------------------------------------------------------

IMPOSSIBLE = {
    "model.blocks": "0",
    "model.channel_times": "0",
    "model.layers": "34",
    "model.start_layer": "0",
    "model.cardinality": "0",
    "model.bottleneck_width": "0",
    "model.final_drop": "1 -0.1",
    "model.head_drop": "1 -0.1",
    "model.decoder_width": "0 -1",
    "model.stages": "2 5",
    "model.join": "both",
    "model.r": "0 -4",
    "model.outputs": "1 -1",
    "model.norm": "instance",
    "model.norm_layer": "none",
    "model.initializer": "zeros",
    "model.prior": "0 1",
    "data.name": "cifar",
    "data.labels": "rough",
    "data.size": "7",
    "data.fit": "crop",
    "data.batch_size": "0 -128",
    "data.workers": "0",
    "data.source": "tar",
    "data.pipeline": "dali",
    "data.classes": "0 1",
    "data.crop_share": "0 1.1",
    "data.max_bad_images": "-1",
    "data.ignore": "-1 256",
    "data.mask_mismatch": "crop",
    "augment.crop_padding": "-1",
    "augment.auto_augment": "svhn",
    "augment.randaugment_layers": "0",
    "augment.randaugment_magnitude": "-1 31",
    "augment.mixup_alpha": "-0.1",
    "augment.cutmix_alpha": "-0.1",
    "augment.mixup_off_epochs": "-1",
    "augment.colour_jitter": "-0.1 1.1",
    "augment.lighting": "-0.1",
    "augment.padding": "mean",
    "augment.target_probability": "-0.1 1.1",
    "augment.blur_probability": "-0.1 1.1",
    "optimizer.name": "lars",
    "optimizer.momentum": "1 -0.1",
    "optimizer.weight_decay": "-1e-4",
    "optimizer.clip_gradient_norm": "-1",
    "optimizer.epsilon": "0 -1",
    "optimizer.layer_decay": "0 1.1",
    "optimizer.accumulate": "0",
    "schedule.mode": "linear",
    "schedule.lr": "0 -0.1 1e-30",
    "schedule.factor": "0 1.1",
    "schedule.power": "0",
    "schedule.final_lr": "-0.1",
    "schedule.warmup_epochs": "-1",
    "schedule.warmup_lr": "-0.1",
    "train.epochs": "0 -1",
    "train.label_smoothing": "1 -0.1",
    "train.seed": "-1",
    "train.evaluate_every": "0",
    "train.patience": "-1",
    "train.ema_decay": "1 -0.1",
    "train.dtype": "bfloat16",
    "train.focal_gamma": "0.5",
    "eval.resize": "-1",
    "eval.padding": "mean",
    "eval.tile": "-1",
    "eval.overlap": "-1",
    "train.distillation_weight": "-0.1 1.1",
    "train.distillation_temperature": "0 -1",
    "runtime.distributed": "mpi true",
    "runtime.log_every": "0",
    "runtime.keep_every": "-1",
    "runtime.pictures_every": "-1",
}


@pytest.mark.parametrize(("name", "text"), [(name, text) for name, all_ in IMPOSSIBLE.items() for text in all_.split()])
def test_impossible_value_is_refused(name, text):
    message = refusal(f"{name}={text}")
    assert message.startswith(f"command line, '{name}={text}': {name} is ")
    assert "; expected " in message


def test_every_setting_with_limits_is_tested_beyond_them():
    limited = {name for name, key in FIELDS.items() if set(key.metadata) - {"reason", "why"}}
    assert limited == set(IMPOSSIBLE)


@pytest.mark.parametrize(
    "word",
    [
        "optimizer.momentum=0",
        "optimizer.weight_decay=0",
        "schedule.factor=1",
        f"schedule.lr={LEAST_RATE}",
        "schedule.final_lr=0",
        "schedule.warmup_lr=0",
        "augment.crop_padding=0",
        "augment.mixup_alpha=0",
        "augment.cutmix_alpha=0",
        "augment.randaugment_layers=1",
        "augment.randaugment_magnitude=0",
        "augment.randaugment_magnitude=30",
        "optimizer.clip_gradient_norm=0",
        "optimizer.layer_decay=1",
        "optimizer.accumulate=1",
        "train.patience=0",
        "runtime.keep_every=0",
        "train.evaluate_every=1",
        "train.ema_decay=0",
        "train.distillation_weight=0",
        "train.distillation_weight=1",
        "data.batch_size=1",
        "data.workers=1",
        "train.epochs=1",
        "train.seed=0",
        "train.label_smoothing=0",
        "train.label_smoothing=0.999",
        "runtime.log_every=1",
        "model.blocks=1",
        "model.start_layer=1",
        "model.r=1",
    ],
)
def test_limit_itself_is_possible(word):
    name, _, text = word.partition("=")
    assert value_of(read_config(None, [word]), name) == float(text)


@pytest.mark.parametrize("text", [".nan", ".inf", "-.inf", "nan"])
@pytest.mark.parametrize("name", FLOATS)
def test_number_must_be_finite(name, text):
    assert refusal(f"{name}={text}").startswith(f"command line, '{name}={text}': {name} is ")


@pytest.mark.parametrize("text", [".nan", ".inf", "-.inf"])
@pytest.mark.parametrize("name", ["augment.mean", "augment.std"])
def test_numbers_of_a_list_must_be_finite(name, text):
    for numbers in (f"[{text}, 1, 1]", f"[1, 1, {text}]"):
        assert f"{name} is " in refusal(f"{name}={numbers}")


def test_choice_is_refused_with_all_choices_and_the_nearest():
    message = refusal("schedule.mode=cosin")
    assert "expected one of step, cosine, poly, constant" in message
    assert "did you mean 'cosine'?" in message


# --- What does not go together ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (["schedule.steps=[6, 3]"], "schedule.steps is [6, 3]; expected rising epochs"),
        (["schedule.steps=[3, 3]"], "schedule.steps is [3, 3]; expected rising epochs"),
        (["schedule.steps=[0, 3]"], "schedule.steps is [0, 3]; expected rising epochs"),
        (["schedule.steps=[-3]"], "schedule.steps is [-3]; expected rising epochs"),
        (["augment.mean=[0.5, 0.5]"], "augment.mean is [0.5, 0.5]; expected three numbers"),
        (["augment.mean=[]"], "augment.mean is []; expected three numbers"),
        (["augment.std=[1, 1, 1, 1]"], "augment.std is [1.0, 1.0, 1.0, 1.0]; expected three numbers"),
        (["augment.std=[1, 0, 1]"], "augment.std is [1.0, 0.0, 1.0]; expected three numbers"),
        (["augment.std=[1, 1, -1]"], "augment.std is [1.0, 1.0, -1.0]; expected three numbers"),
        (["model.name=aff_resnet23"], "no such model 'aff_resnet23', did you mean 'aff_resnet32'"),
    ],
)
def test_setting_that_is_impossible_as_a_whole_is_refused(words, complaint):
    message = refusal(*words)
    assert complaint in message
    assert message.startswith(f"command line, {words[0]!r}: ")


#: Words that contradict each other or a default: what is wrong, and what has to be written.
CONTRADICTIONS = [
    (
        ["train.epochs=10", "schedule.steps=[3, 10]"],
        "train.epochs=10 (command line) ends before the last step of schedule.steps=[3,10] (command line)",
        ["schedule.steps=[3]"],
    ),
    (
        ["train.epochs=10", "schedule.warmup_epochs=10"],
        "train.epochs=10 (command line) is not longer than schedule.warmup_epochs=10 (command line)",
        ["schedule.warmup_epochs=0"],
    ),
    (
        ["train.epochs=1", "schedule.warmup_epochs=1.5"],
        "train.epochs=1 (command line) is not longer than schedule.warmup_epochs=1.5 (command line)",
        ["schedule.warmup_epochs=0"],
    ),
    (
        ["augment.mixup_off_epochs=11"],
        "train.epochs=10 (default) is less than augment.mixup_off_epochs=11 (command line)",
        ["augment.mixup_off_epochs=0"],
    ),
    (
        ["augment.crop_padding=32"],
        "augment.crop_padding=32 (command line) is not less than data.size=32 (default)",
        ["augment.crop_padding=0"],
    ),
    (
        ["data.dir=x", "data.name=cifar10", "data.labels=coarse"],
        "data.labels=coarse (command line) does not go with data.name=cifar10 (command line): only cifar100 has",
        ["data.labels=fine"],
    ),
    (
        ["data.labels=coarse"],
        "data.labels=coarse (command line) does not go with data.name=digits (default): only cifar100 has superclasses",
        ["data.labels=fine"],
    ),
    *(
        (
            [f"data.name={name}"],
            f"data.dir=null (default) does not go with data.name={name} (command line): {name} needs the folder",
            ["data.dir=PATH"],
        )
        for name in ("cifar10", "cifar100", "image_folder")
    ),
    (
        ["data.size=64"],
        "data.size=64 (command line) does not go with data.name=digits (default): digits has images of 32 pixels",
        ["data.size=32"],
    ),
    (
        ["data.name=cifar10", "data.dir=x", "data.size=64"],
        "data.size=64 (command line) does not go with data.name=cifar10 (command line): cifar10 has images of 32",
        ["data.size=32"],
    ),
    (
        ["model.name=cifar_resnet", "model.cardinality=32"],
        "model.name=cifar_resnet (command line) does not take model.cardinality=32 (command line)",
        ["model.cardinality=null"],
    ),
    (
        ["model.layers=50"],
        "model.name=aff_resnet32 (default) does not take model.layers=50 (command line)",
        ["model.layers=null"],
    ),
    (
        ["model.name=resnet", "model.use_se=true"],
        "model.name=resnet (command line) does not take model.use_se=true (command line)",
        ["model.use_se=null"],
    ),
    (
        ["model.name=resnext50_32x4d", "model.dilated=false", "model.blocks=2"],
        "model.name=resnext50_32x4d (command line) does not take model.blocks=2 (command line) and "
        "model.dilated=false (command line)",
        ["model.blocks=null", "model.dilated=null"],
    ),
    (
        ["train.teacher_checkpoint=last"],
        "train.teacher_checkpoint=last (command line) does not go with train.teacher=null (default): there is no",
        ["train.teacher_checkpoint=null"],
    ),
    (
        ["model.norm_layer=group", "model.sync_batch_norm=true"],
        "model.sync_batch_norm=true (command line) does not go with model.norm_layer=group (command line): there is no",
        ["model.sync_batch_norm=false"],
    ),
    (
        ["train.dtype=float16", "model.sync_batch_norm=true"],
        "model.sync_batch_norm=true (command line) does not go with train.dtype=float16 (command line): MXNet's has no",
        ["train.dtype=float32"],
    ),
]


@pytest.mark.parametrize(("words", "complaint", "mend"), CONTRADICTIONS)
def test_settings_that_contradict_each_other_are_both_named(words, complaint, mend):
    assert refusal(*words).startswith(complaint)


@pytest.mark.parametrize(("words", "complaint", "mend"), CONTRADICTIONS)
def test_what_contradictory_settings_are_told_to_add_mends_them(words, complaint, mend):
    advice = refusal(*words).split(": ", 1)[1]
    assert all(word in advice for word in mend)
    read_config(None, [*words, *mend])


def test_fewer_epochs_than_the_quickstarts_warmup_name_both_places_and_what_to_add():
    path = CONFIGS / "quickstart.yaml"
    lines = path.read_text().splitlines()
    line = 1 + next(number for number, text in enumerate(lines) if "warmup_epochs" in text)
    assert refusal("train.epochs=1", path=path) == (
        f"train.epochs=1 (command line) is not longer than schedule.warmup_epochs=1 ({path}, line {line}): "
        "add schedule.warmup_epochs=0"
    )
    assert read_config(path, ["train.epochs=1", "schedule.warmup_epochs=0"]).train.epochs == 1


def test_fewer_epochs_than_several_settings_count_are_told_all_the_words(write):
    text = "schedule: {steps: [2, 5], warmup_epochs: 2}\naugment: {mixup_off_epochs: 4}\n"
    path = write("a.yaml", text)
    advice = refusal("train.epochs=2", path=path).rsplit(": add ", 1)[1].split()
    assert advice == ["schedule.warmup_epochs=0", "schedule.steps=[]", "augment.mixup_off_epochs=0"]
    assert read_config(path, ["train.epochs=2", *advice]).train.epochs == 2


def test_model_of_another_family_is_told_how_to_drop_what_is_left_of_the_first():
    path = CONFIGS / "quickstart.yaml"
    message = refusal("model.name=aff_resnet50", path=path)
    assert message.startswith(f"model.name=aff_resnet50 (command line) does not take model.blocks=1 ({path}, line ")
    assert "): add model.blocks=null model.channel_times=null (aff_resnet50 takes " in message
    words = ["model.name=aff_resnet50", "model.blocks=null", "model.channel_times=null"]
    assert model_keywords(read_config(path, words)) == {"fusion": "aff"}


def test_setting_of_photos_alone_says_where_the_data_set_was_named(write):
    path = write("a.yaml", "augment:\n  lighting: 0.1\n")
    assert "a.yaml, line 2: augment.lighting is 0.1; " in refusal(path=path)
    assert "data.name is cifar10 (command line)" in refusal("data.name=cifar10", "data.dir=x", path=path)


def test_data_of_one_class_is_refused():
    with pytest.raises(ConfigError, match="image_folder in here has only one class; expected at least 2: "):
        count_outputs(read_config(None, ["data.name=image_folder", "data.dir=here", "model.outputs=4"]), 1)
    assert count_outputs(Settings(), 2) == 2


def test_rate_below_the_least_says_why():
    assert refusal("schedule.lr=1e-30").endswith(
        "schedule.lr is 1e-30; expected at least 1e-10: steps of a smaller rate are lost in the rounding of float32 "
        "weights, so that nothing would be learnt"
    )
    # A weight of 0.01 with the largest of usual gradients and a momentum of 0.9.
    assert np.float32(0.01) - np.float32(LEAST_RATE * 0.1 / (1 - 0.9)) == np.float32(0.01)


@pytest.mark.parametrize(
    "words",
    [
        ["train.epochs=10", "schedule.steps=[1, 9]"],
        ["train.epochs=10", "schedule.warmup_epochs=9.9"],
        ["train.epochs=10", "augment.mixup_off_epochs=10"],
        ["train.epochs=10", "schedule.mode=cosine", "schedule.steps=[300]"],
        ["augment.crop_padding=31"],
        ["augment.mean=[0.0, -0.5, 1.5]"],
        ["data.name=cifar100", "data.labels=coarse", "data.dir=x"],
        ["data.name=image_folder", "data.size=64", "data.dir=x"],
        ["model.name=resnext", "model.use_se=true", "model.cardinality=4"],
        ["model.name=aff_resnet32", "model.fusion=iaff"],
        ["model.name=cifar_resnet", "model.final_drop=0.5"],
        ["train.teacher=runs/a", "train.teacher_checkpoint=last"],
        ["model.norm_layer=group", "train.dtype=float16"],
    ],
)
def test_settings_that_just_fit_are_taken(words):
    settings = read_config(None, words)
    for word in words:
        name, _, text = word.partition("=")
        assert value_of(settings, name) == yaml.safe_load(text)


def test_model_keywords_are_what_is_set_of_the_network():
    words = ["model.name=resnet", "model.deep_stem=false", "model.layers=50", "model.initializer=xavier"]
    assert model_keywords(read_config(None, words)) == {"deep_stem": False, "layers": 50}


# --- The way back ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("reasons", [False, True])
@pytest.mark.parametrize("changes", [{}, ELSEWHERE, SUPERCLASSES, PHOTOS, MASKS, LONG_SIDE, NARROW, DENSE])
def test_written_settings_read_back_the_same(write, changes, reasons):
    settings = settings_of(changes)
    assert read_config(write("a.yaml", to_yaml(settings, reasons))) == settings


def test_round_trips_cover_every_setting():
    runs = [settings_of(changes) for changes in (ELSEWHERE, SUPERCLASSES, PHOTOS, MASKS, LONG_SIDE, NARROW, DENSE)]
    assert {key for run in runs for key in differing_keys(Settings(), run)} == set(FIELDS)


@pytest.mark.parametrize(
    "folder", ["", "null", "~", "1e-4", "a: b", "- a", "it's", 'a "b"', "é/ü", "a\nb", "a  # b", "x y " * 400 + "z"]
)
def test_folder_of_any_name_reads_back_the_same(write, folder):
    settings = settings_of({"data": {"dir": folder}})
    for reasons in (False, True):
        assert read_config(write("a.yaml", to_yaml(settings, reasons))).data.dir == folder


def test_written_settings_have_every_key_and_its_reason():
    text = to_yaml(Settings(), reasons=True)
    written = yaml.safe_load(text)
    keys = {f"{section}.{key}" for section in SECTIONS for key in written[section]}
    assert keys | (set(written) - set(SECTIONS)) == set(FIELDS)
    for key in FIELDS.values():
        assert key.metadata["reason"] in text
    assert "#" not in to_yaml(Settings())


@pytest.mark.parametrize("name", sorted(FIELDS))
def test_runs_differ_in_exactly_what_was_changed(name):
    section, _, key = name.rpartition(".")
    other = Settings()
    setattr(getattr(other, section) if section else other, key, "another")
    assert differing_keys(Settings(), other) == [name]
    assert differing_keys(other, other) == []


def test_settings_do_not_share_their_lists():
    one, other = Settings(), Settings()
    one.schedule.steps.append(3)
    one.augment.mean[0] = 9.0
    assert other.schedule.steps == []
    assert other.augment.mean == [0.4914, 0.4822, 0.4465]


# --- The settings themselves -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", sorted(FIELDS))
def test_setting_says_what_it_is(name):
    reason = FIELDS[name].metadata["reason"]
    assert reason.strip()
    assert "\n" not in reason


@pytest.mark.parametrize("name", sorted(FIELDS))
def test_default_is_within_its_own_limits(name):
    value, limits = value_of(Settings(), name), FIELDS[name].metadata
    assert set(limits) <= {"reason", "choices", "low", "high", "above", "below", "why"}
    if value is not None:
        assert value in limits.get("choices", [value])
        assert limits.get("low", value) <= value <= limits.get("high", value)
        assert "above" not in limits or value > limits["above"]
        assert "below" not in limits or value < limits["below"]


@pytest.mark.parametrize("path", EXPERIMENTS, ids=lambda path: path.stem)
def test_every_experiment_of_the_project_is_valid(path, tmp_path):
    if "auto_augment: imagenet" in path.read_text() and "imagenet" not in POLICIES:
        pytest.skip("this version has no ImageNet policy of AutoAugment")
    settings = read_config(path, [f"data.dir={tmp_path}"])
    assert settings.data.dir == str(tmp_path)


def test_project_has_experiments():
    assert "quickstart" in {path.stem for path in EXPERIMENTS}
