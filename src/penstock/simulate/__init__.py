"""Providers that speak the real wire formats over real sockets, and fail on request.

Owns: what OpenAI, Anthropic, Gemini, Vertex, Stability, fal and Replicate put on the wire, and the ways in which they break.
Does not own: our dialects; it imports ``base`` and ``wire`` only, so that it cannot share their misunderstandings.
"""

from penstock.simulate.faults import Fault, When
from penstock.simulate.log import Received
from penstock.simulate.running import running_simulator, simulator_process
from penstock.simulate.scenario import Distribution, Profile, ProviderSettings, Scenario, load_scenario
from penstock.simulate.server import Simulator

__all__ = [
    "Distribution",
    "Fault",
    "Profile",
    "ProviderSettings",
    "Received",
    "Scenario",
    "Simulator",
    "When",
    "load_scenario",
    "running_simulator",
    "simulator_process",
]
