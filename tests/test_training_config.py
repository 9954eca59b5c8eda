"""Experiments as files and words: inheritance, types, limits, what does not go together, and the way back to YAML."""

from __future__ import annotations

import copy
import dataclasses
import textwrap
from pathlib import Path

import pytest
import yaml

from fusion.data.augment import POLICIES
from fusion.errors import ConfigError
from fusion.training.config import differing_keys, model_keywords, read_config, to_yaml
from fusion.training.settings import Settings

CONFIGS = Path(__file__).resolve().parents[1] / "configs"
EXPERIMENTS = sorted(path for path in CONFIGS.rglob("*.yaml") if path.parent != CONFIGS / "base")

FIELDS = {
    f"{section.name}.{key.name}": key
    for section in dataclasses.fields(Settings)
    for key in dataclasses.fields(section.default_factory)
}
FLOATS = sorted(name for name, key in FIELDS.items() if "float" in key.type and "List" not in key.type)

#: Two runs that between them change every setting.
ELSEWHERE = {
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
        "name": "sgd",
        "momentum": 0.0,
        "weight_decay": 3e-05,
        "decay_norm_and_bias": False,
        "clip_gradient_norm": 5.0,
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
        "seed": 2**40,
        "evaluate_every": 5,
        "ema_decay": 0.9999,
        "dtype": "float16",
        "teacher": "runs/a b",
        "teacher_checkpoint": "last",
        "distillation_weight": 0.9,
        "distillation_temperature": 2.5,
    },
    "runtime": {"device": "0,1", "distributed": "dist_sync", "log_every": 1, "hybridize": False},
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
NARROW = {"model": {"name": "cifar_resnet", "blocks": 2, "channel_times": 3}}


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
        for key, value in values.items():
            setattr(getattr(settings, section), key, copy.copy(value))
    return settings


def refusal(*words, path=None):
    with pytest.raises(ConfigError) as caught:
        read_config(path, words)
    return str(caught.value)


def value_of(settings, name):
    section, key = name.split(".")
    return getattr(getattr(settings, section), key)


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


def test_word_that_is_not_yaml_is_named():
    assert refusal("data.dir=@x").startswith("command line, 'data.dir=@x': ")
    assert refusal("data.dir=2020-13-45").startswith("command line, 'data.dir=2020-13-45': ")


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
    "text", ["schedule:\n  lr: !odd 3\n", "schedule:\n  lr: !!int abc\n", "data:\n  dir: 2020-13-45\n"]
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
    message = refusal(path=write("a.yaml", f"{section}:\n  {key}: {text}\n"))
    assert "a.yaml, line 2: " in message
    assert message.endswith(f"{name} is {yaml.safe_load(text)!r}; expected {expected}")
    word = f"{name}={text}"
    assert refusal(word) == f"command line, {word!r}: {name} is {yaml.safe_load(text)!r}; expected {expected}"


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
    settings = read_config(None, ["augment.flip=no", "schedule.steps=[3, 6]", "runtime.device=0", "model.blocks=2"])
    assert settings.augment.flip is False
    assert settings.schedule.steps == [3, 6]
    assert type(settings.schedule.steps) is list
    assert settings.runtime.device == "0"
    assert settings.model.blocks == 2


def test_optional_setting_goes_back_to_null(write):
    path = write("a.yaml", "model: {blocks: 2, deep_stem: true}\ndata: {dir: here}\n")
    settings = read_config(path, ["model.blocks=null", "model.deep_stem=null", "data.dir="])
    assert (settings.model.blocks, settings.model.deep_stem, settings.data.dir) == (None, None, None)


@pytest.mark.parametrize("value", ["${nothing}", "a${b", "???"])
def test_signs_of_omegaconf_are_text_or_refused_with_their_line(write, value):
    path = write("a.yaml", f"train: {{seed: 1}}\ndata: {{dir: '{value}'}}\n")
    try:
        assert read_config(path).data.dir == value
    except ConfigError as error:
        assert "a.yaml, line 2: data.dir" in str(error)


# --- Limits ----------------------------------------------------------------------------------------------------------

IMPOSSIBLE = {
    "model.blocks": "0",
    "model.channel_times": "0",
    "model.layers": "34",
    "model.start_layer": "0",
    "model.cardinality": "0",
    "model.bottleneck_width": "0",
    "model.final_drop": "1 -0.1",
    "model.r": "0 -4",
    "model.outputs": "1 -1",
    "model.norm": "layer",
    "model.norm_layer": "none",
    "model.initializer": "zeros",
    "data.name": "cifar",
    "data.labels": "rough",
    "data.size": "7",
    "data.fit": "crop",
    "data.batch_size": "0 -128",
    "data.workers": "0",
    "data.source": "tar",
    "data.pipeline": "dali",
    "data.classes": "0",
    "data.crop_share": "0 1.1",
    "data.max_bad_images": "-1",
    "augment.crop_padding": "-1",
    "augment.auto_augment": "svhn",
    "augment.randaugment_layers": "0",
    "augment.randaugment_magnitude": "-1 31",
    "augment.mixup_alpha": "-0.1",
    "augment.cutmix_alpha": "-0.1",
    "augment.mixup_off_epochs": "-1",
    "augment.colour_jitter": "-0.1 1.1",
    "augment.lighting": "-0.1",
    "optimizer.name": "adam",
    "optimizer.momentum": "1 -0.1",
    "optimizer.weight_decay": "-1e-4",
    "optimizer.clip_gradient_norm": "-1",
    "schedule.mode": "linear",
    "schedule.lr": "0 -0.1",
    "schedule.factor": "0 1.1",
    "schedule.power": "0",
    "schedule.final_lr": "-0.1",
    "schedule.warmup_epochs": "-1",
    "schedule.warmup_lr": "-0.1",
    "train.epochs": "0 -1",
    "train.label_smoothing": "1 -0.1",
    "train.seed": "-1",
    "train.evaluate_every": "0",
    "train.ema_decay": "1 -0.1",
    "train.dtype": "bfloat16",
    "train.distillation_weight": "-0.1 1.1",
    "train.distillation_temperature": "0 -1",
    "runtime.distributed": "mpi true",
    "runtime.log_every": "0",
}


@pytest.mark.parametrize(("name", "text"), [(name, text) for name, all_ in IMPOSSIBLE.items() for text in all_.split()])
def test_impossible_value_is_refused(name, text):
    message = refusal(f"{name}={text}")
    assert message.startswith(f"command line, '{name}={text}': {name} is ")
    assert "; expected " in message


def test_every_setting_with_limits_is_tested_beyond_them():
    limited = {name for name, key in FIELDS.items() if set(key.metadata) - {"reason"}}
    assert limited == set(IMPOSSIBLE)


@pytest.mark.parametrize(
    "word",
    [
        "optimizer.momentum=0",
        "optimizer.weight_decay=0",
        "schedule.factor=1",
        "schedule.lr=1e-300",
        "schedule.final_lr=0",
        "schedule.warmup_lr=0",
        "augment.crop_padding=0",
        "augment.mixup_alpha=0",
        "augment.cutmix_alpha=0",
        "augment.randaugment_layers=1",
        "augment.randaugment_magnitude=0",
        "augment.randaugment_magnitude=30",
        "optimizer.clip_gradient_norm=0",
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
        (["train.epochs=10", "schedule.steps=[3, 10]"], "schedule.steps is [3, 10]; the run has 10 epochs"),
        (["train.epochs=10", "schedule.warmup_epochs=10"], "schedule.warmup_epochs is 10.0; expected less than 10"),
        (["train.epochs=1", "schedule.warmup_epochs=1.5"], "schedule.warmup_epochs is 1.5; expected less than 1"),
        (["train.epochs=10", "augment.mixup_off_epochs=11"], "augment.mixup_off_epochs is 11; the run has 10 epochs"),
        (["augment.mean=[0.5, 0.5]"], "augment.mean is [0.5, 0.5]; expected three numbers"),
        (["augment.mean=[]"], "augment.mean is []; expected three numbers"),
        (["augment.std=[1, 1, 1, 1]"], "augment.std is [1.0, 1.0, 1.0, 1.0]; expected three numbers"),
        (["augment.std=[1, 0, 1]"], "augment.std is [1.0, 0.0, 1.0]; expected three numbers"),
        (["augment.std=[1, 1, -1]"], "augment.std is [1.0, 1.0, -1.0]; expected three numbers"),
        (["augment.crop_padding=32"], "augment.crop_padding is 32; expected less than the images' 32"),
        (
            ["data.dir=x", "data.name=cifar10", "data.labels=coarse"],
            "data.labels is 'coarse'; only cifar100 has superclasses, and data.name is cifar10",
        ),
        (["data.labels=coarse"], "data.labels is 'coarse'; only cifar100"),
        (["data.name=cifar10"], "data.dir is None; cifar10 needs the folder"),
        (["data.name=cifar100"], "data.dir is None; cifar100 needs the folder"),
        (["data.name=image_folder"], "data.dir is None; image_folder needs the folder"),
        (["data.size=64"], "data.size is 64; digits has images of 32 pixels"),
        (["data.name=cifar10", "data.dir=x", "data.size=64"], "data.size is 64; cifar10 has images of 32"),
        (["model.name=cifar_resnet", "model.cardinality=32"], "model.cardinality is 32; cifar_resnet takes avg_down"),
        (["model.name=aff_resnet32", "model.layers=50"], "model.layers is 50; aff_resnet32 takes avg_down"),
        (["model.name=resnet", "model.use_se=true"], "model.use_se is True; resnet takes "),
        (["model.name=resnext50_32x4d", "model.dilated=false"], "model.dilated is False; resnext50_32x4d takes "),
        (
            ["train.teacher_checkpoint=last"],
            "train.teacher_checkpoint is 'last'; there is no teacher: set train.teacher",
        ),
        (
            ["model.norm_layer=group", "model.sync_batch_norm=true"],
            "model.sync_batch_norm is True; there is no batch norm with model.norm_layer=group",
        ),
        (
            ["train.dtype=float16", "model.sync_batch_norm=true"],
            "model.sync_batch_norm is True; MXNet's has no float16",
        ),
        (["model.name=aff_resnet23"], "no model is named 'aff_resnet23': did you mean 'aff_resnet32'"),
    ],
)
def test_settings_that_contradict_each_other_are_refused(words, complaint):
    message = refusal(*words)
    assert complaint in message
    key = complaint.split(" is ")[0]
    place = next((f"command line, {word!r}: " for word in words if word.startswith(f"{key}=")), "")
    assert message.startswith(place or ("command line, " if "model" in key else "default: "))


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
@pytest.mark.parametrize("changes", [{}, ELSEWHERE, SUPERCLASSES, PHOTOS, NARROW])
def test_written_settings_read_back_the_same(write, changes, reasons):
    settings = settings_of(changes)
    assert read_config(write("a.yaml", to_yaml(settings, reasons))) == settings


def test_round_trips_cover_every_setting():
    runs = [settings_of(changes) for changes in (ELSEWHERE, SUPERCLASSES, PHOTOS, NARROW)]
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
    assert {f"{section}.{key}" for section, keys in written.items() for key in keys} == set(FIELDS)
    for key in FIELDS.values():
        assert key.metadata["reason"] in text
    assert "#" not in to_yaml(Settings())


@pytest.mark.parametrize("name", sorted(FIELDS))
def test_runs_differ_in_exactly_what_was_changed(name):
    section, key = name.split(".")
    other = Settings()
    setattr(getattr(other, section), key, "another")
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
    assert reason.strip() or name == "optimizer.momentum"  # which the optimizer's name explains
    assert "\n" not in reason


@pytest.mark.parametrize("name", sorted(FIELDS))
def test_default_is_within_its_own_limits(name):
    value, limits = value_of(Settings(), name), FIELDS[name].metadata
    assert set(limits) <= {"reason", "choices", "low", "high", "above", "below"}
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
