"""Discrete-event simulator of training clusters."""

__version__ = "0.1.0"
