"""Checkpoints: nothing lost to the last bit, nothing half written, nothing run, and what is refused."""

from __future__ import annotations

import json
import pickle

import numpy as np
import pytest
from classified import AVERAGE_COLUMNS, COLUMNS, TASK

from fusion import get_model
from fusion.compat import mx
from fusion.errors import CheckpointError
from fusion.files import whole_file as replacing
from fusion.training import checkpoint
from fusion.training.checkpoint import TrainingState, load_network, restore, save

CPU = [mx.cpu()]
TWO = [mx.cpu(0), mx.cpu(1)]
STATE = TrainingState(
    epoch=3,
    batch=5,
    sums={"loss": 0.1 + 0.2, "batches": 5, "seconds": 1e-300},
    history=[{"epoch": 1, "val_loss": 1 / 3}, {"epoch": 2, "val_loss": 2.5}],
)


def bare(**changes):
    return get_model("cifar_resnet", **{"blocks": 1, "channel_times": 1, "fusion": "add", "classes": 4, **changes})


def network(ctx=CPU, seed=0, **changes):
    net = bare(**changes)
    mx.random.seed(seed)
    net.initialize(ctx=ctx)
    return net


def trainer_of(net, name="nag", momentum=0.9):
    arguments = {"learning_rate": 0.05, "momentum": momentum, "wd": 1e-2}
    return mx.gluon.Trainer(net.collect_params(), name, arguments, update_on_kvstore=False)


def pair(**changes):
    net = network(**changes)
    return net, trainer_of(net)


def steps(net, trainer, first, last, ctx=CPU):
    """Train on batches that depend on nothing but their number."""
    loss_function = mx.gluon.loss.SoftmaxCrossEntropyLoss()
    for number in range(first, last):
        draw = np.random.default_rng(number)
        images = mx.nd.array(draw.normal(size=(4, 3, 8, 8)))
        labels = mx.nd.array(draw.integers(0, 4, size=4))
        parts, answers = (mx.gluon.utils.split_and_load(given, ctx) for given in (images, labels))
        with mx.autograd.record():
            losses = [loss_function(net(part), answer) for part, answer in zip(parts, answers)]
        mx.autograd.backward(losses)
        trainer.set_learning_rate(0.05 / (1 + number))
        trainer.step(4)


def parameters(net):
    return {
        name: [array.asnumpy() for array in parameter.list_data()]
        for name, parameter in net._collect_params_with_prefix().items()
    }


def momenta(trainer):
    return [
        {index: state.asnumpy() for index, state in updater.states.items() if state is not None}
        for updater in trainer._updaters
    ]


def assert_same_parameters(one, other):
    one, other = parameters(one), parameters(other)
    assert list(one) == list(other)
    for name, arrays in one.items():
        for array, same in zip(arrays, other[name]):
            assert array.tobytes() == same.tobytes(), name


def assert_same_momenta(one, other):
    one, other = momenta(one), momenta(other)
    assert len(one) == len(other)
    for device, states in zip(one, other):
        assert device.keys() == states.keys()
        assert all(array.tobytes() == states[index].tobytes() for index, array in device.items())


@pytest.fixture(scope="module")
def trained():
    """A network and its trainer after three steps; not to be changed."""
    net, trainer = pair()
    steps(net, trainer, 0, 3)
    return net, trainer


@pytest.fixture
def saved(trained, tmp_path):
    path = tmp_path / "last.npz"
    save(path, *trained, STATE)
    return path


def arrays_of(path):
    with np.load(path, allow_pickle=False) as stored:
        return {name: stored[name] for name in stored.files}


def refusal(path, **changes):
    net, trainer = pair(**changes)
    before = parameters(net)
    with pytest.raises(CheckpointError) as caught:
        restore(path, net, trainer)
    for name, (array,) in parameters(net).items():
        assert array.tobytes() == before[name][0].tobytes()
    message = str(caught.value)
    assert message.startswith(f"{path}: ")
    return message


# --- Saved and restored ----------------------------------------------------------------------------------------------


def test_restored_parameters_and_momenta_are_the_saved_to_the_bit(trained, saved):
    net, trainer = pair(seed=1)
    state = restore(saved, net, trainer)
    assert state == STATE
    assert_same_parameters(trained[0], net)
    assert_same_momenta(trained[1], trainer)
    assert len(momenta(trainer)[0]) > 10
    assert any(abs(array).max() > 0 for array in momenta(trainer)[0].values())


@pytest.mark.parametrize("name", ["nag", "sgd"])
def test_restored_training_goes_on_as_the_uninterrupted(tmp_path, name):
    whole = network()
    whole_trainer = trainer_of(whole, name)
    steps(whole, whole_trainer, 0, 2)
    save(tmp_path / "last.npz", whole, whole_trainer, STATE)
    steps(whole, whole_trainer, 2, 5)

    resumed = network(seed=1)
    resumed_trainer = trainer_of(resumed, name)
    restore(tmp_path / "last.npz", resumed, resumed_trainer)
    steps(resumed, resumed_trainer, 2, 5)
    assert_same_parameters(whole, resumed)
    assert_same_momenta(whole_trainer, resumed_trainer)


def test_momentum_matters_to_how_training_goes_on(saved):
    """What the test above would not see if its steps were too few."""
    with_momentum, trainer = pair()
    restore(saved, with_momentum, trainer)
    steps(with_momentum, trainer, 3, 5)
    without = bare()
    load_network(saved, without, CPU)
    steps(without, trainer_of(without), 3, 5)
    one, other = parameters(with_momentum), parameters(without)
    assert any((one[name][0] != other[name][0]).any() for name in one)


def test_compiled_network_is_restored(saved):
    plain, plain_trainer = pair()
    restore(saved, plain, plain_trainer)
    compiled, compiled_trainer = pair(seed=1)
    compiled.hybridize(static_alloc=True, static_shape=True)
    compiled(mx.nd.zeros((4, 3, 8, 8)))  # so that it is compiled before its weights change
    restore(saved, compiled, compiled_trainer)
    images = mx.nd.array(np.random.default_rng(0).normal(size=(4, 3, 8, 8)))
    np.testing.assert_allclose(compiled(images).asnumpy(), plain(images).asnumpy(), rtol=1e-5, atol=1e-5)


def test_checkpoint_before_the_first_step_starts_from_the_same_weights(tmp_path):
    net, trainer = pair(seed=3)
    save(tmp_path / "last.npz", net, trainer, TrainingState())
    fresh, fresh_trainer = pair(seed=4)
    assert restore(tmp_path / "last.npz", fresh, fresh_trainer) == TrainingState()
    steps(net, trainer, 0, 2)
    steps(fresh, fresh_trainer, 0, 2)
    assert_same_parameters(net, fresh)


def test_trainer_without_momentum_has_nothing_to_restore(tmp_path):
    net = network()
    trainer = trainer_of(net, "sgd", momentum=0.0)
    steps(net, trainer, 0, 2)
    save(tmp_path / "last.npz", net, trainer, STATE)
    fresh = network(seed=1)
    fresh_trainer = trainer_of(fresh, "sgd", momentum=0.0)
    restore(tmp_path / "last.npz", fresh, fresh_trainer)
    steps(net, trainer, 2, 3)
    steps(fresh, fresh_trainer, 2, 3)
    assert_same_parameters(net, fresh)


def test_two_contexts_are_restored_on_both_and_stay_alike(tmp_path):
    net, trainer = pair(ctx=TWO)
    steps(net, trainer, 0, 3, TWO)
    save(tmp_path / "last.npz", net, trainer, STATE)
    fresh, fresh_trainer = pair(ctx=TWO, seed=1)
    restore(tmp_path / "last.npz", fresh, fresh_trainer)
    assert_same_momenta(trainer, fresh_trainer)
    trained_names = {name for name, p in net._collect_params_with_prefix().items() if p.grad_req != "null"}
    for name, (first, second) in parameters(net).items():
        restored = parameters(fresh)[name]
        assert restored[0].tobytes() == restored[1].tobytes()
        if name in trained_names:
            assert restored[0].tobytes() == first.tobytes() == second.tobytes()
        else:  # running statistics, each device's own
            np.testing.assert_allclose(restored[0], (first + second) / 2, rtol=1e-6, atol=1e-7)
    steps(net, trainer, 3, 5, TWO)
    steps(fresh, fresh_trainer, 3, 5, TWO)
    for name in trained_names:
        assert parameters(net)[name][0].tobytes() == parameters(fresh)[name][0].tobytes()
        assert parameters(fresh)[name][0].tobytes() == parameters(fresh)[name][1].tobytes()
    assert_same_momenta(trainer, fresh_trainer)


def test_checkpoint_of_two_contexts_restores_on_one(tmp_path):
    net, trainer = pair(ctx=TWO)
    steps(net, trainer, 0, 2, TWO)
    save(tmp_path / "last.npz", net, trainer, STATE)
    fresh, fresh_trainer = pair(seed=1)
    restore(tmp_path / "last.npz", fresh, fresh_trainer)
    assert momenta(fresh_trainer)[0].keys() == momenta(trainer)[0].keys()
    steps(fresh, fresh_trainer, 2, 3)


# --- The file --------------------------------------------------------------------------------------------------------


def test_file_is_plain_arrays_by_structural_name_without_pickle(trained, saved):
    arrays = arrays_of(saved)
    assert not any(array.dtype.hasobject for array in arrays.values())
    state = json.loads(arrays.pop("state").tobytes())
    assert (state["epoch"], state["batch"]) == (3, 5)
    names = list(trained[0]._collect_params_with_prefix())
    assert {name for name in arrays if name.startswith("param/")} == {f"param/{name}" for name in names}
    others = {name for name in arrays if not name.startswith("param/")}
    assert others
    assert others <= {"updates", *(f"optimizer/{name}/0" for name in names)}
    assert "optimizer/output.weight/0" in others


class Trap:
    """What runs code when it is unpickled."""

    sprung = False

    def __reduce__(self):
        return setattr, (Trap, "sprung", True)


def test_pickles_are_refused_without_being_read(tmp_path):
    (tmp_path / "bare.npz").write_bytes(pickle.dumps(Trap()))
    np.savez(tmp_path / "inside.npz", state=np.array([Trap()], dtype=object))
    for name in ("bare.npz", "inside.npz"):
        refusal(tmp_path / name)
    assert not Trap.sprung


def test_saving_again_replaces_the_file_and_leaves_nothing_else(trained, saved):
    save(saved, *trained, TrainingState(epoch=9))
    assert [path.name for path in saved.parent.iterdir()] == ["last.npz"]
    assert restore(saved, *pair()) == TrainingState(epoch=9)


def test_saving_that_fails_keeps_the_old_file_and_leaves_nothing_else(trained, saved, monkeypatch):
    before = saved.read_bytes()

    def full_disk(stream, **arrays):
        stream.write(b"half of it")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(np, "savez", full_disk)
    with pytest.raises(OSError, match="No space left"):
        save(saved, *trained, TrainingState(epoch=9))
    assert saved.read_bytes() == before
    assert [path.name for path in saved.parent.iterdir()] == ["last.npz"]


# --- Replacing -------------------------------------------------------------------------------------------------------


def test_replacing_takes_the_final_name_only_at_the_end(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("old")
    with replacing(path) as aside:
        assert aside.parent == tmp_path  # a rename within a folder is all or nothing
        aside.write_text("new")
        assert path.read_text() == "old"
    assert path.read_text() == "new"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("error", [OSError, KeyboardInterrupt])
@pytest.mark.parametrize("written", [True, False])
def test_replacing_that_fails_keeps_the_old_file_and_leaves_nothing(tmp_path, error, written):
    path = tmp_path / "a.txt"
    path.write_text("old")
    with pytest.raises(error), replacing(path) as aside:
        if written:
            aside.write_text("half")
        raise error("stopped")
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_replacing_that_fails_without_an_old_file_leaves_an_empty_folder(tmp_path):
    with pytest.raises(OSError, match="stopped"), replacing(tmp_path / "a.txt") as aside:
        aside.write_text("half")
        raise OSError("stopped")
    assert list(tmp_path.iterdir()) == []


def test_replacing_what_cannot_be_replaced_leaves_nothing(tmp_path):
    path = tmp_path / "folder"
    path.mkdir()
    with pytest.raises(OSError), replacing(path) as aside:
        aside.write_text("new")
    assert list(tmp_path.iterdir()) == [path]


# --- What is refused -------------------------------------------------------------------------------------------------


def test_checkpoint_of_another_network_is_refused_by_its_first_mismatches(saved):
    message = refusal(saved, classes=7)
    assert "the parameters of another network (2 do not fit)" in message
    assert "output.weight is (4, 64), the network's is (7, 64)" in message
    assert "output.bias is (4,), the network's is (7,)" in message


def test_many_mismatches_are_counted_and_the_first_listed(saved):
    message = refusal(saved, fusion="aff")
    assert "is missing" in message
    assert message.count("\n  ") == 5
    assert "\n  and " in message
    message = refusal(saved, deep_stem=True)
    assert "the parameters of another network" in message


@pytest.mark.parametrize("kept", [0, 3, 100, 0.5, -100, -1])
def test_truncated_checkpoint_is_refused(saved, kept):
    whole = saved.read_bytes()
    saved.write_bytes(whole[: int(kept * len(whole)) if isinstance(kept, float) else kept])
    assert "not a complete checkpoint" in refusal(saved)


def test_changed_byte_of_an_array_is_refused(saved):
    whole = bytearray(saved.read_bytes())
    whole[len(whole) // 2] ^= 1
    saved.write_bytes(whole)
    assert "not a complete checkpoint" in refusal(saved)


@pytest.mark.parametrize(("offset", "value"), [(10, 99), (6, 99), (8, 1)])
def test_changed_byte_of_the_zip_directory_is_refused(saved, offset, value):
    """A compression, a version and an encryption that are not there: `zipfile` has an exception of its own for each."""
    whole = bytearray(saved.read_bytes())
    whole[whole.index(b"PK\x01\x02") + offset] = value
    saved.write_bytes(whole)
    assert "not a complete checkpoint" in refusal(saved)


def test_text_file_is_refused(tmp_path):
    path = tmp_path / "last.npz"
    path.write_text("epoch,train_loss\n1,0.5\n")
    assert "not a complete checkpoint" in refusal(path)


def test_missing_file_and_folder_are_refused(tmp_path):
    assert "cannot be read (No such file or directory)" in refusal(tmp_path / "last.npz")
    assert "cannot be read" in refusal(tmp_path)


def test_single_array_is_refused(tmp_path):
    path = tmp_path / "last.npz"
    with path.open("wb") as stream:
        np.save(stream, np.zeros(3))
    assert "not a complete checkpoint" in refusal(path)


@pytest.mark.parametrize(
    "state",
    [None, np.zeros(3), np.array("running"), b"", b"[]", b"{}", b'{"format": 1, "age": 3}', b'{"epoch": 1}', b"\xff"],
)
def test_arrays_of_something_else_are_refused(tmp_path, state):
    arrays = {"scans": np.zeros(3)}
    if state is not None:
        arrays["state"] = np.frombuffer(state, np.uint8) if isinstance(state, bytes) else state
    np.savez(tmp_path / "last.npz", **arrays)
    refusal(tmp_path / "last.npz")


def test_unknown_field_of_the_state_is_refused(saved):
    arrays = arrays_of(saved)
    state = {**json.loads(arrays["state"].tobytes()), "temperature": 3}
    arrays["state"] = np.frombuffer(json.dumps(state).encode(), np.uint8)
    np.savez(saved, **arrays)
    refusal(saved)


def test_other_format_is_refused_as_another_version(saved):
    arrays = arrays_of(saved)
    state = {**json.loads(arrays["state"].tobytes()), "format": 99}
    arrays["state"] = np.frombuffer(json.dumps(state).encode(), np.uint8)
    np.savez(saved, **arrays)
    assert "another version" in refusal(saved)


@pytest.mark.parametrize("change", ["missing", "shape", "broadcast"])
def test_momentum_that_does_not_fit_is_refused_before_anything_changes(saved, change):
    arrays = arrays_of(saved)
    name = "optimizer/output.weight/0"
    if change == "missing":
        del arrays[name]
    else:
        arrays[name] = arrays[name][:1] if change == "broadcast" else np.zeros((7, 7), np.float32)
    np.savez(saved, **arrays)
    assert "output.weight" in refusal(saved)


# --- Networks alone --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("ctx", [CPU, TWO])
@pytest.mark.parametrize("name", ["last.npz", "best.params"])
def test_network_is_loaded_from_a_checkpoint_or_a_parameter_file(trained, tmp_path, name, ctx):
    path = tmp_path / name
    if path.suffix == ".npz":
        save(path, *trained, STATE)
    else:
        trained[0].save_parameters(str(path))
    net = bare()
    load_network(path, net, ctx=ctx)
    for key, arrays in parameters(net).items():
        assert len(arrays) == len(ctx)
        for array in arrays:
            assert array.tobytes() == parameters(trained[0])[key][0].tobytes()


@pytest.mark.parametrize("name", ["last.npz", "best.params"])
def test_loading_another_network_is_refused_by_its_mismatches(trained, tmp_path, name):
    path = tmp_path / name
    if path.suffix == ".npz":
        save(path, *trained, STATE)
    else:
        trained[0].save_parameters(str(path))
    net = bare(classes=7)
    with pytest.raises(CheckpointError, match=r"output\.weight is \(4, 64\), the network's is \(7, 64\)") as caught:
        load_network(path, net)
    assert str(caught.value).startswith(f"{path}: ")


@pytest.mark.parametrize("damage", ["missing", "text", "truncated"])
@pytest.mark.parametrize("name", ["last.npz", "best.params"])
def test_loading_a_damaged_file_is_refused_by_its_name(trained, tmp_path, name, damage):
    path = tmp_path / name
    if damage == "text":
        path.write_text("not what it seems\n")
    elif damage == "truncated":
        if path.suffix == ".npz":
            save(path, *trained, STATE)
        else:
            trained[0].save_parameters(str(path))
        path.write_bytes(path.read_bytes()[:-1000])
    with pytest.raises(CheckpointError) as caught:
        load_network(path, bare())
    assert str(caught.value).startswith(f"{path}: ")


def test_names_of_the_files_of_a_run_are_told_apart_by_their_suffix():
    assert (checkpoint.LAST, checkpoint.BEST) == ("last.npz", "best.params")


# --- Files of strangers ----------------------------------------------------------------------------------------------


def rewritten(path, save_all=np.savez, **changes):
    """Write a checkpoint again with some fields of its state, or some arrays, changed."""
    arrays = arrays_of(path)
    state = json.loads(arrays["state"].tobytes().decode())
    state.update({key: changes.pop(key) for key in list(changes) if key in state})
    arrays["state"] = np.frombuffer(json.dumps(state).encode(), dtype=np.uint8)
    arrays.update(changes)
    save_all(str(path), **arrays)


@pytest.mark.parametrize(
    "changes",
    [
        {"epoch": "2"},
        {"epoch": -1},
        {"epoch": True},
        {"epoch": 10**12},
        {"epoch": 1.0},
        {"batch": -3},
        {"batch": None},
        {"sums": None},
        {"sums": {"images": "8"}},
        {"sums": {"images": -4}},
        {"sums": {"images": 1e300}},
        {"sums": {"images": float("inf")}},
        {"sums": {"loss": float("nan")}},
        {"history": None},
        {"history": [3]},
        {"history": [{"epoch": None}]},
        {"history": [{"epoch": 10**400}]},
    ],
    ids=str,
)
def test_state_that_no_run_has_saved_is_refused(saved, changes):
    rewritten(saved, **changes)
    assert "damaged: " in refusal(saved)


EPOCH = dict.fromkeys(COLUMNS, 0.5)


@pytest.mark.parametrize(
    ("row", "fault"),
    [
        ({**EPOCH, "val_iou": 0.5}, "has 'val_iou'"),
        ({**EPOCH, "a\x1b[2J": 0.5}, r"has 'a\\x1b\[2J'"),
        ({name: value for name, value in EPOCH.items() if name != "seconds"}, "lacks 'seconds'"),
        ({name: value for name, value in EPOCH.items() if name != "val_loss"}, "lacks 'val_loss'"),
        ({**EPOCH, AVERAGE_COLUMNS[0]: 0.5}, f"lacks '{min(AVERAGE_COLUMNS[1:])}'"),
        ({}, "lacks 'epoch'"),
    ],
)
def test_history_of_another_task_is_refused_before_a_run_goes_on(trained, tmp_path, row, fault):
    path = tmp_path / "last.npz"
    save(path, *trained, TrainingState(epoch=2, history=[EPOCH, row]))
    with pytest.raises(CheckpointError, match=f"another task than this run: row 2 of its history {fault};"):
        restore(path, *pair(), task=TASK)


def test_history_of_the_task_is_taken_with_and_without_evaluations(trained, tmp_path):
    path = tmp_path / "last.npz"
    unseen = {name: value for name, value in EPOCH.items() if not name.startswith("val_")}
    history = [EPOCH, unseen, {**EPOCH, **dict.fromkeys(AVERAGE_COLUMNS, 0.25)}]
    save(path, *trained, TrainingState(epoch=3, history=history))
    assert restore(path, *pair(), task=TASK).history == history


@pytest.mark.parametrize("updates", [np.array(-1), np.array([1, 2]), np.array(0.5), np.array(10**12)], ids=str)
def test_count_of_steps_that_is_none_is_refused(saved, updates):
    rewritten(saved, updates=updates)
    assert "updates is no count of steps" in refusal(saved)


def test_complex_arrays_are_refused(saved):
    name = next(name for name in arrays_of(saved) if name.startswith("param/"))
    rewritten(saved, **{name: arrays_of(saved)[name].astype(complex)})
    assert "is of type complex128, expected numbers" in refusal(saved)


def test_compressed_arrays_are_refused_before_they_fill_the_memory(saved):
    rewritten(saved, np.savez_compressed, **{"param/zeros": np.zeros(30_000_000, dtype=np.uint8)})
    assert saved.stat().st_size < 3_000_000
    assert "more memory than the file has bytes" in refusal(saved)
