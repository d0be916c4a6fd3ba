"""Fused kernels beside their PyTorch references, and which of them a device can run, with the reason."""
