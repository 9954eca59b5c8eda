"""Graph files: what MXNet would read past its memory for, run or open is refused before it sees it."""

from __future__ import annotations

import copy
import json

import pytest

from fusion.compat import mx
from fusion.deploy import graph_file
from fusion.deploy.graph_file import read_graph
from fusion.errors import CheckpointError

GRAPH = {
    "nodes": [
        {"op": "null", "name": "data", "inputs": []},
        {"op": "null", "name": "weight", "inputs": []},
        {
            "op": "FullyConnected",
            "name": "dense",
            "attrs": {"num_hidden": "2", "no_bias": "True"},
            "inputs": [[0, 0, 0], [1, 0, 0]],
        },
        {"op": "SliceChannel", "name": "halves", "attrs": {"num_outputs": "2"}, "inputs": [[2, 0, 0]]},
        {"op": "elemwise_add", "name": "sum", "inputs": [[3, 0, 0], [3, 1, 0]]},
    ],
    "arg_nodes": [0, 1],
    "heads": [[4, 0, 0]],
    "attrs": {"mxnet_version": ["int", 10901]},
}


@pytest.fixture
def write(tmp_path):
    def written(stored):
        path = tmp_path / "net-symbol.json"
        path.write_text(stored if isinstance(stored, str) else json.dumps(stored))
        return path

    return written


def test_sound_graph_is_what_mxnet_reads(write):
    path = write(GRAPH)
    assert read_graph(path).tojson() == mx.sym.load(str(path)).tojson()


@pytest.mark.parametrize(
    ("place", "value", "reason"),
    [
        (("heads",), [[4, 7, 0]], "reads output 7 of node 4, which has 1"),
        (("heads",), [[9, 0, 0]], "an output of the graph reads"),
        (("heads",), [], "has no output"),
        (("nodes", 4, "inputs"), [[3, 0, 0], [3, 2, 0]], "reads output 2 of node 3, which has 2"),
        (("nodes", 4, "inputs"), [[3, 0, 0], [4, 0, 0]], "expected an earlier node"),
        (("nodes", 4, "inputs"), [[3, 0, 0], [-1, 0, 0]], "expected an earlier node"),
        (("nodes", 4, "inputs"), [[3, 0, 0], [True, 0, 0]], "expected an earlier node"),
        (("nodes", 4, "inputs"), [], "has 0 inputs, expected 2"),
        (("nodes", 4, "inputs"), None, "expected a list"),
        (("nodes", 4, "op"), "nothing", "no operator of MXNet"),
        (("nodes", 4, "op"), "_cvimread", "no network for inference has"),
        (("nodes", 4, "op"), "_Native", "no network for inference has"),
        (("nodes", 4, "op"), "Custom", "no network for inference has"),
        (("nodes", 4, "op"), "_sg_mkldnn_conv", "has 0 graphs within it, expected 1"),
        (("nodes", 4, "subgraphs"), [{}], "has 1 graphs within it, expected 0"),
        (("nodes", 2, "attrs"), {"num_hidden": 2}, "expected names with text"),
        (("nodes", 2, "attrs"), {"num_hidden": "many"}, "FullyConnected"),
        (("nodes", 2, "name"), "a\x1b[31m", "expected a name"),
        (("nodes", 1, "name"), "data", "two variables have the name 'data'"),
        (("nodes", 1, "inputs"), [[0, 0, 0]], "is a variable with inputs"),
        (("arg_nodes",), [0], "not the numbers of its variables"),
        (("nodes",), [], "has 0 nodes"),
        (("nodes", 2), 3, "node 2 is 3, expected an object"),
        (("nodes", 2, "control_deps"), [0], "has 'control_deps', which no node"),
        (
            ("nodes", 4),
            {"op": "_sg_mkldnn_conv", "name": "a", "inputs": [], "subgraphs": [GRAPH]},
            "has 0 inputs, expected 2",
        ),
        (("attrs",), {}, "expected version 1"),
    ],
)
def test_bad_graph_is_refused_by_its_reason(write, place, value, reason):
    graph = copy.deepcopy(GRAPH)
    part = graph
    for key in place[:-1]:
        part = part[key]
    part[place[-1]] = value
    with pytest.raises(CheckpointError, match=reason) as caught:
        read_graph(write(graph))
    assert str(caught.value).isprintable()


@pytest.mark.parametrize("text", ["", "{}", "[]", "not JSON", "[" * 100_000, '{"nodes": 3}', "\x00"])
def test_file_of_something_else_is_refused(write, text):
    with pytest.raises(CheckpointError, match="cannot be read as a network's graph"):
        read_graph(write(text))


def test_file_of_too_many_bytes_is_refused_before_it_is_parsed(write, monkeypatch):
    monkeypatch.setattr(graph_file, "LARGEST_FILE", 20)
    with pytest.raises(CheckpointError, match=r"it is larger than any network's graph \(20 bytes\)"):
        read_graph(write("[" * 21))


def test_missing_file_is_one_message(tmp_path):
    with pytest.raises(CheckpointError, match=r"net-symbol.json: cannot be read \(No such file or directory\)"):
        read_graph(tmp_path / "net-symbol.json")
