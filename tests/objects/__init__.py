"""Tests of what callers leave with the gateway."""
