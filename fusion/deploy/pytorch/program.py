"""What the process with PyTorch does, in whichever interpreter has it; it knows nothing of the package.

    PYTHON program.py answers FOLDER INPUTS OUTPUTS    what FOLDER/model.py answers, and its gradients
    PYTHON program.py state FILE OUTPUTS               the tensors of a file that torch.save wrote

INPUTS and OUTPUTS are files of NumPy.
"""

import importlib.util
import sys
from typing import Any, Dict

sys.path.pop(0)  # this file's folder, none of whose modules PyTorch may take for one of its own

import numpy as np
import torch

#: Of a training step in float64: what goes in, and the gradient of what comes out.
IMAGES, DIRECTION = "step.images", "step.direction"

#: What comes out of it, each before the name of a parameter, and what has no name.
PREDICTIONS, LOGITS, OF_IMAGES = "step.predictions", "step.logits", "step.of_images"
OF_PARAMETER, STATISTIC = "step.of.", "step.after."

#: Keys under which training programs keep a state dict among other things.
_WRAPPERS = ("state_dict", "model_state_dict", "model", "module")


def load(folder: str) -> Any:
    """The network of an export, with its weights."""
    from safetensors.torch import load_file

    spec: Any = importlib.util.spec_from_file_location("model", f"{folder}/model.py")
    module: Any = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    net = module.build()
    net.load_state_dict(load_file(f"{folder}/model.safetensors"))
    return net


def training_step(net: Any, images: np.ndarray, direction: np.ndarray) -> Dict[str, np.ndarray]:
    """Predictions in float64, and outputs, gradients and running statistics of one step, without dropout."""
    net = net.double().eval()
    for module in net.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0
    forward = super(type(net), net).forward if type(net).__name__ == "FromPixels" else net
    with torch.no_grad():
        predictions = forward(torch.from_numpy(images))
    net.train()
    leaf = torch.from_numpy(images).requires_grad_()
    logits = forward(leaf)
    logits.backward(torch.from_numpy(direction))
    found = {PREDICTIONS: predictions, LOGITS: logits.detach(), OF_IMAGES: leaf.grad}
    found.update({OF_PARAMETER + name: one.grad for name, one in net.named_parameters() if one.grad is not None})
    found.update({STATISTIC + name: one for name, one in net.named_buffers() if "running_" in name})
    return {name: one.numpy() for name, one in found.items()}


def answers(folder: str, inputs: str, outputs: str) -> None:
    """Answer the batches of a file, and take a training step."""
    with np.load(inputs) as stored:
        batches = dict(stored)
    step = [batches.pop(name) for name in (IMAGES, DIRECTION)]
    net = load(folder).eval()
    with torch.no_grad():
        found = {name: net(torch.from_numpy(batch)).numpy() for name, batch in batches.items()}
    np.savez(outputs, **found, **training_step(net, *step))


def state(file: str, outputs: str) -> None:
    """Read a state dict, without running what a pickle may hold."""
    stored = torch.load(file, map_location="cpu", weights_only=True)
    for key in _WRAPPERS:
        if isinstance(stored, dict) and isinstance(stored.get(key), dict):
            stored = stored[key]
    tensors = {name: one for name, one in stored.items() if isinstance(one, torch.Tensor)}
    halves = (torch.bfloat16, torch.float16)
    np.savez(outputs, **{name: (one.float() if one.dtype in halves else one).numpy() for name, one in tensors.items()})


if __name__ == "__main__":
    commands: Dict[str, Any] = {"answers": answers, "state": state}
    commands[sys.argv[1]](*sys.argv[2:])
