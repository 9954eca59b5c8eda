#!/usr/bin/env python
"""How far the exports of each model are from its network: one row per model, one column per format.

The weights are random, because only the arithmetic is compared. They are drawn as for training, and every scale and
shift is drawn, too. The running statistics are those of images like the ones that are compared. The scales in the
fusion blocks are small, so that their weights are not saturated; otherwise iAFF-ResNet-32 before training magnifies a
relative difference of two inputs thousands of times, so that rounding alone changes its answers. If `export` refuses to
write a model, its figure is shown all the same. The last two columns distinguish rounding from a wrong translation.

    python benchmarks/export.py                       the named CIFAR models and aff_resnet50, a table
    python benchmarks/export.py iaff_resnet50 ...     other models
"""

from __future__ import annotations

import argparse
import logging
import re
import sys
import tempfile
from pathlib import Path
from typing import Any, Optional, Tuple

import numpy as np
from PIL import Image

from fusion import get_model, list_models, list_pretrained
from fusion.compat import mx, nn
from fusion.data import digits
from fusion.data.augment import Normalisation
from fusion.deploy.export import export
from fusion.deploy.onnx import to_onnx
from fusion.deploy.pytorch.names import fixed_layers
from fusion.deploy.symbols import trace
from fusion.deploy.verify import relative_difference
from fusion.errors import ExportError
from fusion.inference.trained import Trained, load_model
from fusion.models.zoo import family_of
from fusion.places import fusion_places
from fusion.training.settings import CIFAR_MEAN, CIFAR_STD

BATCH = 4

#: What stands behind the difference of an export that is not written.
REFUSED = " (refused)"

#: The factor of the scales of batch norms in fusion blocks.
ATTENTION_SCALE = 0.2


def usual_models() -> list[str]:
    named = [name for name in list_models() if name not in list_pretrained()]
    return [name for name in named if family_of(name)[0].startswith("cifar")] + ["aff_resnet50"]


def save_random(name: str, file: Path, side: Optional[int] = None, **arguments: Any) -> None:
    """Write random weights that give different answers for different images, with usual values in every layer."""
    net = get_model(name, **arguments)
    mx.random.seed(0)
    net.initialize()
    draw = np.random.default_rng(0)
    images = mx.nd.array(typical(side or net.input_size, draw))
    net(images[:1])
    within_fusion = tuple(f"{place.name}." for place in fusion_places(net))
    fixed = fixed_layers(net)
    for parameter_name, parameter in net._collect_params_with_prefix().items():
        if parameter_name.rpartition(".")[0] in fixed:
            continue
        if parameter_name.endswith("gamma"):
            scale = ATTENTION_SCALE if parameter_name.startswith(within_fusion) else 1.0
            parameter.set_data(mx.nd.array(scale * draw.uniform(0.5, 1.5, parameter.shape)))
        elif parameter_name.endswith(("beta", "bias")):
            parameter.set_data(mx.nd.array(draw.normal(0, 0.2, parameter.shape)))
    net.apply(forget)
    with mx.autograd.record():
        outputs = net(images)
    outputs.backward()  # in the backward pass, MXNet's CPU kernels update running statistics
    mx.nd.waitall()
    net.save_parameters(str(file))


def typical(side: int, draw: np.random.Generator) -> np.ndarray:
    """Random pixels and digits as an export is compared on, normalised: (2·BATCH, 3, side, side)."""
    random = draw.integers(0, 256, (BATCH, side, side, 3), dtype=np.uint8)
    scans = [Image.fromarray(scan).resize((side, side)) for scan in digits.load("train").images[:BATCH]]
    return Normalisation(CIFAR_MEAN, CIFAR_STD)(np.concatenate([random, np.stack(scans)]).transpose(0, 3, 1, 2))


def forget(block: nn.Block) -> None:
    """Make a batch norm take its running statistics from the last batch alone."""
    if isinstance(block, nn.BatchNorm):
        block._kwargs["momentum"] = 0.0


def difference(
    trained: Trained, output: Path, name: str, with_preprocess: bool = False, torch_python: Optional[str] = None
) -> str:
    """The largest difference that the export reports, also if it refuses to write the files."""
    try:
        done = export(trained, output, (name,), None, with_preprocess, torch_python=torch_python)
    except ExportError as error:
        found = re.search(r"by (\S+) of", str(error))
        if found is None:
            raise
        return f"{found.group(1)}{REFUSED}"
    return f"{max(done.differences[name].values()):.1e}"


def in_double(trained: Trained) -> Tuple[str, str]:
    """For one random image: the network's own rounding error, and the error of its translation without rounding.

    The first is the network in float32 against itself in float64; the second is the ONNX graph in float64, evaluated by
    onnx's reference implementation, against the network in float64.
    """
    import onnx
    from onnx.reference import ReferenceEvaluator

    net, side = trained.net, trained.preparation.size
    image = typical(side, np.random.default_rng(5))[:1]
    model = to_onnx(*trace(net, image.shape), (3, side, side))
    for value in [*model.graph.input, *model.graph.output]:
        value.type.tensor_type.elem_type = onnx.TensorProto.DOUBLE
    for tensor in model.graph.initializer:
        if tensor.data_type == onnx.TensorProto.FLOAT:
            double = onnx.numpy_helper.to_array(tensor).astype(np.float64)
            tensor.CopyFrom(onnx.numpy_helper.from_array(double, tensor.name))
    (translated,) = ReferenceEvaluator(model).run(None, {"data": image.astype(np.float64)})
    single = net(mx.nd.array(image)).asnumpy()
    net.cast("float64")
    for parameter in net.collect_params().values():
        parameter.cast("float64")
    double = net(mx.nd.array(image, dtype="float64")).asnumpy()
    return f"{relative_difference(single, double):.1e}", f"{relative_difference(translated, double):.1e}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("models", nargs="*", metavar="MODEL", help="default: the named CIFAR models and aff_resnet50")
    logging.getLogger("fusion").setLevel(logging.WARNING)
    print("| model | symbol | symbol, uint8 | ONNX | ONNX, uint8 | own rounding | ONNX in float64 |")
    print("|---|---|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as folder:
        for name in parser.parse_args().models or usual_models():
            file = Path(folder, f"{name}.params")
            save_random(name, file)
            trained = load_model(name, file)
            row = [
                difference(trained, Path(folder, f"{name}-{kind}-{with_preprocess}"), kind, with_preprocess)
                for kind in ("symbol", "onnx")
                for with_preprocess in (False, True)
            ]
            print(f"| {name} | {' | '.join([*row, *in_double(trained)])} |")
            sys.stdout.flush()


if __name__ == "__main__":
    main()
