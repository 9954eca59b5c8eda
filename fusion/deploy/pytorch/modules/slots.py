"""What an export fills in: each name here is replaced by that of the module which a network has in its place.

`Norm` normalises the output of convolutions (`model.norm_layer`). `Encoder` makes the levels of a network that answers
for each pixel, and `Join` fuses them. `Network` is the exported one.
"""

from torch import nn

Norm = nn.BatchNorm2d
Encoder = Join = Network = nn.Module
