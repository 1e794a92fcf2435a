"""Degrees to ranks: the grid, groups and their placement, stages, bytes per rank."""
