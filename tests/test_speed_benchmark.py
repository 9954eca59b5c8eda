"""The benchmark times what it says, in turn, and shows it."""

import importlib.util
import json
import os

import numpy as np
import pytest
from PIL import Image

from fusion.__main__ import main
from fusion.errors import ConfigError
from fusion.speed import benchmark
from fusion.speed.benchmark import format_table, measure
from fusion.speed.measuring import WAYS, Candidate, Job, Measurement, in_process, memory, times
from fusion.speed.picture import draw
from fusion.timing import WARM_UP, Times, gain, interleave

#: Images so small that the named models' least take milliseconds.
SIZE = 8


def test_calls_are_interleaved_and_the_first_rounds_do_not_count():
    order = []
    taken = interleave({"a": lambda: order.append("a"), "b": lambda: order.append("b")}, 3)
    assert order == ["a", "b"] * (3 + WARM_UP)
    assert [len(each.seconds) for each in taken.values()] == [3, 3]


def test_medians_quartiles_and_gain():
    slow, fast = Times((4.0, 6.0, 90.0, 8.0, 6.0)), Times((2.0, 3.0, 30.0, 2.0, 3.0))
    assert slow.median == 6
    assert slow.quartiles == (6, 8)
    assert gain(slow, fast) == 2  # of 2, 2, 3, 4, 2
    assert Times((1.5,)).quartiles == (1.5, 1.5)


def test_every_way_runs_in_this_process():
    candidates = [Candidate("cifar_resnet", "add", way, SIZE) for way in WAYS]
    found = times(Job("times", candidates, 2, 1))
    possible = set(WAYS) - set(found["left_out"])
    assert set(found["seconds"]) == {f"cifar_resnet (add): {way}" for way in possible}
    assert all(len(seconds) == 1 for seconds in found["seconds"].values())
    assert set(found["left_out"]) <= {"onnxruntime"}
    assert found["threads"] == int(os.environ["OMP_NUM_THREADS"].split(",")[0])
    if importlib.util.find_spec("onnxruntime") is None:
        assert "[onnx]" in found["left_out"]["onnxruntime"]


def test_memory_is_of_a_process_that_only_loads(monkeypatch):
    jobs = []

    def write_elsewhere(job):
        jobs.append(job)
        from fusion.speed.measuring import files

        return files(job)

    monkeypatch.setattr("fusion.speed.measuring.in_process", write_elsewhere)
    found = memory(Job("memory", [Candidate("cifar_resnet", "add", "exported", SIZE)], 1, 1))
    assert [job.kind for job in jobs] == ["files"]
    assert 50e6 < found["bytes"] < 50e9
    memory(Job("memory", [Candidate("cifar_resnet", "add", "hybridized", SIZE)], 1, 1))
    assert len(jobs) == 1


def test_process_answers_and_says_what_went_wrong(monkeypatch):
    job = Job("times", [Candidate("cifar_resnet", "add", "hybridized", SIZE)], 1, 2)
    assert Job.from_json(job.to_json()) == job
    assert len(in_process(job, 1)["seconds"]["cifar_resnet (add): hybridized"]) == 2
    with pytest.raises(ConfigError, match="no such model 'resnet_x"):
        in_process(Job("times", [Candidate("resnet_x", None, "training", SIZE)], 1, 1))


@pytest.mark.long
def test_process_has_the_number_of_threads_that_was_asked_for_or_the_packages_own(monkeypatch):
    job = Job("times", [Candidate("cifar_resnet", "add", "hybridized", SIZE)], 1, 1)
    monkeypatch.setenv("OMP_NUM_THREADS", "2")
    monkeypatch.setenv("FUSION_CHOSEN_THREADS", "2")  # as in a process in which the package has chosen two
    assert in_process(job, 2)["threads"] == 2
    monkeypatch.setenv("HOROVOD_LOCAL_SIZE", "1000")  # leaves one to whom the user does not say otherwise
    assert in_process(job)["threads"] == 1
    assert in_process(job, 2)["threads"] == 2


def fake_work(job, threads):
    """Addition takes half as long, int8 is not possible; three threads unless told otherwise."""
    if job.kind == "memory":
        return {"bytes": 3 * 2**20}
    seconds = {each.key: [0.1 if each.fusion else 0.2] * job.rounds for each in job.candidates if each.way != "int8"}
    return {"seconds": seconds, "left_out": {"int8": "no"}, "threads": threads or 3}


def test_rows_have_rates_memory_and_ratios():
    group = [Candidate("aff_resnet32", fusion, way) for fusion in (None, "add") for way in ("hybridized", "int8")]
    rows, left_out = measure([group], [1, 4], 3, 2, True, fake_work)
    assert left_out == {"int8": "no"}
    assert [(row.model, row.way, row.batch_size) for row in rows] == [
        ("aff_resnet32", "hybridized", 1),
        ("aff_resnet32 (add)", "hybridized", 1),
        ("aff_resnet32", "hybridized", 4),
        ("aff_resnet32 (add)", "hybridized", 4),
    ]
    assert [row.images_per_second for row in rows] == pytest.approx([5, 10, 20, 40])
    assert [row.times_as_fast for row in rows] == [0.5, None, 0.5, None]
    assert {row.megabytes for row in rows} == {3}
    assert measure([group], [1], 3, 2, False, fake_work)[0][0].megabytes is None
    assert {row.threads for row in rows} == {2}


def test_all_processes_have_as_many_threads_as_the_first(monkeypatch):
    asked, offers = [], [2, 1, 1, 1]

    def work(job, threads):
        asked.append(threads)
        return fake_work(job, threads or offers[len(asked) - 1])

    group = [Candidate("aff_resnet32", None, "hybridized")]
    rows, _ = measure([group], [1, 4], 3, None, True, work)
    assert asked == [None, 2, 2, 2]
    assert [row.threads for row in rows] == [2, 2]


def rows():
    return [
        Measurement(model, way, size, 10.0 * size, 9.0 * size, 12.0 * size, 100.0, 250.0, 1.5)
        for size in (1, 32)
        for model in ("aff_resnet32", "resnet32")
        for way in ("training", "hybridized", "optimised")
    ]


def test_table_and_picture(tmp_path):
    lines = format_table(rows()).splitlines()
    assert len(lines) == 13
    assert lines[0].split()[:3] == ["model", "way", "batch"]
    assert lines[1].split() == ["aff_resnet32", "training", "1", "10.0", "(9.0", "to", "12.0)", "100.0", "250", "1.50"]
    without = format_table([Measurement("m", "exported", 1, 1, 1, 1, 1000)])
    assert "peak" not in without
    draw(rows(), tmp_path / "speed.png")
    pixels = np.asarray(Image.open(tmp_path / "speed.png").convert("RGB")).reshape(-1, 3)
    assert len(np.unique(pixels, axis=0)) > 10
    draw(rows()[:1], tmp_path / "one.png")


def test_single_round_has_a_picture(tmp_path):
    """Its quartiles are its median, but rates by way of milliseconds differ from it in the last digit."""
    times = {seconds: Times((seconds,)) for seconds in np.random.default_rng(0).uniform(0.001, 1, 30)}
    single = [
        benchmark._row(Candidate("m", None, "training"), 3, {"m: training": taken}, None, 1) for taken in times.values()
    ]
    differences = [row.images_per_second - row.batch_size / row.high * 1000 for row in single]
    assert min(differences) < 0 < max(differences)
    draw(single, tmp_path / "speed.png")
    assert (tmp_path / "speed.png").stat().st_size > 1000


def test_command_prints_and_draws(monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(benchmark, "in_process", fake_work)
    picture = tmp_path / "speed.png"
    words = ["benchmark", "aff_resnet32", "--against", "add", "--batch-sizes", "2", "--picture", str(picture)]
    assert main([*words, "--ways", "training,optimised"]) == 0
    out = capsys.readouterr().out
    assert "aff_resnet32 (add)  optimised" in out
    assert "left out: int8 (no)" in out
    assert "threads: 3\n" in out
    assert picture.stat().st_size > 1000
    assert main([*words, "--json"]) == 2
    assert "--force" in capsys.readouterr().err
    assert main([*words, "--json", "--force", "--threads", "1"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["threads"] == 1
    assert {row["threads"] for row in found["rows"]} == {1}
    assert len(found["rows"]) == 2 * (len(WAYS) - 1)


@pytest.mark.parametrize(("name", "start"), [("a.pdf", b"%PDF"), ("a.SVG", b"<?xml"), ("a.jpg", b"\xff\xd8")])
def test_picture_is_of_the_format_of_its_name(monkeypatch, tmp_path, capsys, name, start):
    monkeypatch.setattr(benchmark, "in_process", fake_work)
    words = ["benchmark", "aff_resnet32", "--ways", "training", "--batch-sizes", "2", "--no-memory", "--rounds", "1"]
    assert main([*words, "--output", str(tmp_path / "new" / name)]) == 0
    assert (tmp_path / "new" / name).read_bytes().startswith(start)
    assert "each figure is one round" in capsys.readouterr().out


def test_picture_that_cannot_be_written_is_refused_before_anything_is_measured(monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(benchmark, "in_process", lambda *job: pytest.fail("measured"))
    (tmp_path / "file").write_text("")
    (tmp_path / "folder.png").mkdir()
    for name, message in (
        ("a.txt", "a.txt: expected a name that ends in .png, .pdf"),
        ("a", "expected a name that ends in"),
        ("folder.png", "folder.png: is a folder; expected a file"),
        ("file/a.png", "file is a file; expected a folder"),
    ):
        assert main(["benchmark", "aff_resnet32", "--output", str(tmp_path / name), "--force"]) == 2
        assert message in capsys.readouterr().err


def test_nothing_that_can_be_measured_is_an_error(monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(benchmark, "in_process", fake_work)
    picture = tmp_path / "speed.png"
    words = ["benchmark", "aff_resnet32", "--ways", "int8", "--batch-sizes", "2", "--output", str(picture)]
    assert main(words) == 2
    assert "nothing can be measured here (int8: no)" in capsys.readouterr().err
    assert not picture.exists()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["resnet23"], "did you mean"),
        (["aff_resnet32", "--against", "adds"], "did you mean 'add'"),
        (["aff_resnet32", "--against", "mscam"], "takes one input"),
        (["aff_resnet32", "--ways", "optimized"], "did you mean 'optimised'"),
        (["aff_resnet32", "--batch-sizes", "1,0"], "numbers such as 1,32"),
        (["aff_resnet32", "--batch-sizes", "²"], "numbers such as 1,32"),
        (["aff_resnet32", "--rounds", "0"], "--rounds 0"),
        (["aff_resnet32", "--threads", "0"], "--threads 0"),
        (["aff_resnet32", "--input-size", "4"], "at least 8"),
    ],
)
def test_bad_words(words, message, monkeypatch, capsys):
    monkeypatch.setattr(benchmark, "in_process", fake_work)
    assert main(["benchmark", *words]) == 2
    assert message in capsys.readouterr().err
