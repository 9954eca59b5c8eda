"""A trained network with everything that it needs to answer, and its answers to image files."""
