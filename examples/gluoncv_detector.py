#!/usr/bin/env python
"""GluonCV's SSD on a pyramid whose levels AFF joins: a training step with a box, and an answer.

    python examples/gluoncv_detector.py

The detector takes the maps of `net.pyramid` by their names, as GluonCV's `FeatureExpander` takes those of any network,
and adds two coarser ones. In the same way `encoder="aff_resnet50", decoder_width=256` makes a larger pyramid.
"""

import sys

import numpy as np

import fusion
from fusion.compat import mx  # before gluoncv, which imports MXNet as it is

from gluoncv.loss import SSDMultiBoxLoss  # isort: skip
from gluoncv.model_zoo.ssd import SSD  # isort: skip
from gluoncv.model_zoo.ssd.target import SSDTargetGenerator  # isort: skip

SIDE = 128

mx.random.seed(0)
net = fusion.get_model("fpn", fusion="aff", blocks=1, decoder_width=32)
levels = net.pyramid(mx.sym.var("data"))
names = [level.list_outputs()[0][len(net.prefix) :] for level in levels]  # the finest first

detector = SSD(
    network=net,
    base_size=SIDE,
    features=names,
    num_filters=[32, 32],
    sizes=[16, 32, 48, 64, 96, 128],
    ratios=[[1, 2, 0.5]] * 5,
    steps=[4, 8, 16, 32, 64],
    classes=["stop sign"],
)
detector.initialize()
net.initialize(force_reinit=True)  # as its own recipe has it

# One step: an image with one box, in pixels.
draw = np.random.default_rng(0)
images = mx.nd.array(draw.normal(size=(2, 3, SIDE, SIDE)))
boxes = mx.nd.array([[[20, 30, 60, 70]], [[64, 64, 120, 100]]])
labels = mx.nd.zeros((2, 1, 1))
trainer = mx.gluon.Trainer(detector.collect_params(), "sgd", {"learning_rate": 0.01})
with mx.autograd.record():
    scores, offsets, anchors = detector(images)
    with mx.autograd.pause():
        targets = SSDTargetGenerator(negative_mining_ratio=-1)(anchors, None, boxes, labels)
    loss, _, _ = SSDMultiBoxLoss()([scores], [offsets], *([target] for target in targets[:2]))
mx.autograd.backward(loss)
gradient = net.pyramid.fuse12.fusion.local_att[0].weight.grad()
trainer.step(len(images))
print(f"{anchors.shape[1]:,} anchors on {len(names)} fused maps and two more, loss {loss[0].mean().asscalar():.3f}")
print(f"largest gradient in the finest AFF: {abs(gradient).max().asscalar():.1e}")
if not abs(gradient).max().asscalar() > 0:
    sys.exit("no gradient reaches the fusion of the pyramid")

classes, scores, boxes = detector(images)
print(f"answer: {boxes.shape[1]} boxes for each image, best first")
