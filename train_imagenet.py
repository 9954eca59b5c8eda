#!/usr/bin/env python
# PYTHON_ARGCOMPLETE_OK
"""Train a fusion network on ImageNet, or on any large set of photos, from class folders or RecordIO files.

write the records  python -m fusion prepare imagenet --source PATH --target RECORDS
four GPUs          python train_imagenet.py --config configs/CONFIG.yaml --device 0,1,2,3 data.dir=RECORDS
class folders      python train_imagenet.py --config configs/CONFIG.yaml --device 0,1,2,3 data.dir=PATH
a few photos, CPU  python train_imagenet.py --config configs/imagenet_sample.yaml data.dir=PATH
after Ctrl-C       python train_imagenet.py --resume runs/CONFIG
see the settings   python train_imagenet.py --config configs/imagenet_sample.yaml --print-config data.dir=PATH
"""

import sys

from fusion.training import main

if __name__ == "__main__":
    sys.exit(
        main(
            "Train a fusion network on ImageNet or other photos.",
            example="--config configs/imagenet_sample.yaml data.dir=PATH",
        )
    )
