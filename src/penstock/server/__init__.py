"""The door: routes, ingress, and the single place where an error becomes HTTP in the caller's dialect.

Owns: sockets of callers. Does not own: decisions.
"""
