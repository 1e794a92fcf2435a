"""Measured tables beside predictions."""
