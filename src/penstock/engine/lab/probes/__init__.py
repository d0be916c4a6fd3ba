"""How evidence of faults is gathered from a live workload, one file a kind. What is decided on it is ``measure.findings``' own.

Owns: watching a run, reading what Dynamo kept, dry runs. Rules: every object is left as it was; nothing is slow unless asked for;
what cannot run says why and takes nothing else with it.
"""

from penstock.engine.lab.probes.sequence import probe

__all__ = ["probe"]
