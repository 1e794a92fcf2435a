"""Profiles and prices: accelerators, nodes, fabrics, software; what an operator costs."""
