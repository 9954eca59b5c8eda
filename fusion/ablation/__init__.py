"""Grids of runs over fusions, depths and seeds, and the table of each."""
