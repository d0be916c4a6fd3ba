# What it does is in _express.pyx.

from collections.abc import Callable
from typing import Any

SOURCES: str

class Tally:
    calls: int
    input: int
    cached: int
    output: int
    thought: int
    cost_nusd: int
    duration_s: float
    first_token_s: float
    overhead_s: float
    durations: list[int]
    first_tokens: list[int]
    overheads: list[int]

    def __init__(
        self,
        durations: tuple[float, ...],
        first_tokens: tuple[float, ...],
        overheads: tuple[float, ...],
    ) -> None: ...
    def clear(self) -> None: ...

class Way:
    key: str
    secret: str
    tried: str
    block: bytes
    explained_1: bytes
    explained_2: bytes
    explained_3: bytes

class Mould:
    pieces: tuple[bytes, ...]
    slots: bytes

    def __init__(self, pieces: tuple[bytes, ...], slots: bytes) -> None: ...
    def fill(
        self,
        id: bytes,  # noqa: A002 - what it is called in a reply
        text: bytes,
        created_s: int,
        input: int,  # noqa: A002 - base.usage's word
        cached: int,
        output: int,
        thought: int,
    ) -> bytes: ...

class Shape:
    app: Any
    house: Any
    limits: Any
    toll: Any
    hold_of: Any
    hour_matters: bool
    planned: Any
    provider: Any
    keys: Any
    transport: Any
    health: Any
    ratios: Any
    journal: Any
    rows: Any
    pending: dict[str, Any]
    takes_alike: bool
    form: Any
    principal: Any
    deadlines: Any
    unix_s: Callable[[], float]
    caller: Any
    method: bytes
    url: bytes
    told: dict[bytes, bytes]
    as_lane: Callable[[Call], Any]
    random: Callable[[], float]
    drawn: list[Way]
    sums: tuple[float, ...]
    decode: Callable[[bytes], Any]
    tiers: Callable[[str], str]
    stops: Callable[[str], str]
    model: str
    target: str
    asked: str
    trace_id: str | None
    stage: str
    client_request_id: str
    user: str
    priority: Any
    adjusted: str
    meta_json: str | None
    lines_1: bytes
    head_prefix: bytes
    head_suffix: bytes
    before: bytes
    after: bytes
    out_before: bytes
    out_after: bytes
    served_by: bytes
    more: bytes
    also: bytes
    ways: dict[str, Way]
    moulds: dict[str, Mould] | None
    tally: Tally
    expires_unix_s: float
    small_tokens: float
    connect_s: float
    total_s: float
    first_byte_s: float
    max_body: int
    extra_bytes: int
    in_pico: int
    in_per: int
    out_pico: int
    out_per: int
    cached_pico: int
    cached_per: int
    thought_pico: int
    thought_per: int
    tier_above: int

class Call:
    shape: Shape
    way: Way
    conn: Any
    up: Any
    reply: Any
    exchange: Any
    hold: Any
    body: bytes
    id: str
    received_s: float
    unix_s: float
    start_s: float
    tokens: int
    input_bytes: int
    gone: bool
    paid: bool

    def over(self) -> None: ...
    def cancel(self) -> None: ...
    def answer(self, data: bytes, /) -> bool: ...

def take(connection: Any, shape: Shape, data: bytes, /) -> bool: ...
def is_value(text: bytes, /) -> bool: ...
def whole_body(data: bytes, /) -> bytes | None: ...
def turns(text: bytes, /) -> bytes | None: ...
def figures(
    shape: Shape, body: bytes, /
) -> tuple[tuple[int, int, int, int], str, str, str | None, str, int, str, bytes] | None: ...
