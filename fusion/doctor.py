"""python -m fusion doctor: checks whether training can work on this machine, and says what to do where it cannot."""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import platform
import re
import subprocess
import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Dict, List, Mapping, Optional, Sequence, Tuple

from .errors import ConfigError, FusionError
from .gpus import GPU, WHEEL_CAPABILITIES, read_gpus, runs_on
from .machine import Usable, usable
from .processors import Threads, chosen
from .recognise import Recognised, recognised
from .words import counted

OK, ADVICE, BROKEN = "ok", "advice", "broken"

_CUDA_WHEELS = "mxnet-cu112 or mxnet-cu117"

_ONNX = "python -m pip install 'attentional-feature-fusion[onnx]' 'numpy<2'"

#: What the package uses: the module, what it is for, how to install it, and the state of a finding that it is missing.
_PARTS = (
    *(
        (name, "settings and logs of training", f"python -m pip install {package}", BROKEN)
        for name, package in (("yaml", "PyYAML"), ("tqdm", "tqdm"), ("PIL", "Pillow"))
    ),
    ("matplotlib", "pictures, which training draws", "python -m pip install matplotlib 'numpy<2'", BROKEN),
    ("scipy", "probabilities of predictions", "python -m pip install 'scipy<2' 'numpy<2'", ADVICE),
    ("tabulate", "tables", "python -m pip install tabulate", ADVICE),
    ("jinja2", "the report", "python -m pip install jinja2", ADVICE),
    ("cv2", "reading photos", "python -m pip install opencv-python 'numpy<2'", ADVICE),
    ("simplejpeg", "noticing damaged JPEG files", "python -m pip install simplejpeg", ADVICE),
    ("gluoncv", "GluonCV's networks", "python -m pip install gluoncv==0.10.5.post0 'numpy<2'", ADVICE),
    ("onnx", "export to ONNX", _ONNX, OK),
    ("onnxruntime", "running ONNX", _ONNX, OK),
    ("horovod.mxnet", "training over several machines", "see docs/scaling.md: it builds against MXNet", OK),
)

#: A program that imports modules. Two of them import MXNet, which works only after `fusion.compat` was imported.
_IMPORT = """
import importlib, sys
for name in sys.argv[1:]:
    try:
        if name in ("gluoncv", "horovod.mxnet"):
            import fusion.compat
        importlib.import_module(name)
        print(name, "ok", getattr(sys.modules[name.split(".")[0]], "__version__", ""), flush=True)
    except Exception as error:
        print(name, "no", str(error).replace("\\n", " "), flush=True)
"""


@dataclass(frozen=True)
class Finding:
    """One line of the answer of `doctor`.

    Attributes
    ----------
    about : str
        What was examined.
    state : str
        `ok`; `advice` if something could be better; `broken` if training cannot work.
    says : str
        What was found and, unless the state is `ok`, what to do.
    """

    about: str
    state: str
    says: str


def examine(data: Path, environment: Mapping[str, str] = os.environ) -> List[Finding]:
    """Examine everything that training needs, in the order in which it is printed.

    Parameters
    ----------
    data : Path
        A folder in which data sets may be.
    environment : mapping of str to str
        The environment variables.
    """
    mxnet, findings = check_mxnet()
    return [
        check_python(sys.version_info[:3]),
        *findings,
        *check_processors(environment, _load()),
        *check_gpus(read_gpus(), _cuda_build(mxnet)),
        *check_data(data),
        *(check_weights() if mxnet is not None else ()),
        *check_parts(_PARTS),
    ]


# --- Python, NumPy, MXNet --------------------------------------------------------------------------------------------


def check_python(version: Tuple[int, ...]) -> Finding:
    """Check the version of the Python interpreter."""
    text = ".".join(map(str, version))
    if (3, 8) <= tuple(version[:2]) <= (3, 13):
        return Finding("Python", OK, f"{text}, {sys.executable}")
    return Finding("Python", BROKEN, f"{text}: expected 3.8 to 3.13; make an environment with python3.11 -m venv .venv")


def check_mxnet() -> Tuple[Optional[Any], List[Finding]]:
    """Examine NumPy and MXNet, and return MXNet if it can be imported."""
    try:
        from .compat import mx
    except Exception as error:  # also an OSError, if a library that MXNet needs is missing
        return None, [Finding("MXNet", BROKEN, f"cannot be imported: {error}")]
    import numpy

    features = sorted(feature.name for feature in mx.runtime.feature_list() if feature.enabled)
    findings = [
        Finding("NumPy", OK, numpy.__version__),
        Finding("MXNet", OK, f"{mx.__version__}, {Path(mx.__file__).parent}"),
    ]
    if mx.__version__ != "1.9.1":
        findings[1] = Finding(
            "MXNet", ADVICE, f"{mx.__version__}: this package is tested with 1.9.1; pip install mxnet==1.9.1 'numpy<2'"
        )
    findings.append(Finding("features", OK, " ".join(features)))
    if "MKLDNN" not in features:
        findings.append(
            Finding(
                "oneDNN",
                ADVICE,
                "this MXNet lacks it: convolutions on the CPU are slow, and optimise does not work",
            )
        )
    findings.append(_try(mx))
    return mx, findings


def _try(mx: Any) -> Finding:
    """Compute a convolution and its gradient, the least that training needs."""
    try:
        data = mx.nd.ones((1, 3, 8, 8))
        weight = mx.nd.ones((4, 3, 3, 3))
        weight.attach_grad()
        with mx.autograd.record():
            total = mx.nd.Convolution(data, weight, kernel=(3, 3), num_filter=4, no_bias=True).sum()
        total.backward()
        right = float(weight.grad.sum().asscalar()) == 4 * 27 * 36
    except Exception as error:  # whatever the error is, the user has to know of it
        return Finding("a training step", BROKEN, f"fails: {str(error).strip().splitlines()[-1]}; reinstall MXNet")
    if not right:
        return Finding("a training step", BROKEN, "computes a wrong gradient; reinstall MXNet: mxnet==1.9.1 'numpy<2'")
    return Finding("a training step", OK, "forward and backward on the CPU")


# --- Processors ------------------------------------------------------------------------------------------------------


def _load() -> float:
    """How many processes wanted to run, averaged over the last minute; 0 if the system does not say."""
    return os.getloadavg()[0] if hasattr(os, "getloadavg") else 0.0


def _processor_name() -> str:
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return platform.processor() or platform.machine()
    name = re.search(r"^model name\s*:\s*(.+)$", text, re.MULTILINE)
    known = [flag for flag in ("avx2", "avx512f", "avx512_vnni") if re.search(rf"\b{flag}\b", text)]
    return f"{name.group(1) if name else platform.machine()} ({', '.join(known) or 'no AVX2'})"


def check_processors(
    environment: Mapping[str, str], load: float, found: Optional[Usable] = None, threads: Optional[Threads] = None
) -> List[Finding]:
    """Check the processors, and how many threads of OpenMP this process uses on them.

    Parameters
    ----------
    environment : mapping of str to str
        The environment variables.
    load : float
        How many processes want to run.
    found : Usable, optional
        The processors that this process may use; by default those of this machine.
    threads : Threads, optional
        The threads that this process uses; by default the real number.
    """
    found = usable() if found is None else found
    threads = chosen() if threads is None else threads
    findings = [
        Finding("processors", OK, f"{found.count} × {_processor_name()}, {found.why}"),
        Finding("OpenMP", OK, str(threads)),
    ]
    if threads.warning:
        findings.append(Finding("OpenMP", ADVICE, threads.warning))
    others = {name: value for name, value in environment.items() if name.startswith(("KMP_", "GOMP_"))}
    if others:
        findings.append(Finding("OpenMP", OK, ", ".join(f"{name}={value}" for name, value in sorted(others.items()))))
    if load > len(found.affinity) + 1 and threads.count > 1:
        findings.append(
            Finding(
                "load",
                ADVICE,
                f"{load:.1f} processes want to run on {counted(len(found.affinity), 'processor')}, and this process "
                f"would use {threads.count} threads, which would often wait for each other; one thread is faster. "
                "Run export OMP_NUM_THREADS=1, and unset it when the other processes are done",
            )
        )
    return findings


# --- GPUs ------------------------------------------------------------------------------------------------------------


def _cuda_build(mxnet: Any) -> Optional[bool]:
    return None if mxnet is None else bool(mxnet.runtime.Features().is_enabled("CUDA"))


def check_gpus(gpus: Any, cuda: Optional[bool]) -> List[Finding]:
    """Check for each GPU whether the installed MXNet can use it.

    Parameters
    ----------
    gpus : list of GPU, or str
        What `read_gpus` returned.
    cuda : bool or None
        Whether the installed MXNet is built with CUDA; None if there is no MXNet.
    """
    if isinstance(gpus, str):
        return [Finding("GPUs", ADVICE, gpus)]
    if not gpus and cuda:
        return [Finding("GPUs", ADVICE, "none found, though this MXNet is built for GPUs: is the driver installed?")]
    if not gpus:
        return [Finding("GPUs", OK, "none: training runs on the CPU")]
    return [_check_gpu(number, gpu, cuda) for number, gpu in enumerate(gpus)]


def _check_gpu(number: int, gpu: GPU, cuda: Optional[bool]) -> Finding:
    about = f"GPU {number}"
    if gpu.capability is None:
        hold = ", ".join(f"{major}.{minor}" for major, minor in WHEEL_CAPABILITIES)
        says = f"{gpu.name}: this nvidia-smi does not report its compute capability; MXNet's wheels support {hold}"
        return Finding(about, ADVICE, says)
    title = f"{gpu.name}, compute capability {gpu.capability[0]}.{gpu.capability[1]}"
    if not runs_on(gpu.capability):
        age = "newer" if gpu.capability > WHEEL_CAPABILITIES[-1] else "older"
        return Finding(
            about,
            ADVICE,
            f"{title}: {age} than any GPU that MXNet 1.9.1 has machine code for (5.0 to 8.9, Maxwell to Ada), so that "
            "no MXNet wheel runs on this card; train on the CPU (--device cpu) or on another card",
        )
    if cuda:
        return Finding(about, OK, title)
    return Finding(
        about,
        ADVICE,
        f"{title}: the installed MXNet is for CPUs only; to use this card, python -m pip uninstall mxnet, then "
        f"python -m pip install {_CUDA_WHEELS} 'numpy<2' (with CUDA 11.2 or 11.7)",
    )


# --- Data, optional parts --------------------------------------------------------------------------------------------


def check_data(folder: Path) -> List[Finding]:
    """List the data sets in a folder, in addition to the one that comes with the package."""
    findings = [Finding("data", OK, "UCI digits, in the package")]
    found = [Finding("data", OK, f"{each.title} in {each.path}") for each in recognised(folder)]
    if not found:
        advice = "set data.dir to their folder, or train with data.name=cifar10, which downloads its data"
        found = [Finding("data", OK if not folder.exists() else ADVICE, f"no data set in {folder}: {advice}")]
    return findings + found


def check_weights() -> List[Finding]:
    """Look whether the files of the networks that come with the package are those that it was made with."""
    from .models.pretrained import faults, list_pretrained

    damaged = [Finding("weights", ADVICE, fault) for fault in faults()]
    return damaged or [Finding("weights", OK, f"{counted(len(list_pretrained()), 'network')}, in the package")]


def check_images(folder: Path) -> List[Finding]:
    """Compare all images of each data set in a folder: see `fusion.data.soundness`.

    Copies are told apart from other files by their bytes, so that nothing is decoded. Of a large data set this takes
    minutes, or longer from a slow disk.
    """
    return [finding for each in recognised(folder) for finding in _about_images(each)]


def _about_images(each: Recognised) -> List[Finding]:
    from .data import load_dataset
    from .data.soundness import look_over

    about = f"images of {each.path}"
    try:
        train, test = (load_dataset(each.name, split, each.path, download=False) for split in ("train", "test"))
        doubts = look_over(train, test, most_files=None)
    except FusionError as error:
        return [Finding(about, ADVICE, str(error))]
    if doubts:
        return [Finding(about, ADVICE, doubt) for doubt in doubts]
    counts = f"{counted(len(train), 'training image')} and {counted(len(test), 'test image')}"
    return [Finding(about, OK, f"{counts}: none is in both, and none has two labels")]


def check_parts(parts: Sequence[Tuple[str, str, str, str]]) -> List[Finding]:
    """Check whether optional packages can be imported. This is tried in another process, which a broken one may end.

    Parameters
    ----------
    parts : sequence of tuple of str
        The module, what it is for, how to install it, and the state of the finding if it is not installed.
    """
    installed = [module for module, *_ in parts if _installed(module.split(".")[0])]
    answers = _imported(installed)
    findings = []
    for module, purpose, advice, state in parts:
        name = module.split(".")[0]
        word, rest = answers.get(module, ("no", "importing it ends the program"))
        if module not in installed:
            findings.append(Finding(name, state, f"not installed; for {purpose}: {advice}"))
        elif word == "ok":
            findings.append(Finding(name, OK, f"{rest or 'installed'}, for {purpose}"))
        else:
            says = f"cannot be imported ({rest}); for {purpose}: {advice}"
            findings.append(Finding(name, BROKEN if state == BROKEN else ADVICE, says))
    return findings


def _imported(modules: Sequence[str]) -> Dict[str, Tuple[str, str]]:
    """For each module `ok` and its version, or `no` and the reason; nothing for a module that ended the process."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    command = [sys.executable, "-c", _IMPORT, *modules]
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, env=environment)
    lines = (line.split(" ", 2) for line in done.stdout.splitlines())
    answers = {words[0]: (words[1], words[2]) for words in lines if len(words) == 3 and words[0] in modules}
    waiting = [module for module in modules if module not in answers]
    if len(waiting) > 1:  # the first of them ended the process; the others have not been tried
        answers.update(_imported(waiting[1:]))
    return answers


def _installed(name: str) -> bool:
    try:
        return importlib.util.find_spec(name) is not None
    except (ImportError, ValueError):
        return False


# --- The command -----------------------------------------------------------------------------------------------------


def add_command(commands: Any) -> None:
    """Give `python -m fusion` its command `doctor`."""
    parser = commands.add_parser("doctor")
    parser.add_argument("--json", action="store_true", help="one JSON object on standard output")
    parser.add_argument(
        "--images", action="store_true", help="look for test images that are training images, and for wrong labels"
    )
    parser.add_argument("--data", type=Path, metavar="DIR", help=argparse.SUPPRESS)  # the former name of data.dir
    where = "the folder in which to look for data sets (default: data.dir=data)"
    parser.add_argument("settings", nargs="*", metavar="data.dir=PATH", help=where)
    parser.set_defaults(run_command=_run)


def _data_folder(arguments: argparse.Namespace) -> Path:
    folder: Path = arguments.data or Path("data")
    for word in arguments.settings:
        key, _, path = word.partition("=")
        if key != "data.dir" or not path:
            raise ConfigError(f"command line, {word!r}: doctor takes data.dir=PATH only")
        folder = Path(path)
    return folder


def _run(arguments: argparse.Namespace) -> int:
    folder = _data_folder(arguments)
    findings = [*examine(folder), *(check_images(folder) if arguments.images else [])]
    broken = [finding for finding in findings if finding.state == BROKEN]
    if arguments.json:
        print(json.dumps({"works": not broken, "findings": [asdict(finding) for finding in findings]}))
    else:
        for finding in findings:
            print(f"{_MARKS[finding.state]:<4} {finding.about}: {finding.says}")
        print("training cannot work here: see what is marked NO" if broken else "training works here")
    return 1 if broken else 0


_MARKS = {OK: "OK", ADVICE: "DO", BROKEN: "NO"}
