"""The engine wing: where each millisecond of a PyTorch inference goes, and what to do about it.

Owns: traces, timings, findings, workloads, kernels. Does not own: providers, routing, callers - the gateway's wing, which it
never imports. Rules: what reads a trace file or decides about one needs no torch; torch is imported by the files that run it.
"""
