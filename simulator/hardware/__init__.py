"""Profiles and prices: accelerators, nodes, fabrics, software; seconds of an operator or collective."""
