"""Predictions beside measurements: how far off, by source, part, size and layout."""
