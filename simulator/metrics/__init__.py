"""A trace as numbers: step time, breakdown, bubbles, MFU, memory over time."""
