"""A network of a user's own, with fusion blocks in two residual blocks: nothing of this package's families."""

from __future__ import annotations

from mxnet.gluon import nn

from fusion import get_fusion
from fusion.compat import mx


class Residual(nn.HybridBlock):
    def __init__(self, channels, fusion, **kwargs):
        super().__init__(**kwargs)
        with self.name_scope():
            self.body = nn.Conv2D(channels, kernel_size=3, padding=1, in_channels=channels)
            self.norm = nn.BatchNorm(in_channels=channels)
            self.fuse = get_fusion(fusion, channels)

    def hybrid_forward(self, F, x):
        return F.relu(self.fuse(self.norm(self.body(x)), x))


class Own(nn.HybridBlock):
    """For images of one channel; the number of inputs of its last layer is found at its first call."""

    def __init__(self, fusion="aff", classes=5, **kwargs):
        super().__init__(**kwargs)
        with self.name_scope():
            self.stem = nn.Conv2D(8, kernel_size=3, padding=1, in_channels=1)
            self.first = Residual(8, fusion)
            self.pool = nn.MaxPool2D(2)
            self.second = Residual(8, fusion)
            self.head = nn.Dense(classes)

    def hybrid_forward(self, F, x):
        x = self.second(self.pool(self.first(self.stem(x))))
        return self.head(F.contrib.AdaptiveAvgPooling2D(x, output_size=1))


def own_network(**arguments):
    mx.random.seed(0)
    net = Own(**arguments)
    net.initialize(mx.init.Xavier())
    return net
