"""Faults, one file a family: evidence in, findings out. Pure; a "no" is an empty list.

Owns: the rules and their words. Does not own: how evidence is gathered. Rules: each finding has an id in kebab case, evidence
with its numbers, a bound on what it would save, the code that would mend it, and how to see that it did.
"""

from penstock.engine.measure.findings.traced import of_timeline

__all__ = ["of_timeline"]
