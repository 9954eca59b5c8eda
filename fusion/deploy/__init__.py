"""Trained networks for use elsewhere: exports for MXNet and ONNX Runtime, and networks optimised for inference.

Examples
--------
>>> from pathlib import Path
>>> from fusion.deploy.export import export
>>> from fusion.inference.trained import load_pretrained
>>> sorted(export(load_pretrained("aff_resnet8_digits"), Path("exported")).files)
['model-0000.params', 'model-symbol.json', 'model.json']
"""
