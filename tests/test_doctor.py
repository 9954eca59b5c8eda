"""The doctor says what works, and of what does not, what to do."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from photos import make_folders

from fusion import doctor, gpus
from fusion.__main__ import main
from fusion.doctor import ADVICE, BROKEN, OK
from fusion.gpus import GPU
from fusion.machine import Usable
from fusion.processors import Threads, choose

ROOT = Path(__file__).parents[1]
#: Where other packages are found beside the interpreter's own folders.
LIBRARIES = [path for path in os.environ.get("PYTHONPATH", "").split(os.pathsep) if path]


@pytest.fixture
def nvidia_smi(tmp_path, monkeypatch):
    """Puts an nvidia-smi on PATH: a shell script."""

    def install(script):
        (tmp_path / "bin").mkdir(exist_ok=True)
        program = tmp_path / "bin" / "nvidia-smi"
        program.write_text(f"#!/bin/sh\n{script}\n")
        program.chmod(0o755)
        monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}{os.pathsep}{os.environ['PATH']}")

    return install


def cards(cuda):
    return [(finding.state, finding.says) for finding in doctor.check_gpus(gpus.read_gpus(), cuda)]


def test_each_gpu_is_held_against_the_wheel(nvidia_smi):
    nvidia_smi("echo 'NVIDIA A100-SXM4-80GB, 8.0'; echo 'NVIDIA H100 PCIe, 9.0'")
    (good, a100), (bad, h100) = cards(cuda=True)
    assert (good, a100) == (OK, "NVIDIA A100-SXM4-80GB, compute capability 8.0")
    assert bad == ADVICE
    assert "H100 PCIe, compute capability 9.0: newer than any GPU that MXNet 1.9.1 has machine code for" in h100
    assert "--device cpu" in h100
    (state, says), _ = cards(cuda=False)
    assert state == ADVICE
    assert "mxnet-cu112 or mxnet-cu117" in says


@pytest.mark.parametrize(
    ("capability", "runs"),
    [
        ((3, 5), False),
        ((3, 7), False),
        ((5, 0), True),
        ((5, 2), True),
        ((6, 1), True),
        ((7, 5), True),
        ((8, 0), True),
        ((8, 6), True),
        ((8, 9), True),
        ((9, 0), False),
        ((10, 0), False),
        ((12, 0), False),
    ],
)
def test_code_of_the_wheels_runs_within_its_generation(capability, runs):
    assert gpus.runs_on(capability) is runs


def test_old_card_and_driver_that_does_not_tell(nvidia_smi):
    nvidia_smi(
        "case $1 in *compute_cap*) echo 'Field \"compute_cap\" is not a valid field'; exit 2;; esac; echo 'Tesla K80'"
    )
    ((state, says),) = cards(cuda=True)
    assert state == ADVICE
    assert says.startswith("Tesla K80: this nvidia-smi does not report its compute capability")
    assert gpus.parse_gpus("Tesla K80, 3.7\n\nGeForce, Laptop, 8.6\nOld, [N/A]\n") == [
        GPU("Tesla K80", (3, 7)),
        GPU("GeForce, Laptop", (8, 6)),
        GPU("Old", None),
    ]
    (old,) = doctor.check_gpus([GPU("Tesla K80", (3, 7))], True)
    assert "older than any GPU" in old.says


def test_no_card_and_driver_that_fails(nvidia_smi, monkeypatch):
    nvidia_smi("echo 'NVIDIA-SMI has failed because it could not communicate with the NVIDIA driver.'; exit 9")
    assert cards(cuda=True) == [
        (
            ADVICE,
            "nvidia-smi fails: NVIDIA-SMI has failed because it could not communicate with the NVIDIA driver.",
        )
    ]
    monkeypatch.setenv("PATH", "/nowhere")
    assert cards(cuda=False) == [(OK, "none: training runs on the CPU")]
    assert cards(cuda=True)[0][0] == ADVICE


def processors(variables, load=0.0, count=4, imported=False):
    found = Usable(frozenset(range(count)), count)
    threads = choose(variables, imported, found, Path("/nowhere"))
    return {f.about: f for f in doctor.check_processors(variables, load, found, threads)}


def test_openmp_uses_the_processors_and_says_why():
    assert processors({})["processors"].says.startswith("4 × ")
    assert processors({})["processors"].says.endswith(", 4 physical cores")
    assert (processors({})["OpenMP"].state, processors({})["OpenMP"].says) == (OK, "4 threads (4 physical cores)")
    late = processors({}, imported=True)["OpenMP"]
    assert late.state == ADVICE
    assert "half of the processors (2 of 4)" in late.says
    assert "import fusion before import mxnet" in late.says
    assert processors({"OMP_NUM_THREADS": "4"})["OpenMP"].says == "4 threads (OMP_NUM_THREADS)"
    assert processors({}, count=1)["OpenMP"].says == "1 thread (1 physical core)"
    many = processors({"OMP_NUM_THREADS": "64"})["OpenMP"]
    assert many.state == ADVICE
    assert "OMP_NUM_THREADS=64, and this process may use 4" in many.says
    wrong = processors({"OMP_NUM_THREADS": "all"})["OpenMP"]
    assert wrong.state == ADVICE
    assert "OMP_NUM_THREADS=all: expected a whole number" in wrong.says
    assert processors({"OMP_NUM_THREADS": "4", "KMP_AFFINITY": "compact"})["OpenMP"].says == "KMP_AFFINITY=compact"


def test_doctor_says_what_this_process_uses(monkeypatch):
    monkeypatch.setattr(doctor, "chosen", lambda: Threads(3, "three wishes"))
    assert [f.says for f in doctor.check_processors({}, 0.0)][1] == "3 threads (three wishes)"


def test_busy_machine_is_told_to_use_one_thread():
    assert "load" not in processors({}, load=4.5)
    assert "export OMP_NUM_THREADS=1" in processors({}, load=9.0)["load"].says
    assert "load" not in processors({"OMP_NUM_THREADS": "1"}, load=9.0)
    # Threads that sleep at once are slower beside other programs, too.
    assert "load" in processors({"OMP_WAIT_POLICY": "PASSIVE"}, load=9.0)


def test_python():
    assert doctor.check_python((3, 11, 7)).state == OK
    assert doctor.check_python((3, 13, 0)).state == OK
    assert doctor.check_python((3, 7, 9)).state == BROKEN
    assert doctor.check_python((3, 14, 0)).state == BROKEN


def test_data_sets_are_found(tmp_path):
    assert [f.says for f in doctor.check_data(tmp_path / "none")][1].startswith("no data set in")
    (tmp_path / "cifar-10-batches-bin").mkdir()
    (tmp_path / "cifar-10-batches-bin" / "data_batch_1.bin").touch()
    (tmp_path / "photos" / "train" / "ant").mkdir(parents=True)
    (tmp_path / "photos" / "val" / "ant").mkdir(parents=True)
    (tmp_path / "imagenet").mkdir()
    for name in ("train.rec", "val.rec"):
        (tmp_path / "imagenet" / name).touch()
    assert [f.says for f in doctor.check_data(tmp_path)][1:] == [
        f"CIFAR-10 in {tmp_path / 'cifar-10-batches-bin'}",
        f"ImageNet as RecordIO in {tmp_path / 'imagenet'}",
        f"image folders (train and val, 1 class) in {tmp_path / 'photos'}",
    ]


def test_parts_that_are_missing_or_broken(tmp_path, monkeypatch):
    (tmp_path / "works.py").write_text("__version__ = '1.2'")
    (tmp_path / "raises.py").write_text("raise RuntimeError('numpy is too new')")
    (tmp_path / "crashes.py").write_text("import os; os._exit(3)")
    monkeypatch.syspath_prepend(str(tmp_path))
    parts = [(name, "x", "install it", OK) for name in ("works", "raises", "crashes", "misses", "json")]
    found = {finding.about: finding for finding in doctor.check_parts([*parts, ("needed", "x", "install it", BROKEN)])}
    assert (found["works"].state, found["works"].says) == (OK, "1.2, for x")
    assert (found["raises"].state, found["raises"].says) == (
        ADVICE,
        "cannot be imported (numpy is too new); for x: install it",
    )
    assert "ends the program" in found["crashes"].says
    assert found["misses"].says == "not installed; for x: install it"
    assert found["json"].state == OK
    assert found["needed"].state == BROKEN


def test_every_library_that_is_installed_with_the_package_is_examined():
    (listed,) = re.findall(r"install_requires=\[(.*?)\n    \]", (ROOT / "setup.py").read_text(), re.DOTALL)
    names = set(re.findall(r'^ *"([\w-]+)', listed, re.MULTILINE)) - {"mxnet", "numpy", "setuptools"}
    modules = {{"PyYAML": "yaml", "Pillow": "PIL", "opencv-python": "cv2"}.get(name, name) for name in names}
    assert len(modules) > 5
    assert modules <= {part[0] for part in doctor._PARTS}


def test_command_says_that_training_works(capsys, monkeypatch, tmp_path):
    monkeypatch.setattr(doctor, "_PARTS", ())
    assert main(["doctor", "--data", str(tmp_path)]) == 0
    out = capsys.readouterr().out
    assert "OK   a training step: forward and backward on the CPU" in out
    assert out.endswith("training works here\n")
    monkeypatch.setattr(doctor, "_try", lambda mx: doctor.Finding("a training step", BROKEN, "fails"))
    assert main(["doctor", "--json"]) == 1
    found = json.loads(capsys.readouterr().out)
    assert not found["works"]
    assert {"about": "a training step", "state": "broken", "says": "fails"} in found["findings"]


def test_data_sets_are_looked_for_where_data_dir_says(capsys, monkeypatch, tmp_path):
    monkeypatch.setattr(doctor, "_PARTS", ())
    for words in (["data.dir=" + str(tmp_path)], ["--data", str(tmp_path)]):
        assert main(["doctor", *words]) == 0
        assert f"no data set in {tmp_path}" in capsys.readouterr().out
    for word in ("data.name=cifar10", "data.dir=", "photos"):
        assert main(["doctor", word]) == 2
        assert f"command line, {word!r}: doctor takes data.dir=PATH only" in capsys.readouterr().err


@pytest.fixture
def run_without_mxnet(tmp_path):
    """Run Python where a module of this text stands in place of one that MXNet needs."""

    def run(module, text, *words):
        (tmp_path / module).mkdir(exist_ok=True)
        (tmp_path / module / "__init__.py").write_text(text)
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(tmp_path), str(ROOT), *LIBRARIES])}
        command = [sys.executable, *words]
        return subprocess.run(command, env=environment, capture_output=True, text=True, cwd=tmp_path)

    return run


NEW_NUMPY = ("numpy", "__version__ = '2.1.0'")


def test_doctor_answers_where_mxnet_cannot_be_imported(run_without_mxnet):
    answered = run_without_mxnet(*NEW_NUMPY, "-m", "fusion", "doctor", "--json")
    assert answered.returncode == 1, answered.stderr
    findings = {finding["about"]: finding for finding in json.loads(answered.stdout)["findings"]}
    assert findings["MXNet"]["state"] == "broken"
    assert "cannot work with NumPy 2.1.0" in findings["MXNet"]["says"]
    assert findings["processors"]["state"] == "ok"
    other = run_without_mxnet(*NEW_NUMPY, "-m", "fusion", "models")
    assert "UnsupportedPlatformError: MXNet 1.9.1 cannot work with NumPy 2.1.0" in other.stderr
    assert other.returncode == 1


def test_doctor_answers_where_a_library_of_mxnet_is_missing(run_without_mxnet):
    text = "raise OSError('libcudart.so.11.0: cannot open shared object file')"
    answered = run_without_mxnet("mxnet", text, "-m", "fusion", "doctor", "--json")
    assert answered.returncode == 1, answered.stderr
    findings = {finding["about"]: finding for finding in json.loads(answered.stdout)["findings"]}
    assert findings["MXNet"]["says"] == "cannot be imported: libcudart.so.11.0: cannot open shared object file"


def test_package_without_mxnet_says_so_when_a_public_name_is_asked_for(run_without_mxnet):
    code = "import fusion; print(fusion.__version__, 'get_model' in dir(fusion)); fusion.get_model"
    found = run_without_mxnet(*NEW_NUMPY, "-c", code)
    assert found.stdout == "0.1.0 True\n"
    assert "UnsupportedPlatformError: MXNet 1.9.1 cannot work with NumPy 2.1.0" in found.stderr


def test_import_looks_at_no_words_of_the_command_line(run_without_mxnet):
    # Once, `import fusion` was the doctor, and ended the program, wherever the words were its own.
    code = "import sys; sys.argv = ['fusion', 'doctor', '--json']; import fusion; print('goes on')"
    found = run_without_mxnet(*NEW_NUMPY, "-c", code)
    assert (found.returncode, found.stdout) == (0, "goes on\n"), found.stderr


def test_overview_needs_no_mxnet(run_without_mxnet):
    found = run_without_mxnet(*NEW_NUMPY, "-m", "fusion", "--help")
    assert found.returncode == 0, found.stderr
    assert "python -m fusion doctor" in found.stdout


def test_images_are_compared_where_it_is_asked_for(capsys, monkeypatch, tmp_path):
    monkeypatch.setattr(doctor, "examine", lambda folder: doctor.check_data(folder))
    make_folders(tmp_path / "pets")
    assert main(["doctor", f"data.dir={tmp_path}", "--images"]) == 0
    assert "12 training images and 12 test images: none is in both, and none has two labels" in capsys.readouterr().out
    shutil.copy(tmp_path / "pets/train/a/001.JPEG", tmp_path / "pets/val/b/again.JPEG")
    assert main(["doctor", f"data.dir={tmp_path}"]) == 0
    assert "again" not in capsys.readouterr().out
    assert main(["doctor", f"data.dir={tmp_path}", "--images"]) == 0
    said = capsys.readouterr().out
    assert f"DO   images of {tmp_path / 'pets'}" in said
    assert "1 of 13 test images (7.69 %) is among the training images too" in said
