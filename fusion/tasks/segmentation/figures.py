"""The figures of segmentation, with their units and which direction is better."""

from __future__ import annotations

from ..base import Figure

LOSS = Figure("loss", "loss", "loss")
IOU = Figure("iou", "IoU", "IoU", lower_is_better=False)
MIOU = Figure("miou", "mIoU", "mIoU", lower_is_better=False)
NIOU = Figure("niou", "nIoU", "nIoU", lower_is_better=False)
ACCURACY = Figure(
    "pixel_accuracy", "pixel accuracy", "pixels right", scale=100, unit="%", decimals=2, lower_is_better=False
)
PD = Figure("pd", "Pd, the targets that are found", "Pd", scale=100, unit="%", decimals=2, lower_is_better=False)
FA = Figure("fa", "Fa, false pixels", "Fa", scale=1e6, unit="per million pixels", decimals=1)
