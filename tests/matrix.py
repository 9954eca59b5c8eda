#!/usr/bin/env python3
"""Installs the project and runs its fast tests on every supported Python found on PATH or under pyenv: a table.

python3 tests/matrix.py [FOLDER]    the environments and their logs go to FOLDER (default: .matrix)
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import List, Optional

MINORS = range(8, 14)
ROOT = Path(__file__).resolve().parents[1]
_FAST = ["-m", "not slow and not long", "-n", "auto", "--dist", "loadfile", "-p", "no:cacheprovider"]
_VERSIONS = "import fusion, numpy, mxnet; print('numpy', numpy.__version__ + ', mxnet', mxnet.__version__)"


def find_interpreter(minor: int) -> Optional[str]:
    """The newest Python 3.minor under pyenv, or the one on PATH."""
    root = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv"))
    found = sorted(root.glob(f"versions/3.{minor}.*/bin/python"), key=lambda path: _patch(path.parts[-3]))
    candidates = [shutil.which(f"python3.{minor}"), *(str(path) for path in reversed(found))]
    return next((path for path in candidates if path and _is(path, minor)), None)


def _patch(version: str) -> int:
    return int((re.findall(r"\d+", version) + ["0"] * 3)[2])


def _is(python: str, minor: int) -> bool:
    """Whether an interpreter runs and is what its name says; a shim of pyenv may be neither."""
    command = [python, "-c", "import sys; print(sys.version_info[:2])"]
    found = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    return found.stdout.strip() == f"(3, {minor})"


def run(command: List[str], log: Path) -> Optional[str]:
    """Run a command in the project's folder; its output, or None if it failed. Both go to the log as well."""
    done = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    with log.open("a", encoding="utf-8") as stream:
        stream.write(f"$ {' '.join(command)}\n{done.stdout}\n")
    return done.stdout if done.returncode == 0 else None


def check(minor: int, folder: Path) -> List[str]:
    """A row of the table: interpreter, verdict, what was installed, tests."""
    name = f"3.{minor}"
    interpreter = find_interpreter(minor)
    if interpreter is None:
        return [name, "not found", "", ""]
    environment, log = folder / name, folder / f"{name}.log"
    log.write_text("", encoding="utf-8")
    python = str(environment / "bin" / "python")
    start = time.monotonic()
    for command in (
        [interpreter, "-m", "venv", "--clear", str(environment)],
        [python, "-m", "pip", "install", "--quiet", "--upgrade", "pip", "setuptools", "wheel"],
        [python, "-m", "pip", "install", "--quiet", "--editable", ".[dev]"],
    ):
        if run(command, log) is None:
            return [name, "FAILED", f"not installed: see {log}", ""]
    versions = run([python, "-c", _VERSIONS], log)
    if versions is None:
        return [name, "FAILED", f"not importable: see {log}", ""]
    tests = run([python, "-m", "pytest", *_FAST], log)
    about = re.findall(r"^.*\b(?:passed|failed|error).*$", log.read_text(encoding="utf-8"), re.MULTILINE)
    verdict = "FAILED" if tests is None else "ok"
    summary = about[-1].strip("= ") if about else f"see {log}"
    return [name, verdict, versions.strip().splitlines()[-1], f"{summary}; {time.monotonic() - start:.0f} s in all"]


def main() -> int:
    folder = Path(sys.argv[1] if len(sys.argv) > 1 else ROOT / ".matrix").resolve()
    folder.mkdir(parents=True, exist_ok=True)
    failed = False
    print(f"{'Python':<8}{'result':<11}{'installed':<30}tests", flush=True)
    for minor in MINORS:
        name, verdict, versions, tests = check(minor, folder)
        print(f"{name:<8}{verdict:<11}{versions:<30}{tests}", flush=True)
        failed = failed or verdict == "FAILED"
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
