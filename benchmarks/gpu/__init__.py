"""Measurements on the accelerator at hand: PyTorch on CUDA or ROCm, no import of the simulator."""
