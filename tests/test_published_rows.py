"""The published rows as data: all of them, consistent with the curves that they are about."""

from __future__ import annotations

import pytest

from fusion.errors import ConfigError
from fusion.models.network import count_parameters
from fusion.models.zoo import get_model
from fusion.published import ROWS, find_row, read_curve
from fusion.published.curves import FOLDER, read_runs
from fusion.published.rows import COARSE, FINE, IMAGENET, STOPSIGN
from fusion.training.configs import packaged_config

#: Figures of PUBLISHED tables by table and title, so that a row that goes missing is missed.
TABLES = {
    "ImageNet, first": {
        "AFF-ResNet-50": 20.9,
        "iAFF-ResNet-50": 20.4,
        "AFF-ResNeXt-50-32x4d": 20.8,
        "iAFF-ResNeXt-50-32x4d": 20.2,
    },
    "ImageNet, second": {
        "AFF-ResNet-50": 20.3,
        "iAFF-ResNet-50": 20.2,
        "AFF-ResNeXt-50-32x4d": 20.28,
        "iAFF-ResNeXt-50-32x4d": 19.78,
    },
    "ImageNet, compared": {
        "ResNet-101": 23.2,
        "ECA-Net-101": 21.4,
        "AA-ResNet-101": 21.3,
        "SENet-101": 20.9,
        "Gather-Excite-θ+-ResNet-101": 20.7,
        "LIP-ResNet-101": 20.7,
    },
    "CIFAR-100, first": {"AFF-ResNet-32": 89.3, "AFF-ResNeXt-38-32x4d": 90.3},
    "CIFAR-100, second": {"AFF-ResNet-32": 90.8, "AFF-ResNeXt-38-32x4d": 91.2, "AFF-ResNeXt-47-32x4d": 91.8},
    "CIFAR-100, compared": {
        "AA-WRN-28-10": 81.6,
        "SENet-29": 82.2,
        "SKNet-29": 82.7,
        "PyramidNet-272-α200": 83.6,
        "NAT-M4": 88.3,
        "AutoAugment+PyramidNet+ShakeDrop": 89.3,
    },
    "CIFAR-100, released": {"AFF-ResNet-32": 83.57, "AFF-ResNeXt-47-32x4d": 85.38},
    "CIFAR-10, released": {"AFF-ResNet-32": 96.26, "AFF-ResNeXt-29-32x4d": 97.05},
    "SIRST": {"U-Net, AsymBi": 74.42},
    "ImageNet, ablation": {"ResNet-50, global + global": 22.32, "ResNet-50, local + local": 22.0},
}
#: Accuracies of the paper's tables of blocks, with b = 1, 2, ... blocks per stage.
BLOCKS = {
    "table3_inception": {
        "global": [73.5, 76.6, 77.5, 78.9],
        "local": [74.6, 77.1, 78.5, 78.7],
        "aff": [75.6, 78.4, 79.4, 80.1],
    },
    "table3_resnet": {
        "global": [75.4, 79.6, 81.1, 82.1],
        "local": [75.4, 79.4, 80.8, 81.4],
        "aff": [76.3, 80.4, 81.6, 82.6],
    },
    "table4_inception": {
        "add": [72.0, 75.3, 77.1, 78.2],
        "concat": [72.5, 74.9, 77.2, 77.9],
        "ms_gau": [75.1, 77.4, 78.8, 79.5],
        "ms_se": [75.2, 78.0, 79.0, 79.8],
        "ms_sa": [75.6, 77.9, 79.0, 79.8],
        "aff": [75.6, 78.4, 79.4, 80.1],
        "iaff": [77.4, 80.1, 80.8, 81.4],
    },
    "table4_resnet": {
        "add": [74.0, 78.6, 79.7, 80.8],
        "concat": [74.2, 78.2, 79.3, 79.8],
        "ms_gau": [76.6, 80.3, 81.5, 81.9],
        "ms_se": [76.5, 79.9, 81.4, 82.0],
        "ms_sa": [76.1, 80.1, 81.4, 82.2],
        "aff": [76.3, 80.4, 81.6, 82.6],
        "iaff": [77.2, 80.7, 82.2],
    },
    "table6_resnet": {
        "half": [75.9, 79.8, 81.3],
        "concat": [76.5, 79.2, 81.7],
        "aff": [76.4, 79.9, 81.6],
        "recursive": [76.4, 79.7, 81.2],
        "iaff": [77.2, 80.7, 82.2],
    },
}
#: Mean IoUs of the same tables on StopSign.
JOINS = {
    "table3_fpn": {
        "global": [0.911, 0.923, 0.936, 0.939],
        "local": [0.895, 0.919, 0.921, 0.924],
        "aff": [0.924, 0.935, 0.939, 0.944],
    },
    "table4_fpn": {
        "add": [0.895, 0.920, 0.925, 0.928],
        "concat": [0.897, 0.909, 0.925, 0.939],
        "ms_gau": [0.917, 0.926, 0.937, 0.941],
        "ms_se": [0.915, 0.929, 0.940, 0.940],
        "ms_sa": [0.920, 0.932, 0.938, 0.941],
        "aff": [0.924, 0.935, 0.939, 0.944],
        "iaff": [0.927, 0.938, 0.945, 0.953],
    },
}
OF_BLOCKS = [row for row in ROWS if "of the paper" in row.table]
WITH_CURVE = [row for row in ROWS if row.curve]


def test_every_published_row_is_there_once():
    for table, figures in TABLES.items():
        found = {row.title: row for row in ROWS if row.table.startswith(table)}
        assert set(found) == set(figures)
        for title, figure in figures.items():
            error = 100 - figure if table.startswith(("CIFAR", "SIRST")) else figure
            assert found[title].error == pytest.approx(error, abs=1e-9)
    assert len(ROWS) == sum(map(len, TABLES.values())) + len(OF_BLOCKS)
    assert len({row.id for row in ROWS}) == len(ROWS)


def test_every_row_of_the_paper_s_tables_of_blocks_is_there():
    found = {row.id: 100 - row.error for row in OF_BLOCKS}
    expected = {
        f"{data}_{table}_{block}_b{b}": figure * whole
        for data, tables, whole in (("cifar100", BLOCKS, 1), ("stopsign", JOINS, 100))
        for table, blocks in tables.items()
        for block, figures in blocks.items()
        for b, figure in enumerate(figures, start=1)
    }
    assert found == pytest.approx(expected, abs=1e-9)
    assert len(expected) == 94 + 40
    assert {row.test_set for row in OF_BLOCKS} == {COARSE, STOPSIGN}
    assert find_row("stopsign_table4_fpn_concat_b1").figure == "0.897 mIoU"
    assert find_row("stopsign_table4_fpn_add_b2").figure == "0.920 mIoU"


def test_ways_to_fuse_are_the_same_blocks_wherever_features_meet():
    for table, own in (("table3", 3), ("table4", 7)):
        found = {}
        for row in OF_BLOCKS:
            if table in row.id:
                block = "_".join(row.id.split("_")[3:-1])
                found.setdefault(block, set()).add((row.model["fusion"], row.model["r"]))
        assert len(found) == own
        assert all(len(models) == 1 for models in found.values())


def test_blocks_of_a_table_have_the_same_budget():
    """Within two percent: the paper compares blocks at the same number of parameters, but for addition."""
    for table in (*BLOCKS, *JOINS):
        for b in (1, 2, 3, 4):
            rows = [row for row in OF_BLOCKS if table in row.id and row.id.endswith(f"b{b}") and row.configs]
            # As released, concatenation in a long skip has no block of its own but a wider convolution behind it.
            # What r is in concat-AFF of table 6 is not stated.
            wider = "fpn" in table or "table6" in table
            sizes = [row.parameters for row in rows if not (wider and "_concat_" in row.id)]
            attentional = sorted(sizes)[1:] if "table4" in table else sizes
            assert not attentional or max(attentional) < 1.02 * min(attentional)


def test_blocks_that_are_not_here_say_so():
    without = {row.id.rsplit("_", 1)[0] for row in OF_BLOCKS if not row.configs}
    assert without == {f"cifar100_table6_resnet_{block}" for block in ("half", "recursive")}
    assert all("Nothing that was released" in row.produced for row in OF_BLOCKS if not row.configs)


def test_figures_as_printed_are_the_errors():
    for row in ROWS:
        if row.figure.endswith(" %"):
            figure = float(row.figure[:-2])
            assert (100 - figure if row.is_accuracy else figure) == pytest.approx(row.error, abs=1e-9)


def test_rows_with_a_curve_are_the_seventeen_runs():
    assert {row.id for row in WITH_CURVE} == set(read_runs()) == {path.stem for path in FOLDER.glob("*.csv")}
    assert len(WITH_CURVE) == 17


@pytest.mark.parametrize("row", WITH_CURVE, ids=lambda row: row.id)
def test_curve_is_of_the_run_and_reaches_the_row(row):
    run, curve = read_runs()[row.id], read_curve(row.id)
    assert curve.epochs == run["epochs_logged"]
    assert curve.best == pytest.approx(100 * run["best_val_top1_error"], abs=1e-9)
    assert curve.last == pytest.approx(100 * run["final_val_top1_error"], abs=1e-9)
    assert curve.best_epoch == run["best_epoch"] + 1  # counted from 0 there
    assert curve.best == pytest.approx(row.error, abs=0.1)  # tables print one decimal


def test_rows_of_others_have_nothing_to_run_and_say_whose_they_are():
    others = [row for row in ROWS if "compared with" in row.table]
    assert len(others) == 12
    for row in others:
        assert not row.configs
        assert not row.commands
        assert "others'" in row.produced
    assert {row.test_set for row in others} == {IMAGENET, FINE}


def test_what_the_tables_do_not_say_is_said():
    for row in ROWS:
        if row.table.startswith(("CIFAR-100, first", "CIFAR-100, second")):
            assert row.test_set is COARSE
        if row.table.startswith("CIFAR-100, second"):
            assert "chain" in row.produced
            assert len(row.commands) == 2
        if row.table.startswith("ImageNet, second"):
            assert "auto_aug=True had no effect" in row.produced
    assert [row.id for row in ROWS if row.pixels == 320] == ["imagenet_iaff_resnext50_32x4d"]


def test_published_sizes_are_those_of_the_networks_but_where_the_row_says_so():
    odd = []
    for row in ROWS:
        if row.configs and row.size_published:
            published = float(row.size_published.split()[0])
            if abs(row.parameters / 1e6 - published) > 0.1:
                odd.append(row.id)
    assert odd == ["cifar100_coarse_v1_aff_resnet32"]
    assert "5.0 M" in find_row(odd[0]).produced


def test_parameters_of_a_row_are_counted():
    for row in ROWS:
        if row.configs and row.test_set is not IMAGENET:
            keywords = {key: value for key, value in row.model.items() if key not in ("name", "outputs")}
            classes = row.model.get("outputs", row.test_set.classes)
            assert count_parameters(get_model(row.model["name"], classes=classes, **keywords)) == row.parameters


def test_commands_name_what_is_there():
    from pathlib import Path

    root = Path(__file__).resolve().parents[1]
    for row in ROWS:
        for name in (*row.configs, *([row.as_described] if row.as_described else [])):
            assert (root / "configs" / name).is_file()
        for command, name in zip(row.commands, row.configs):
            words = f" {' '.join(row.words)}" if row.words else ""
            assert command == f"python -m fusion train --config {Path(name).stem} --device {row.devices}{words}"
            assert packaged_config(command.split()[5]) == root / "configs" / name


def test_unknown_row_is_refused_with_the_nearest():
    with pytest.raises(ConfigError, match="did you mean 'imagenet_aff_resnet50'"):
        find_row("imagenet_aff_resnet5")


def test_curve_around_an_epoch_stops_at_its_ends():
    curve = read_curve("cifar10_v1_aff_resnet32")
    assert curve.around(1, 5) == curve.errors[:6]
    assert curve.around(400, 5) == curve.errors[-6:]
    assert curve.around(100, 2) == curve.errors[97:102]
    assert curve.at(1) == curve.errors[0]
    assert curve.at(400) == curve.last
