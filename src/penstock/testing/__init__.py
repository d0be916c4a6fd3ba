"""Public doubles for tests of Penstock and of what is built on it.

Owns: stand-ins at our seams (a transport that follows a script, a clock that stands still, a server that echoes), and
a guard against tests that reach the network. Does not own: providers that speak real wire formats (``simulate``).
"""

from penstock.testing.clock import FakeClock
from penstock.testing.echo import EchoUpstream, Heard
from penstock.testing.network import NetworkForbidden, no_network
from penstock.testing.transport import (
    FOREVER,
    ScriptedExchange,
    ScriptedReply,
    ScriptedTransport,
    ScriptIsOver,
)

__all__ = [
    "FOREVER",
    "EchoUpstream",
    "FakeClock",
    "Heard",
    "NetworkForbidden",
    "ScriptIsOver",
    "ScriptedExchange",
    "ScriptedReply",
    "ScriptedTransport",
    "no_network",
]
