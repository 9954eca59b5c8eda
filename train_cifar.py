#!/usr/bin/env python
# PYTHON_ARGCOMPLETE_OK
"""Train a fusion network on 32x32 images: CIFAR-10, CIFAR-100, the embedded digits, or an image folder.

one process, CPU   python train_cifar.py --config configs/quickstart.yaml
one GPU            python train_cifar.py --config configs/cifar100_fine_aff_resnet32.yaml --device 0 data.dir=PATH
two GPUs           python train_cifar.py --config configs/cifar100_fine_aff_resnet32.yaml --device 0,1 data.dir=PATH
two processes      python -m fusion.launch -n 2 train_cifar.py --config FILE runtime.distributed=dist_sync
several machines   docs/scaling.md has the commands, for MXNet's key-value store and for Horovod
after Ctrl-C       python train_cifar.py --resume runs/cifar100_fine_aff_resnet32
see the settings   python train_cifar.py --config configs/quickstart.yaml --print-config
"""

import sys

from fusion.training import main

if __name__ == "__main__":
    sys.exit(main("Train a fusion network on 32x32 images.", example="--config configs/quickstart.yaml"))
