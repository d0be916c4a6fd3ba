"""Every knob as a typed struct, one loader that reports all faults, secrets that never print, the catalogue.

Owns: configuration, secrets, the model catalogue. Does not own: what is built from them (``wiring``).
Rule: nothing else in the package reads the environment.
"""
