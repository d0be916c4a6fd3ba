"""Being seen: metrics for Prometheus, the operator's log.

Owns: what is counted and how it is told. Does not own: who listens, and what any of it means.
Rules: nothing here blocks, raises into its caller, or sees a body or a credential.
"""
