#!/usr/bin/env python
"""GluonCV's own ResNet with AFF in its skip connections: a training step, and an export with the same answers.

    python examples/gluoncv_resnet.py [FOLDER]

The residual blocks of `cifar_resnet20_v1` end in `relu(residual + x)`; here a fusion block takes the place of the
addition. In the same way it can take the place of any sum of two feature maps of one shape, in any network.
"""

import sys
import tempfile
from pathlib import Path

import numpy as np

import fusion
from fusion.compat import mx  # before gluoncv, which imports MXNet as it is

from gluoncv.model_zoo import cifarresnet  # isort: skip


class AttentionalBlock(cifarresnet.CIFARBasicBlockV1):
    """GluonCV's basic block with AFF in place of its sum."""

    def __init__(self, channels, stride, downsample=False, in_channels=0, **kwargs):
        super().__init__(channels, stride, downsample, in_channels, **kwargs)
        self.fuse = fusion.get_fusion("aff", channels)

    def hybrid_forward(self, F, x):
        shortcut = self.downsample(x) if self.downsample else x
        return F.Activation(self.fuse(self.body(x), shortcut), act_type="relu")


mx.random.seed(0)
net = cifarresnet.CIFARResNetV1(AttentionalBlock, layers=[2, 2, 2], channels=[16, 16, 32, 64], classes=10)
net.initialize(mx.init.Xavier())
net.hybridize()

# One step, as in any Gluon program.
draw = np.random.default_rng(0)
images = mx.nd.array(draw.normal(size=(8, 3, 32, 32)))
labels = mx.nd.array(draw.integers(0, 10, 8))
trainer = mx.gluon.Trainer(net.collect_params(), "sgd", {"learning_rate": 0.05})
loss_of = mx.gluon.loss.SoftmaxCrossEntropyLoss()
with mx.autograd.record():
    loss = loss_of(net(images), labels)
loss.backward()
trainer.step(len(images))
mx.nd.waitall()
print(f"loss {loss.mean().asscalar():.3f}")

# The export needs neither this package nor GluonCV.
folder = Path(sys.argv[1] if len(sys.argv) > 1 else tempfile.mkdtemp())
expected = net(images).asnumpy()
net.export(str(folder / "aff"))
imported = mx.gluon.SymbolBlock.imports(str(folder / "aff-symbol.json"), ["data"], str(folder / "aff-0000.params"))
difference = np.abs(imported(images).asnumpy() - expected).max() / np.abs(expected).max()
print(f"exported to {folder}: differs by {difference:.1e} of the largest output")
if difference > 1e-4:
    sys.exit("the export does not compute what the network does")
