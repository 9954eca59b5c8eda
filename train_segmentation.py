#!/usr/bin/env python
# PYTHON_ARGCOMPLETE_OK
"""Train a network with fused long skips on images with masks: small targets, or several classes.

one process, CPU   python train_segmentation.py --config configs/segmentation/sirst_small.yaml data.dir=PATH
several classes    python train_segmentation.py --config configs/segmentation/camvid_small.yaml data.dir=PATH
one GPU            python train_segmentation.py --config FILE --device 0 data.dir=PATH
two processes      python -m fusion.launch -n 2 train_segmentation.py --config FILE runtime.distributed=dist_sync
after Ctrl-C       python train_segmentation.py --resume runs/sirst_small
see the settings   python train_segmentation.py --config configs/segmentation/sirst_small.yaml --print-config
"""

import sys

from fusion.training import main

if __name__ == "__main__":
    sys.exit(
        main(
            "Train a network with fused long skips on images with masks.",
            example="--config configs/segmentation/sirst_small.yaml data.dir=PATH",
        )
    )
