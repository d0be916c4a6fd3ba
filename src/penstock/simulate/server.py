"""The simulator: one listening socket, every dialect behind it.

Theory
------
A request is routed by its path to a dialect and a provider's name, then: faults are picked, the key is checked, the
dialect answers or refuses, and the faults bend the answer into steps. A request without faults and delays is answered
by one write.
"""

import asyncio
import time
from collections.abc import Callable, Iterable, Mapping
from fnmatch import fnmatchcase
from itertools import count
from pathlib import Path
from random import Random
from typing import Any

import msgspec

from penstock.base.clock import Clock, SystemClock
from penstock.simulate import openai_audio
from penstock.simulate.anthropic import ANTHROPIC
from penstock.simulate.anthropic_files import AnthropicFiles
from penstock.simulate.batches import AnthropicBatches, Batches, OpenAIBatches
from penstock.simulate.bedrock import BEDROCK
from penstock.simulate.cohere import COHERE
from penstock.simulate.control import control
from penstock.simulate.failing import instead, quirks_of, steps_of
from penstock.simulate.fal import Fal
from penstock.simulate.faults import Facts, Fault, FaultBook
from penstock.simulate.file_names import FileNames
from penstock.simulate.gemini import GEMINI, VERTEX
from penstock.simulate.gemini_batches import GeminiBatches
from penstock.simulate.gemini_files import GeminiFiles
from penstock.simulate.http1 import Connection, Op, Performance, RawRequest, Step, head_bytes
from penstock.simulate.log import Received, RequestLog
from penstock.simulate.memory import FIRST_SERIAL, Memory, Rendered
from penstock.simulate.oauth import TokenDesk
from penstock.simulate.openai import OPENAI
from penstock.simulate.openai_audio import OPENAI_AUDIO
from penstock.simulate.openai_images import OPENAI_IMAGES, fields_of
from penstock.simulate.replicate import Replicate
from penstock.simulate.reply import NO_QUIRKS, Call, Refused, Reply, Speaker, make_pace
from penstock.simulate.route import Router, key_of
from penstock.simulate.scenario import ProviderSettings, Scenario
from penstock.simulate.stability import STABILITY
from penstock.simulate.untyped import as_object, as_text
from penstock.simulate.vectors import COHERE as COHERE_VECTORS

_SPEAKERS: dict[str, Speaker] = {
    "openai": OPENAI,
    "openai_images": OPENAI_IMAGES,
    "openai_audio": OPENAI_AUDIO,
    "responses": OPENAI,
    "anthropic": ANTHROPIC,
    "gemini": GEMINI,
    "vertex": VERTEX,
    "stability": STABILITY,
    "vectors": COHERE_VECTORS,
    "bedrock": BEDROCK,
    "cohere": COHERE,
}
_OWN_KEYS = frozenset({"vertex", "bedrock"})
"""Dialects that check their credentials themselves."""
_OWN_BODIES = frozenset(
    {"oauth", "stability", "openai_batches", "anthropic_batches", "gemini_files", "anthropic_files"}
)
"""Dialects that read their bodies themselves."""
_DEFAULT_SETTINGS = ProviderSettings()
_decode = msgspec.json.Decoder().decode
_BROKEN_JSON = object()


class Simulator:
    """Providers in one process. Make it, ``await start()``, point clients at ``url``, ``await stop()``.

    Everything is served twice: as the vendors do (``/v1/chat/completions``), and under ``/p/NAME/``, so that several
    providers with their own faults, keys and speeds live side by side. Methods other than start and stop may be
    called from any thread.
    """

    def __init__(self, scenario: Scenario | None = None, clock: Clock | None = None) -> None:
        self.scenario = scenario or Scenario()
        self._clock = clock or SystemClock()
        self._rng = Random(self.scenario.seed)
        self._log = RequestLog(self.scenario.keep_requests, self.scenario.keep_body_bytes)
        self._book = FaultBook(self.scenario.faults, self._clock.monotonic_s())
        self._router = Router()
        self._serials = count(FIRST_SERIAL)
        self._memory = Memory()
        self._connection_serials = count(1)
        self._connections: set[Connection] = set()
        self._prompts_seen: dict[bytes, None] = {}
        self._tokens = TokenDesk(self.scenario.token_lifetime_s, self._clock.unix_s)
        self._speakers: dict[str, Speaker] = {
            **_SPEAKERS,
            "oauth": self._tokens,
            "fal": Fal(),
            "replicate": Replicate(),
        }
        delay_s, listed_after_s = self.scenario.batch_delay_s, self.scenario.batch_listed_after_s
        batches = Batches(delay_s, listed_after_s, self._clock.monotonic_s, self._line)
        self._speakers["openai_batches"] = OpenAIBatches(batches, OPENAI)
        self._speakers["anthropic_batches"] = AnthropicBatches(batches, ANTHROPIC)
        self._speakers["gemini_files"] = files = GeminiFiles(GEMINI, self.scenario.file_looks)
        self._speakers["anthropic_files"] = own = AnthropicFiles(ANTHROPIC, self._clock.unix_s)
        self.files = FileNames(batches, own, files)
        self._speakers["gemini_batches"] = GeminiBatches(
            delay_s, listed_after_s, self._clock.monotonic_s, self._line, files, GEMINI
        )
        self._server: asyncio.Server | None = None
        self.url = ""

    # Life.

    async def start(self, host: str = "127.0.0.1", port: int = 0) -> None:
        """Listen; ``url`` is known afterwards. The faults' time windows begin now."""
        loop = asyncio.get_running_loop()

        def connection() -> Connection:
            return Connection(self, next(self._connection_serials), self._connections)

        self._server = await loop.create_server(connection, host, port, backlog=2048)
        bound = self._server.sockets[0].getsockname()
        shown = f"[{bound[0]}]" if ":" in bound[0] else bound[0]
        self.url = f"http://{shown}:{bound[1]}"
        self._book = FaultBook(self._book.faults, self._clock.monotonic_s())

    async def stop(self) -> None:
        """Stop listening and cut every connection."""
        if self._server is not None:
            self._server.close()
            for connection in list(self._connections):
                connection.abort()
            await self._server.wait_closed()
            self._server = None

    def provider_url(self, name: str) -> str:
        """The root below which the provider ``name`` is served: add the vendor's own path."""
        return f"{self.url}/p/{name}"

    # What tests ask and tell.

    @property
    def requests(self) -> list[Received]:
        """What was received, oldest first."""
        return self._log.all()

    @property
    def faults(self) -> list[Fault]:
        """The faults in force."""
        return self._book.faults

    def set_faults(self, faults: Iterable[Fault | Mapping[str, Any]]) -> None:
        """Replace the faults; their counts and time windows begin anew."""
        self._book = FaultBook(_as_faults(faults), self._clock.monotonic_s())

    def add_faults(self, faults: Iterable[Fault | Mapping[str, Any]]) -> None:
        """Add to the faults in force."""
        self._book.add(_as_faults(faults))

    def forget_requests(self) -> None:
        """Empty the log."""
        self._log.clear()

    def clear(self) -> None:
        """No faults, an empty log, nothing cached."""
        self.set_faults([])
        self.forget_requests()
        self._prompts_seen.clear()
        self._memory.forget()

    def make_service_account(
        self, folder: Path, name: str = "simulated", *, provider: str = "", project: str = "simulated-project"
    ) -> Path:
        """A service-account file with a fresh key; its ``token_uri`` is this simulator, which knows the public half.

        Its file lies at ``folder/name.json``. ``provider`` puts the token endpoint under ``/p/NAME/``.
        """
        root = self.provider_url(provider) if provider else self.url
        return self._tokens.make_account(folder, name, f"{root}/token", project)

    def expire_tokens(self) -> None:
        """Every access token given so far is void from now on."""
        self._tokens.expire_all()

    def wait_for(self, wanted: Callable[[Received], bool], timeout_s: float = 5.0) -> Received:
        """The first logged request that is as ``wanted``; for a simulator that runs in another thread."""
        until_s = time.monotonic() + timeout_s
        while True:
            for received in self._log.all():
                if wanted(received):
                    return received
            if time.monotonic() > until_s:
                raise TimeoutError(f"No such request within {timeout_s} s among {self._log.all()}")
            time.sleep(0.002)

    # What a connection asks.

    def unix_s(self) -> float:
        """Now."""
        return self._clock.unix_s()

    def perform(self, request: RawRequest) -> Performance:
        """Decide what to send."""
        started_s = self._clock.unix_s()
        received = Received(request.method, request.target, request.headers, request.body, started_s)
        received.connection = request.connection
        if request.target.startswith("/_sim/"):
            reply = control(request.method, request.target, request.body, self)
            return _whole(reply, received, request)
        self._log.add(received)
        key = None if self._book.faults_in_force else self._memory.key(request)
        rendered = self._memory.find(key, int(started_s)) if key is not None else None
        if rendered is not None:
            return _again(rendered, next(self._serials), received, request)
        call = self._call(request, started_s)
        received.provider, received.dialect = call.provider, call.dialect
        received.model, received.key, received.stream = call.model, call.key, call.stream
        facts = Facts(call.provider, call.dialect, call.model, call.key, call.stream)
        faults = self._book.pick(facts, self._clock.monotonic_s(), self._rng)
        if faults:
            return self._fail(faults, call, request, received)
        reply = _answered(call, self._speakers[call.dialect], self.scenario, self.files)
        if call.profile.ttft_ms or call.profile.tokens_per_s:
            return self._steps(reply, (), call, request, received)
        performance = _at_once(reply, received, request)
        if key is not None:
            self._memory.keep(key, performance.whole, call.serial, call.unix_s, received)
        return performance

    def _fail(
        self, faults: tuple[Fault, ...], call: Call, request: RawRequest, received: Received
    ) -> Performance:
        received.faults = tuple(fault.kind for fault in faults)
        call.quirks = quirks_of(faults)
        speaker = self._speakers[call.dialect]
        last = instead(faults[-1], call, speaker)
        if isinstance(last, Op):
            return Performance(received, steps=iter((Step(0.0, last),)), keep_alive=False)
        return self._steps(
            last or _answered(call, speaker, self.scenario, self.files), faults, call, request, received
        )

    def _steps(
        self, reply: Reply, faults: tuple[Fault, ...], call: Call, request: RawRequest, received: Received
    ) -> Performance:
        received.status = reply.status
        chunked = request.chunked_ok and reply.frames is not None
        keep_alive = request.keep_alive and (request.chunked_ok or reply.frames is None)
        speaker, pace = self._speakers[call.dialect], make_pace(call.profile, self._rng)
        steps = steps_of(reply, faults, call, speaker, pace, keep_alive=keep_alive, chunked=chunked)
        return Performance(received, steps=steps, chunked=chunked, keep_alive=keep_alive)

    def _line(self, call: Call) -> Reply:
        """One line of a batch."""
        dialect = call.dialect.removesuffix("_batches")
        if dialect == "openai":
            dialect = self._router.route(call.path, []).dialect
        call = msgspec.structs.replace(call, dialect=dialect, serial=next(self._serials))
        call.profile = self.scenario.profile(call.provider, call.model)
        return _answered(call, self._speakers[dialect], self.scenario, self.files)

    def _call(self, request: RawRequest, started_s: float) -> Call:
        route = self._router.route(request.target, request.headers)
        parsed: Any = None
        if route.dialect == "openai_images":
            parsed = fields_of(request.headers, request.body)
        elif route.dialect == "openai_audio":
            parsed = openai_audio.fields_of(request.headers, request.body)
        elif request.body and route.dialect not in _OWN_BODIES:
            try:
                parsed = _decode(request.body)
            except msgspec.DecodeError:
                parsed = _BROKEN_JSON
        body = as_object(parsed)
        model = route.model or as_text(body.get("model"))
        keys = self.scenario.keys.get(route.provider)
        return Call(
            method=request.method,
            path=route.path,
            query=route.query,
            headers=request.headers,
            body=request.body,
            dialect=route.dialect,
            provider=route.provider,
            json=parsed,
            model=model,
            key=key_of(route.dialect, request.headers, route.query),
            stream=body.get("stream") is True or ":stream" in route.path or route.path.endswith("-stream"),
            serial=next(self._serials),
            unix_s=int(started_s),
            settings=self.scenario.providers.get(route.provider, _DEFAULT_SETTINGS),
            profile=self.scenario.profile(route.provider, model),
            quirks=NO_QUIRKS,
            prompts_seen=self._prompts_seen,
            known_token=self._known_token,
            target=request.target,
            accepted=None if keys is None else tuple(keys),
        )

    def _known_token(self, token: str) -> bool:
        """For Vertex: a token given at ``/token``, or any key that the scenario lists for the provider."""
        return self._tokens.knows(token) or any(token in keys for keys in self.scenario.keys.values())


def _answered(call: Call, speaker: Speaker, scenario: Scenario, files: FileNames) -> Reply:
    try:
        _check(call, scenario.keys.get(call.provider))
        files.check(call)
        return speaker.answer(call)
    except Refused as refused:
        return speaker.refuse(refused, call)


def _check(call: Call, keys: list[str] | None) -> None:
    if keys is not None and call.key not in keys and call.key and call.dialect not in _OWN_KEYS:
        raise Refused(401, "")
    if call.json is _BROKEN_JSON:
        raise Refused(400, "We could not parse the JSON body of your request.")
    served = call.settings.models
    if served and call.model and not any(fnmatchcase(call.model, glob) for glob in served):
        raise Refused(404, f"The model `{call.model}` does not exist or you do not have access to it.")


def _whole(reply: Reply, received: Received, request: RawRequest) -> Performance:
    received.status = reply.status
    head = head_bytes(
        reply.status, reply.headers, length=len(reply.body), chunked=False, keep_alive=request.keep_alive
    )
    return Performance(received, whole=head + reply.body, keep_alive=request.keep_alive)


def _at_once(reply: Reply, received: Received, request: RawRequest) -> Performance:
    """An answer without faults and delays, a stream too, as one piece of bytes."""
    if reply.frames is None:
        return _whole(reply, received, request)
    received.status = reply.status
    chunked = request.chunked_ok
    keep_alive = request.keep_alive and chunked
    pieces = [frame.data for frame in reply.frames]
    received.events_sent = len(pieces)
    if chunked:
        pieces = [b"%x\r\n%b\r\n" % (len(piece), piece) for piece in pieces]
        pieces.append(b"0\r\n\r\n")
    head = head_bytes(reply.status, reply.headers, length=None, chunked=chunked, keep_alive=keep_alive)
    return Performance(received, whole=head + b"".join(pieces), keep_alive=keep_alive)


def _again(rendered: Rendered, serial: int, received: Received, request: RawRequest) -> Performance:
    received.provider, received.dialect = rendered.provider, rendered.dialect
    received.model, received.key, received.stream = rendered.model, rendered.key, rendered.stream
    received.status, received.events_sent = rendered.status, rendered.events
    keep_alive = request.keep_alive and (request.chunked_ok or not rendered.stream)
    return Performance(received, whole=rendered.with_serial(serial), keep_alive=keep_alive)


def _as_faults(faults: Iterable[Fault | Mapping[str, Any]]) -> list[Fault]:
    return [fault if isinstance(fault, Fault) else msgspec.convert(fault, Fault) for fault in faults]
