"""What is installed; tool settings are in pyproject.toml."""

import re
from pathlib import Path

from setuptools import find_packages, setup

HERE = Path(__file__).parent
VERSION = re.search(r'__version__ = "(.+)"', (HERE / "fusion" / "__init__.py").read_text()).group(1)

#: What an index links to. This project has no public address yet: this is the one that the paper gives for its program,
#: and pictures of the README appear on an index once the line names the place where this project is published.
REPOSITORY = "https://github.com/YimianDai/open-aff"
AUTHOR = re.search(
    r"^authors:\n  - name: (.+)$", (HERE / "CITATION.cff").read_text(encoding="utf-8"), re.MULTILINE
).group(1)


def for_an_index(page: str) -> str:
    """A page with addresses in the place of relative links, which lead nowhere on the page of a package index."""

    def absolute(link: "re.Match[str]") -> str:
        picture, text, place = link.groups()
        if re.match(r"[a-z]+:", place):
            return link.group()
        base = f"{REPOSITORY}/raw/HEAD" if picture else f"{REPOSITORY}/blob/HEAD"
        return f"{picture}[{text}]({base}/{'README.md' if place.startswith('#') else ''}{place})"

    return re.sub(r"(!?)\[([^\]]*)\]\(([^)\s]+)\)", absolute, page)


ONNX = [
    "onnx>=1.14; python_version < '3.13'",
    "onnx>=1.17,<1.19; python_version >= '3.13'",  # later ones need ml_dtypes, which there is built for NumPy 2
    "onnxruntime>=1.16",
]

TENSORBOARD = ["tensorboardX>=2.6"]

# The site that `make docs` builds.
DOCS = ["sphinx>=7.1", "myst-parser>=3", "furo>=2024.1.29"]

CONFIGS = ["fusion.configs", "fusion.configs.base", "fusion.configs.segmentation"]

setup(
    name="attentional-feature-fusion",
    version=VERSION,
    description="Attentional feature fusion (AFF, iAFF, MS-CAM) in MXNet/Gluon, with the harness that reproduces it",
    long_description=for_an_index((HERE / "README.md").read_text(encoding="utf-8")),
    long_description_content_type="text/markdown",
    author=AUTHOR,
    url=REPOSITORY,
    project_urls={
        "Documentation": f"{REPOSITORY}/tree/HEAD/docs",
        "Changelog": f"{REPOSITORY}/blob/HEAD/CHANGELOG.md",
        "Issues": f"{REPOSITORY}/issues",
        "Paper": "https://arxiv.org/abs/2009.14082",
    },
    keywords=[
        "attention",
        "feature fusion",
        "AFF",
        "iAFF",
        "MS-CAM",
        "skip connections",
        "MXNet",
        "Gluon",
        "deep learning",
    ],
    license="Apache-2.0",
    license_files=["LICENSE"],
    packages=[*find_packages(include=["fusion", "fusion.*"]), *CONFIGS],
    package_dir={"fusion.configs": "configs"},  # they stay at the top of a checkout: see fusion/training/configs.py
    package_data={
        "fusion": ["py.typed"],
        **{folder: ["*.yaml"] for folder in CONFIGS},
        "fusion.explain": ["report.html.jinja"],
        "fusion.data": ["digits.npz", "DIGITS_LICENSE.md"],
        "fusion.models.pretrained": ["README.md", "SHA256SUMS", "*/*"],
        "fusion.published": ["rows.yaml", "tables.yaml", "sirst_acm_unet.json", "curves/*"],
    },
    python_requires=">=3.8,<3.14",
    install_requires=[
        "mxnet==1.9.1",
        "gluoncv==0.10.5.post0",
        "numpy<2",  # MXNet 1.9.1 is built for NumPy 1
        "scipy<2",  # of gluoncv; MXNet reads a namespace that SciPy 2 removes
        "matplotlib>=3.7",  # fonts by character, panels of images
        "jinja2>=3.1",
        "tabulate>=0.9",
        "PyYAML",
        "Pillow>=9.1",
        "opencv-python",
        "simplejpeg>=1.7",  # says when a JPEG is damaged, which OpenCV and Pillow leave out
        "tqdm",
        "setuptools; python_version >= '3.12'",  # has the distutils that MXNet imports
    ],
    extras_require={
        # Builds against the installed MXNet for ten minutes and needs CMake and a compiler: see docs/scaling.md.
        "horovod": ["horovod==0.28.1"],
        # Draws the polygons of COCO's annotations in C; without it they are drawn in NumPy, which takes longer.
        "coco": ["pycocotools"],
        "onnx": ONNX,
        # Writes exports for PyTorch, which itself may be in another interpreter: see docs/deployment.md.
        "torch": ["safetensors>=0.4"],
        # Completes words in the shell: see docs/design.md.
        "completion": ["argcomplete>=2"],
        # Writes what TensorBoard shows of a run: see docs/watching.md.
        "tensorboard": TENSORBOARD,
        "dev": [
            "pytest",
            "pytest-xdist",
            "ruff",
            "mypy",
            "types-PyYAML",
            "types-tqdm",
            "types-tabulate",
            "safetensors>=0.4",
            "argcomplete>=2",
            "nbclient>=0.6",  # runs examples/tour.ipynb in its test
            "ipykernel>=6",
            *TENSORBOARD,
            "build",
            *DOCS,
            *ONNX,
        ],
        "docs": DOCS,
    },
    entry_points={"console_scripts": ["fusion = fusion.__main__:main"]},
    classifiers=[
        "Development Status :: 4 - Beta",
        "Environment :: Console",
        "Intended Audience :: Developers",
        "Intended Audience :: Science/Research",
        "Operating System :: POSIX :: Linux",
        "Programming Language :: Python :: 3",
        "Programming Language :: Python :: 3 :: Only",
        *(f"Programming Language :: Python :: 3.{minor}" for minor in range(8, 14)),
        "Topic :: Scientific/Engineering :: Artificial Intelligence",
        "Topic :: Scientific/Engineering :: Image Recognition",
        "Typing :: Typed",
    ],
)
