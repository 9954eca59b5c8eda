"""A trained network with all that it needs to answer, and its answers to image files."""
