"""The README keeps its word: its code runs, and its files, configs and figures are there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import fusion
from fusion.compat import mx
from fusion.explain.summary import summarise
from fusion.models.network import count_parameters

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def test_block_in_a_network_of_your_own_runs_and_trains():
    (code,) = re.findall(r"```python\n(.+?)```", README, re.DOTALL)
    assert len([line for line in code.splitlines() if line.strip()]) <= 12
    names = {}
    exec(code, names)
    block = names["Residual"](16)
    block.initialize()
    block.hybridize()
    x = mx.nd.random.normal(shape=(2, 16, 8, 8))
    with mx.autograd.record():
        loss = block(x).square().mean()
    loss.backward()
    assert block.fuse(block.body(x), x).shape == x.shape
    assert float(block.body.weight.grad().abs().sum().asscalar()) > 0


@pytest.mark.parametrize("path", sorted(set(re.findall(r"(?:configs|docs|tests|benchmarks|fusion)/[\w./]+\w", README))))
def test_files_exist(path):
    assert (ROOT / path).exists()


@pytest.mark.parametrize("anchor", re.findall(r"\]\(#([\w-]+)\)", README))
def test_links_lead_to_sections(anchor):
    titles = [title.lower().replace(" ", "-") for title in re.findall(r"^## (.+)$", README, re.MULTILINE)]
    assert anchor in titles


def test_every_fusion_is_in_its_table():
    table = README.split("## Fusion blocks")[1].split("## Models")[0]
    assert [name for name in fusion.list_fusions() if name not in table] == []


@pytest.mark.parametrize(("name", "column"), [("resnet32", 0), ("aff_resnet32", 1), ("iaff_resnext38_32x4d", 2)])
def test_model_table_has_the_counts(name, column):
    size = name.replace("iaff_", "").replace("aff_", "")
    (row,) = re.findall(rf"^\| `{size}` .+$", README, re.MULTILINE)
    parameters, costs = (cell.replace("M", "").split(",") for cell in row.split("|")[3:5])
    net = fusion.get_model(name)
    assert f"{count_parameters(net) / 1e6:.2f}" == parameters[column].strip()
    assert f"{summarise(net)[0].multiply_adds / 1e9:.2f}" == costs[column].strip()
