"""From a trained network to what others run: export, optimisation, prediction, measurements."""
