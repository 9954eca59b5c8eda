"""From a trained network to files that others run: export, ONNX, optimisation."""
