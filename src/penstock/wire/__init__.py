"""An HTTP message as rooms without sockets see it; incremental SSE; the ports of a dialect.

Owns: bytes in the shape of messages and events. Does not own: sockets.
"""
