#!/usr/bin/env python
"""AFF-ResNet-32 in PyTorch, for benchmarks/peers.py, which runs this file with the interpreter that it was given.

The network is written as is usual in PyTorch, layer by layer as in the paper, without optimisations by hand that a
compiler can do. Its layers have the positions of those in `fusion.models.cifar_resnet`, so that the weights of one can
be loaded into the other by name.
"""

from __future__ import annotations

from typing import Any, Callable, Dict, List, Mapping, Optional, Tuple

import numpy as np
import torch
from peers_turns import Call, take_turns
from torch import nn

#: The names of a batch norm's scale and shift in MXNet, and in PyTorch.
_NAMES = {"gamma": "weight", "beta": "bias"}

#: Channels of the stem and of each stage if channel_times is 4.
WIDTHS = (64, 64, 128, 256)


def bottleneck(channels: int, r: int, *first: Any) -> Any:
    """One branch of MS-CAM: two point-wise convolutions with batch norm."""
    return nn.Sequential(
        *first,
        nn.Conv2d(channels, channels // r, 1),
        nn.BatchNorm2d(channels // r),
        nn.ReLU(inplace=True),
        nn.Conv2d(channels // r, channels, 1),
        nn.BatchNorm2d(channels),
    )


class AFF(nn.Module):
    """Attentional feature fusion (equation 4): a soft selection with the weights that MS-CAM computes from the sum."""

    def __init__(self, channels: int, r: int = 4) -> None:
        super().__init__()
        self.local_att = bottleneck(channels, r)
        self.global_att = bottleneck(channels, r, nn.AdaptiveAvgPool2d(1))

    def forward(self, x: Any, residual: Any) -> Any:
        """Fused features, in the shape of each input."""
        both = x + residual
        weight = torch.sigmoid(self.local_att(both) + self.global_att(both))
        return 2 * x * weight + 2 * residual * (1 - weight)


class PreActivationBlock(nn.Module):
    """BN, ReLU, conv3×3 (stride), BN, ReLU, conv3×3, fused with the block's raw input."""

    def __init__(self, in_channels: int, channels: int, stride: int) -> None:
        super().__init__()
        self.resfwd = nn.Sequential(
            nn.BatchNorm2d(in_channels),
            nn.ReLU(inplace=True),
            nn.Conv2d(in_channels, channels, 3, stride, 1, bias=False),
            nn.BatchNorm2d(channels),
            nn.ReLU(inplace=True),
            nn.Conv2d(channels, channels, 3, 1, 1, bias=False),
        )
        self.downsample = nn.Sequential()
        if in_channels != channels:
            self.downsample = nn.Sequential(
                nn.AvgPool2d(stride, stride, ceil_mode=True, count_include_pad=False),
                nn.Conv2d(in_channels, channels, 1, bias=False),
            )
        self.attention = AFF(channels)

    def forward(self, x: Any) -> Any:
        """Features of `channels`, smaller by the stride."""
        return self.attention(self.resfwd(x), self.downsample(x))


class AFFResNet(nn.Module):
    """Pre-activation ResNet of depth 6·blocks + 2 for 32×32 images, fused by AFF."""

    def __init__(self, blocks: int = 5, classes: int = 100) -> None:
        super().__init__()
        stem, *stages = WIDTHS
        layers = [nn.BatchNorm2d(3, affine=False), nn.Conv2d(3, stem, 3, padding=1, bias=False)]
        width = stem
        for index, channels in enumerate(stages):
            stage = []
            for position in range(blocks):
                stage.append(PreActivationBlock(width, channels, 2 if index and not position else 1))
                width = channels
            layers.append(nn.Sequential(*stage))
        layers += [nn.BatchNorm2d(width), nn.ReLU(inplace=True), nn.AdaptiveAvgPool2d(1), nn.Flatten()]
        self.features = nn.Sequential(*layers)
        self.output = nn.Linear(width, classes)

    def forward(self, x: Any) -> Any:
        """Logits (B, classes) of images (B, 3, 32, 32)."""
        return self.output(self.features(x))

    def load(self, arrays: Mapping[str, np.ndarray]) -> None:
        """Load all weights of the MXNet network by their structural names."""
        state: Dict[str, Any] = {}
        for name, array in arrays.items():
            layer, _, word = name.rpartition(".")
            state[f"{layer}.{_NAMES.get(word, word)}"] = torch.from_numpy(array)
        missing, unexpected = self.load_state_dict(state, strict=False)
        counters = {name for name in missing if name.endswith("num_batches_tracked")}
        # MXNet's batch norm of the input has a fixed scale of 1 and shift of 0; the one of PyTorch has neither.
        if set(missing) != counters or set(unexpected) != {"features.0.weight", "features.0.bias"}:
            raise ValueError(f"the weights are of another network: missing {missing}, unexpected {unexpected}")


def frozen(net: Any) -> Any:
    """The network, compiled with its weights as constants, which is for inference only."""
    import torch._inductor.config as inductor

    inductor.freezing = True
    return torch.compile(net)


#: For each way, a function from the network to what is called.
WAYS: Dict[str, Callable[[Any], Any]] = {"eager": lambda net: net, "compile": torch.compile, "freezing": frozen}


def inference(net: Any, images: Any, way: str) -> Tuple[Call, List[List[float]]]:
    """A function that computes the answers, and these answers."""
    run = WAYS[way](net.eval())

    def call() -> Any:
        with torch.no_grad():
            return run(images)

    return call, call().tolist()


def training(net: Any, images: Any, way: str) -> Tuple[Call, None]:
    """A function that takes a training step: forward, backward and update."""
    run = WAYS[way](net.train())
    optimizer = torch.optim.SGD(net.parameters(), lr=1e-3, momentum=0.9, weight_decay=1e-4, nesterov=True)
    loss = nn.CrossEntropyLoss()
    labels = torch.zeros(len(images), dtype=torch.long)

    def call() -> None:
        optimizer.zero_grad(set_to_none=True)
        loss(run(images), labels).backward()
        optimizer.step()

    return call, None


def prepare(job: Mapping[str, Any]) -> Tuple[Call, Optional[List[List[float]]]]:
    """Prepare one way to run the network, with the weights and images in a file."""
    torch.set_num_threads(job["threads"])
    with np.load(job["weights"]) as stored:
        arrays = dict(stored)
    images = torch.from_numpy(arrays.pop("images"))[: job["batch"]]
    net = AFFResNet()
    net.load(arrays)
    return (training if job["task"] == "training" else inference)(net, images, job["way"])


if __name__ == "__main__":
    take_turns(prepare)
