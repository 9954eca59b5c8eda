"""Trains an exported network in PyTorch by a config of this package: same batches, schedule, mixup, loss and steps.

    python -m fusion export --config cifar10_aff_resnet32 --format torch --output exported   where MXNet is
    python torch_train.py exported --config cifar10_aff_resnet32 data.dir=PATH               where PyTorch is
    python -m fusion import-torch exported/trained.safetensors                               where MXNet is

It needs torch, safetensors, numpy, PyYAML, Pillow, SciPy, and of this package what needs no MXNet (pip's --no-deps).
"""

import argparse
import importlib.util
import time
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file, save_file

from fusion.data.loader import evaluation_batches
from fusion.tasks.classification.batches import training_batches
from fusion.training.config import differing_keys, read_config
from fusion.training.configs import find_config
from fusion.training.loading import build_normalisation, load_data
from fusion.training.schedule import learning_rate
from fusion.training.settings import Settings, value_of

UNSET = ("teacher", "ema_decay", "freeze", "patience", "lr_factors", "layer_decay", "accumulate")
TYPES = {"float32": torch.float32, "float64": torch.float64}


class Momentum(torch.optim.Optimizer):
    """SGD with momentum as MXNet has it: v = m·v − η·(g + λ·w), then w += v, or for Nesterov's w += m·v − η·(g + λ·w).

    PyTorch's own multiplies v by η of the moment, which differs once η has changed. MXNet has m, η and λ as float32.
    """

    def __init__(self, groups, momentum, nesterov):
        super().__init__(groups, {"lr": 0.0, "momentum": momentum, "nesterov": nesterov, "weight_decay": 0.0})

    @torch.no_grad()
    def step(self):
        """Move the weights by their gradients."""
        for group in self.param_groups:
            rate, momentum, decay = (float(np.float32(group[name])) for name in ("lr", "momentum", "weight_decay"))
            weights = group["params"]
            steps = torch._foreach_add([weight.grad for weight in weights], weights, alpha=decay)
            torch._foreach_mul_(steps, -rate)
            moving = [self.state[weight].setdefault("v", torch.zeros_like(weight)) for weight in weights]
            torch._foreach_mul_(moving, momentum)
            torch._foreach_add_(moving, steps)
            if group["nesterov"]:
                torch._foreach_add_(steps, moving, alpha=momentum)
                torch._foreach_add_(moving, steps, alpha=-rate * decay)  # MXNet decays v by the weights after the step
            torch._foreach_add_(weights, steps if group["nesterov"] else moving)


def load(folder, settings, device):
    """The exported network."""
    spec = importlib.util.spec_from_file_location("model", folder / "model.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    net = module.build()
    net.load_state_dict(load_file(folder / "model.safetensors"))
    return net.to(device, TYPES[settings.train.dtype])


def check(settings):
    """Refuse what this program does not do, rather than train something else."""
    wrong = [f"{key}={value_of(settings, key)}" for key in differing_keys(settings, Settings()) if key.endswith(UNSET)]
    if settings.optimizer.name not in ("nag", "sgd"):
        wrong.append(f"optimizer.name={settings.optimizer.name}: expected nag or sgd")
    if settings.train.dtype not in TYPES:
        wrong.append(f"train.dtype={settings.train.dtype}: expected {', '.join(TYPES)}, with --bfloat16 for speed")
    if wrong:
        raise SystemExit(f"error: not in this program: {'; '.join(wrong)}")


def optimizer_of(net, settings):
    """Weight decay on everything, or not on norms and biases, which have one dimension, as the config says."""
    chosen = settings.optimizer
    groups = {chosen.weight_decay: [], 0.0: []}
    for weight in net.parameters():
        groups[chosen.weight_decay if chosen.decay_norm_and_bias or weight.ndim > 1 else 0.0].append(weight)
    groups = [{"params": weights, "weight_decay": decay} for decay, weights in groups.items() if weights]
    return Momentum(groups, chosen.momentum, chosen.name == "nag")


def top1_error(run, data, normalise, size, put):
    """The share of wrong answers."""
    wrong = 0
    with torch.no_grad():
        for batch in evaluation_batches(data, normalise, size):
            answers = run(put(batch.images)).argmax(1).cpu().numpy()[: len(batch.targets)]
            wrong += int((answers != batch.targets).sum())
    return wrong / len(data)


def main():
    """Train, and leave trained.safetensors and metrics.csv beside the network."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path, help="what python -m fusion export --format torch wrote")
    parser.add_argument("--config", type=Path, required=True, help="the experiment")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu", help="as PyTorch names it")
    parser.add_argument("--bfloat16", action="store_true", help="convolutions in bfloat16, by torch.autocast")
    parser.add_argument("--compile", action="store_true", help="by torch.compile")
    parser.add_argument("words", nargs="*", metavar="section.key=value", help="settings in place of the config's")
    arguments = parser.parse_intermixed_args()
    settings = read_config(find_config(arguments.config), arguments.words)
    check(settings)
    device, dtype = torch.device(arguments.device), TYPES[settings.train.dtype]
    normalise, (train, test) = build_normalisation(settings), load_data(settings)
    torch.manual_seed(settings.train.seed)  # of dropout
    net = load(arguments.folder, settings, device)
    run, optimizer = torch.compile(net) if arguments.compile else net, optimizer_of(net, settings)
    batches = training_batches(settings, train, normalise, settings.data.batch_size, (0, 1))
    epochs, length, rows = settings.train.epochs, len(batches), []

    def put(array):
        return torch.from_numpy(array).to(device, dtype, non_blocking=True)

    for epoch in range(epochs):
        start, total = time.perf_counter(), torch.zeros((), dtype=torch.float64, device=device)
        net.train()
        for number, batch in enumerate(batches.epoch(epoch)):
            rate = learning_rate(settings.schedule, epochs, length, epoch * length + number)
            for group in optimizer.param_groups:
                group["lr"] = rate
            with torch.autocast(device.type, torch.bfloat16, enabled=arguments.bfloat16):
                logits = run(put(batch.images))
            loss = -(put(batch.targets) * logits.to(dtype).log_softmax(1)).sum(1).mean()
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            if settings.optimizer.clip_gradient_norm:
                torch.nn.utils.clip_grad_norm_(net.parameters(), settings.optimizer.clip_gradient_norm)
            optimizer.step()
            total += loss.detach()
        row = {"epoch": epoch + 1, "train_loss": total.item() / length, "val_top1_error": "", "learning_rate": rate}
        if (epoch + 1) % settings.train.evaluate_every == 0 or epoch + 1 == epochs:
            net.eval()
            row["val_top1_error"] = top1_error(run, test, normalise, settings.data.batch_size, put)
        rows.append(row)
        print(*(f"{name} {value}" for name, value in row.items()), f"{time.perf_counter() - start:.1f} s", flush=True)
        save_file(net.state_dict(), arguments.folder / "trained.safetensors")
        lines = [",".join(map(str, one)) for one in (row, *(done.values() for done in rows))]
        (arguments.folder / "metrics.csv").write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
