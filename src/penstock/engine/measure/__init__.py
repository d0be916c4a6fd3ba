"""What is so: traces read, ops attributed, calls timed and counted, faults found.

Owns: the ``Timeline`` of a trace, timing without a profiler, capture with one, counters, hardware facts and peaks, findings.
Does not own: what to do about them, and what is run. Rules: whatever needs no torch imports none (``tests/house``).
"""
