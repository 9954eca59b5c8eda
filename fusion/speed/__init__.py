"""Measures how fast networks train and answer on this machine, in every way to run them."""
