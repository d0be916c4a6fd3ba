"""Who serves a call, and what comes next: pure decisions, each with its reason.

Owns: names to chains, the plan, the schedule of attempts, key choice and cool-down, health, limits, estimates.
Does not own: sleeping, sending, the clock (``now_s`` is a parameter), chance (``rng`` is a parameter).
Invariant: one ``now_s`` clock, monotonic seconds, for everything in this room.
"""
