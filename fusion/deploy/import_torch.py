"""python -m fusion import-torch: the weights of a network that PyTorch has trained, as a `.params` file.

The network is that of an export for PyTorch (`python -m fusion export --format torch`), or any module whose parameters
have the same names.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any, Dict, Optional, Tuple

from ..compat import mx
from ..errors import CheckpointError, ConfigError
from ..models import get_model
from ..models.network import Network, count_parameters
from ..models.normalisation import use_norm_layer
from ..models.parameter_file import save_network
from ..models.zoo import classifier_of, family_of
from ..outputs import check_file, written_file
from ..reading import ReadingError, read_json
from ..training.keywords import keyword_values
from ..training.run_files import LARGEST_FACTS
from .export import DESCRIPTION
from .pytorch.names import Arrays, from_torch
from .pytorch.weights import read_state

_ENDING = ".params"


def add_command(commands: Any) -> None:
    """Give `python -m fusion` its command `import-torch`."""
    parser = commands.add_parser("import-torch")
    parser.add_argument("file", type=Path, metavar="FILE", help="a .safetensors file, or what torch.save wrote")
    words = f"a family or a named model (default: what {DESCRIPTION} beside FILE says)"
    parser.add_argument("--model", metavar="NAME", help=words)
    parser.add_argument("--output", type=Path, metavar="FILE", help="(default: FILE, ending in .params)")
    words = "an interpreter that can import torch, for files of torch.save (default: this one)"
    parser.add_argument("--torch-python", metavar="PYTHON", help=words)
    parser.add_argument("--force", action="store_true", help="replace an earlier file")
    parser.add_argument("--json", action="store_true", help="one JSON object on standard output")
    words = "of the model, such as fusion=iaff, and norm_layer=group"
    parser.add_argument("arguments", nargs="*", metavar="key=value", help=words)
    parser.set_defaults(run_command=_run)


def _run(arguments: argparse.Namespace) -> None:
    output = arguments.output or arguments.file.with_suffix(_ENDING)
    check_file(output, arguments.force)
    keywords = keyword_values(arguments.arguments)
    name = arguments.model
    if name is None:
        name, described = read_description(arguments.file.parent / DESCRIPTION)
        keywords = {**described, **keywords}
    net = import_torch(arguments.file, name, keywords, arguments.torch_python)
    with written_file(output, arguments.force) as aside:
        save_network(net, aside)
    facts = {"model": name, "classes": net.classes, "parameters": count_parameters(net), "file": str(output)}
    if arguments.json:
        print(json.dumps(facts))
    else:
        print(f"{name}: {facts['parameters']:,} parameters, {net.classes} classes: {output}")


def import_torch(
    file: Path, name: str, keywords: Optional[Dict[str, Any]] = None, torch_python: Optional[str] = None
) -> Network:
    """A network with the weights of a state dict of PyTorch.

    Parameters
    ----------
    file : Path
        `.safetensors`, or what `torch.save` wrote of a state dict; it is read with `weights_only`, so that it runs
        nothing.
    name : str
        A family or a named model.
    keywords : dict, optional
        Arguments of it, and `norm_layer`; the file says how many classes there are.
    torch_python : str, optional
        An interpreter with PyTorch, for the second kind of file.

    Raises
    ------
    FusionError
        If there is no such model, the file cannot be read, or its tensors are those of another network.
    """
    arguments = dict(keywords or {})
    norm_layer = arguments.pop("norm_layer", "batch")
    try:
        family_of(name)
    except ValueError as error:
        raise ConfigError(f"--model: {error}") from None
    state: Arrays = read_state(file, torch_python)
    arguments["classes"] = _count_classes(file, state, name)
    try:
        net = get_model(name, **arguments)
        use_norm_layer(net, norm_layer)
    except (TypeError, ValueError) as error:
        raise ConfigError(str(error)) from None
    net.initialize(mx.init.Zero())
    net.take_parameters(from_torch(net, state), str(file), mx.cpu(), cast_dtype=True)
    return net


def _count_classes(file: Path, state: Arrays, name: str) -> int:
    bias = f"{classifier_of(name)}.bias"
    if bias not in state or state[bias].ndim != 1:
        listed = ", ".join(list(state)[:4])
        raise CheckpointError(
            f"{file}: holds no {bias}, which a state dict of {name} has (it holds {listed}, ...); name the network "
            "that it was saved from with --model NAME and key=value"
        )
    return int(state[bias].shape[0])


def read_description(file: Path) -> Tuple[str, Dict[str, Any]]:
    """The family and the arguments of an exported network, from its `model.json`.

    Raises
    ------
    ConfigError
        If there is no such file, or it says nothing of that.
    """
    try:
        found = read_json(file, LARGEST_FACTS)["network"]
        return str(found["family"]), {**found["arguments"], "norm_layer": found["norm_layer"]}
    except ReadingError as error:
        reason = str(error) if file.exists() else "no such file"
    except (KeyError, TypeError) as error:
        reason = f"it does not say what the network is: {error!r}"
    raise ConfigError(f"{file}: {reason}; say what the network is with --model NAME and key=value") from None
