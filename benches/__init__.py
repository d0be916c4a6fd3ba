"""Benches: recorded runs. Each writes one JSON record with machine, versions and commit to ``benches/results``."""
