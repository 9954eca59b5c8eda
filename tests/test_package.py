"""The package as others get it: a wheel and a source archive, built from this project's own files, used elsewhere."""

from __future__ import annotations

import email
import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys
import tarfile
import zipfile
from email.message import Message
from pathlib import Path

import pytest
from pages import ROOT, blocks
from PIL import Image

import fusion
from fusion.data import load_dataset

pytestmark = pytest.mark.long

_NOT_SOURCE = {".git", ".venv", "build", "dist", "runs", "__pycache__", ".pytest_cache", ".mypy_cache", ".ruff_cache"}


def source_files():
    """The files of the project, relative to it: those that git knows or would take, or else all but products."""
    if (ROOT / ".git").exists() and shutil.which("git"):
        words = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
        done = subprocess.run(words, cwd=ROOT, stdout=subprocess.PIPE, check=True)
        names = [os.fsdecode(name) for name in done.stdout.split(b"\0") if name]
        return sorted(name for name in names if (ROOT / name).is_file())
    found = (path.relative_to(ROOT) for path in ROOT.rglob("*") if path.is_file())
    kept = (path for path in found if not _NOT_SOURCE & set(path.parts) and not path.parts[0].endswith(".egg-info"))
    return sorted(path.as_posix() for path in kept if path.name not in ("PKG-INFO", "setup.cfg"))


def run(words, folder, **variables):
    done = subprocess.run(
        words,
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1", **variables},
    )
    assert done.returncode == 0, done.stdout
    return done.stdout


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """The folder with both archives. The wheel is made from the source archive, which has to have all that it needs."""
    for name in ("build", "setuptools", "wheel"):
        if importlib.util.find_spec(name) is None:
            pytest.skip(f"{name} is not installed: pip install '.[dev]' setuptools wheel")
    folder = tmp_path_factory.mktemp("built")
    for name in source_files():
        place = folder / "tree" / name
        place.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(ROOT / name, place)
    run([sys.executable, "-m", "build", "--no-isolation", "--outdir", str(folder / "dist"), "tree"], folder)
    return folder / "dist"


@pytest.fixture(scope="module")
def wheel(built):
    (path,) = built.glob("*.whl")
    return path


@pytest.fixture(scope="module")
def installed(wheel):
    """A folder with what the wheel installs, without what the package depends on."""
    folder = wheel.parents[1] / "installed"
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-index", "--no-compile"]
    run([*pip, "--target", str(folder), str(wheel)], wheel.parent)
    return folder


# --- What the archives have ------------------------------------------------------------------------------------------


def test_wheel_has_the_package_with_its_data_and_nothing_else(wheel):
    files = source_files()
    expected = {name for name in files if name.startswith("fusion/")}
    expected |= {f"fusion/{name}" for name in files if name.startswith("configs/")}
    names = set(zipfile.ZipFile(wheel).namelist())
    assert {name for name in names if ".dist-info/" not in name} == expected
    for name in (
        "fusion/configs/base/cifar.yaml",
        "fusion/configs/segmentation/sirst_small.yaml",
        "fusion/data/DIGITS_LICENSE.md",
        "fusion/data/digits.npz",
        "fusion/explain/report.html.jinja",
        "fusion/models/pretrained/README.md",
        "fusion/models/pretrained/SHA256SUMS",
        "fusion/published/rows.yaml",
        "fusion/py.typed",
    ):
        assert name in names
    weights = {name.split("/")[3] for name in names if re.fullmatch(r"fusion/models/pretrained/\w+/\S+\.params", name)}
    assert weights == set(fusion.list_pretrained())
    assert any(re.search(r"\.dist-info/(licenses/)?LICENSE$", name) for name in names)


def test_source_archive_has_every_file_of_the_project(built):
    (path,) = built.glob("*.tar.gz")
    with tarfile.open(path) as archive:
        names = {member.name.split("/", 1)[1] for member in archive if member.isfile()}
    assert [name for name in source_files() if name not in names] == []
    assert {"tests/data/ASKCFuse.json", "tests/pages.py", "benchmarks/structure.py", "docs/conf.py"} <= names
    assert [name for name in names if "__pycache__" in name] == []


# --- Metadata --------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def metadata(wheel) -> Message:
    with zipfile.ZipFile(wheel) as archive:
        (name,) = (name for name in archive.namelist() if name.endswith(".dist-info/METADATA"))
        return email.message_from_string(archive.read(name).decode("utf-8"))


def description(metadata):
    return metadata["Description"] or metadata.get_payload()


def test_description_has_no_link_that_leads_nowhere_on_an_index(metadata):
    text = description(metadata)
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    links = re.findall(r"\]\(([^)]*)\)", text)
    assert len(links) == len(re.findall(r"\]\(([^)]*)\)", readme))
    assert [link for link in links if not link.startswith("https://")] == []
    pictures = re.findall(r"!\[[^\]]*\]\(([^)]*)\)", text)
    assert pictures
    for link in pictures:
        repository, place = link.split("/raw/HEAD/")
        assert repository == metadata["Home-page"]
        assert (ROOT / place).is_file()
    for link in links:
        _, _, place = link.partition("/blob/HEAD/")
        assert (ROOT / place.split("#")[0]).exists()


def test_description_has_the_code_of_the_readme_as_it_is(metadata, tmp_path):
    page = tmp_path / "page.md"
    page.write_text(description(metadata), encoding="utf-8")
    for language in ("python", "sh"):
        assert blocks(page, language) == blocks(ROOT / "README.md", language)


def test_metadata_say_who_what_and_for_which_python(metadata):
    citation = (ROOT / "CITATION.cff").read_text(encoding="utf-8")
    assert f"- name: {metadata['Author']}\n" in citation
    assert f"\nversion: {metadata['Version']}\n" in citation
    assert fusion.__version__ == metadata["Version"]
    assert "Apache-2.0" in (metadata["License-Expression"], metadata["License"])
    classifiers = metadata.get_all("Classifier")
    assert {f"Programming Language :: Python :: 3.{minor}" for minor in range(8, 14)} <= set(classifiers)
    assert "Typing :: Typed" in classifiers
    assert not [name for name in classifiers if name.startswith("License ::")]  # superseded by the expression
    urls = dict(line.split(", ", 1) for line in metadata.get_all("Project-URL"))
    assert {"Documentation", "Changelog", "Issues", "Paper"} <= set(urls)
    assert "attention" in metadata["Keywords"]


# --- Use elsewhere ---------------------------------------------------------------------------------------------------


@pytest.fixture
def elsewhere(installed, tmp_path):
    """Run `python -m fusion` as installed from the wheel, in an empty folder."""

    def command(*words):
        return run([sys.executable, "-m", "fusion", *words], tmp_path, PYTHONPATH=str(installed))

    return command


def test_it_is_the_installed_package_that_runs(installed, tmp_path):
    place = run([sys.executable, "-c", "import fusion; print(fusion.__file__)"], tmp_path, PYTHONPATH=str(installed))
    assert Path(place.strip()).parent == installed / "fusion"
    program = [sys.executable, str(installed / "bin" / "fusion"), "--version"]
    assert fusion.__version__ in run(program, tmp_path, PYTHONPATH=str(installed))


def test_installed_tables_are_read(installed, tmp_path):
    """Models, a summary, the published rows and the configs, in one process."""
    program = "from fusion.__main__ import main\n" + "".join(
        f"assert main({words!r}) == 0\n"
        for words in (["models"], ["summary", "aff_resnet8_digits"], ["reproduce"], ["configs", "quickstart"])
    )
    printed = run([sys.executable, "-c", program], tmp_path, PYTHONPATH=str(installed))
    assert set(fusion.list_models()) <= set(re.findall(r"\w+", printed))
    assert "84,066" in printed
    assert "cifar100_fine_aff_resnet32" in printed


def test_installed_weights_answer(elsewhere, tmp_path):
    Image.fromarray(load_dataset("digits", "test").images[0]).save(tmp_path / "digit.png")
    answer = json.loads(elsewhere("predict", "--model", "aff_resnet8_digits", "digit.png", "--json", "--top", "1"))
    assert '"0"' in json.dumps(answer)


#: Few and large batches.
QUICKLY = ("schedule.warmup_epochs=0", "data.batch_size=480")


def test_installed_config_trains(elsewhere, tmp_path):
    elsewhere("train", "--config", "quickstart", "--run-dir", "run", "train.epochs=1", *QUICKLY)
    assert json.loads((tmp_path / "run" / "result.json").read_text())
    assert (tmp_path / "run" / "curves.png").read_bytes().startswith(b"\x89PNG")
