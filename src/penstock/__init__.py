"""Penstock: AI inference in production, at the lowest latency and cost per result, and proof of it."""

__version__ = "0.1.0"
__all__ = ["__version__"]
