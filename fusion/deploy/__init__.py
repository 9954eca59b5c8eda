"""Trained networks for use elsewhere: exports for MXNet and ONNX Runtime, and networks optimised for inference."""
