"""Costs that did not come through the gateway: posted JSON -> entries of the class ``own_cost``, or all that is wrong with it.

Theory
------
An own cost is a quantity times a unit price: GPU time by ``compute``, gigabyte-months by ``storage``, gigabytes by ``egress``
(each priced by the configuration), or any unit at the caller's own price. The quantity is kept as an integer of a small
unit, and the price as the configuration wrote it, so nothing is rounded but the line's last nano-dollar:

    compute   gpu_us        microseconds   price per 3,600,000,000: an hour
    storage   byte_months   bytes x months price per 1,000,000,000: a gigabyte-month
    egress    bytes         bytes          price per 1,000,000,000: a gigabyte
    unit      the caller's  whole numbers  price per 1, 1,000 or 1,000,000

Rules
- Pure: names, prices and the time are parameters. A batch is taken whole or not at all; every fault has its path.
- An entry's id is made of the virtual key's name and the caller's event id: a repetition is the same row, and one key's
  events never hide another's.
- JSON numbers are decoded as decimal text. Money and quantities are never a float; wall time and energy are.
"""

from collections.abc import Mapping
from datetime import UTC, datetime
from decimal import ROUND_HALF_EVEN, Decimal, InvalidOperation
from typing import Any, cast
from urllib.parse import quote

import msgspec
from msgspec import Struct

from penstock.base.money import Price, line_cost_nusd
from penstock.base.usage import Usage
from penstock.config.fault import Fault, shown
from penstock.config.rates import usd_price
from penstock.config.schema import Config
from penstock.config.shape import nearest
from penstock.ledger.entry import Entry, Line, token_counts

MAX_ENTRIES = 1000
MAX_TEXT_CHARS = 256
MAX_ID_CHARS = 200
MAX_META = 16
MAX_META_CHARS = 512
MAX_FIELDS = 40
MAX_NUMBER = 10**15
PER_HOUR = 3_600_000_000
PER_GB = 10**9
UNITS: dict[str, tuple[str, int, int]] = {
    "compute": ("gpu_us", 6, PER_HOUR),
    "storage": ("byte_months", 9, PER_GB),
    "egress": ("bytes", 9, PER_GB),
}
"""What is priced by the configuration: the unit of a line, its decimal places, how many of it the price is for."""
POSTED = "posted"
"""The version of a price that came with the entry."""
EARLIEST_S, LATEST_S = 946_684_800, 4_102_444_800
"""2000 and 2100: a time beyond is in another unit."""
_MAX_STORED = 2**63
_MAX_NEAR = 100
_NO_TOKENS = token_counts(Usage())

COMMON = ("id", "trace", "stage", "user", "at", "duration_ms", "joules", "meta")
KINDS: dict[str, tuple[str, ...]] = {
    "compute": ("gpu_seconds",),
    "storage": ("gb_months",),
    "egress": ("gb",),
    "unit": ("quantity", "usd_per_unit"),
}
"""What an entry can be a cost of, and the fields that belong to it."""
FIELDS = (*COMMON, *(name for kind, more in KINDS.items() for name in (kind, *more)))
_NEEDS = (
    "Add one of: compute (with gpu_seconds or duration_ms), storage with gb_months, egress with gb, "
    "unit with quantity and usd_per_unit."
)

decode = msgspec.json.Decoder(float_hook=Decimal).decode
"""JSON with numbers as they were written. Raises msgspec.DecodeError (a ValueError) or ValueError."""


class Rates(Struct, frozen=True):
    """The configured prices. ``version`` stands on every line that they priced."""

    compute: Mapping[str, Price]
    storage: Mapping[str, Price]
    egress: Mapping[str, Price]
    version: str


class Above(Struct, frozen=True):
    """Who stands above the virtual key, and its tags: they go before the sender's own metadata."""

    organisation: str = ""
    team: str = ""
    tags: Mapping[str, str] = {}


NOBODY = Above()


def rates_of(config: Config, version: str) -> Rates:
    """The prices of a configuration that has been checked."""
    return Rates(
        {name: usd_price(one.usd_per_hour) for name, one in config.compute.items()},
        {name: usd_price(one.usd_per_gb_month) for name, one in config.storage.items()},
        {name: usd_price(one.usd_per_gb) for name, one in config.egress.items()},
        f"config-{version}",
    )


def read_entries(
    document: Any, rates: Rates, *, virtual_key: str, now_ms: int, above: Above = NOBODY
) -> tuple[list[Entry], list[Fault]]:
    """The entries of a decoded body (one object, or ``{"entries": [...]}``), or every fault of it."""
    if not isinstance(document, dict):
        return [], [Fault("$", "The body is no JSON object.", 'Send one entry, or {"entries": [...]}.')]
    fields = cast("dict[str, Any]", document)
    if "entries" not in fields:
        given, faults = [("$", cast("Any", fields))], list[Fault]()
    else:
        given, faults = _listed(fields)
    near = _Near()
    entries: list[Entry] = []
    for path, item in given:
        reader = _EntryReader(item, path, rates, near)
        entry = reader.read(virtual_key, now_ms, above)
        faults += reader.faults
        if entry is not None:
            entries.append(entry)
    return ([], faults) if faults else (entries, [])


def _listed(fields: dict[str, Any]) -> tuple[list[tuple[str, Any]], list[Fault]]:
    listed: Any = fields["entries"]
    if len(fields) > 1:
        return [], [Fault("$", "Beside entries stand other fields.", "Put them into the entries.")]
    if not isinstance(listed, list) or not listed:
        return [], [Fault("$.entries", "It is no list of entries.", 'Send {"entries": [{"id": ...}]}.')]
    items = cast("list[Any]", listed)
    if len(items) > MAX_ENTRIES:
        return [], [
            Fault(
                "$.entries", f"{len(items)} entries are too many.", f"Send at most {MAX_ENTRIES:,} at once."
            )
        ]
    return [(f"$.entries[{i}]", item) for i, item in enumerate(items)], []


class _Near:
    """The nearest known name, found once for each wrong one, and for so many only: the search is slow."""

    def __init__(self) -> None:
        self._found: dict[tuple[str, tuple[str, ...]], str | None] = {}

    def remedy(self, word: str, known: tuple[str, ...], nothing: str) -> str:
        key = (word, known)
        if key not in self._found and len(word) <= MAX_TEXT_CHARS // 4 and len(self._found) < _MAX_NEAR:
            self._found[key] = nearest(word, list(known))
        close = self._found.get(key)
        if close is not None:
            return f"Did you mean {close!r}?"
        return f"Known: {', '.join(known[:20])}." if known else nothing


class _EntryReader:
    """One posted entry; what is wrong gathers in ``faults``."""

    def __init__(self, item: Any, path: str, rates: Rates, near: _Near) -> None:
        self.faults: list[Fault] = []
        self._path = path
        self._rates = rates
        self._near = near
        self._given: dict[str, Any] | None = None
        if isinstance(item, dict):
            fields = cast("dict[str, Any]", item)
            self._given = {name: value for name, value in fields.items() if value is not None}

    def read(self, virtual_key: str, now_ms: int, above: Above) -> Entry | None:
        """The entry, or None where there are faults."""
        given = self._given
        if given is None:
            self.faults.append(Fault(self._path, "An entry is no JSON object.", 'Send {"id": "...", ...}.'))
            return None
        if len(given) > MAX_FIELDS:
            self.faults.append(Fault(self._path, f"{len(given)} fields are too many.", "Use meta."))
            return None
        for name in given:
            if name not in FIELDS:
                self._wrong(
                    name if len(name) <= MAX_TEXT_CHARS // 4 else "…",
                    f"There is no field {shown(name)}.",
                    self._near.remedy(name, FIELDS, ""),
                )
        event = self._text("id", MAX_ID_CHARS)
        if not event and given.get("id", "") == "":
            self._wrong("id", "The event id is missing.", "Add one that is the same when it is sent again.")
        trace, stage, user = self._text("trace"), self._text("stage"), self._text("user")
        at_ms, meta = self._at_ms(now_ms), self._meta()
        duration_ms, joules = self._number("duration_ms"), self._number("joules")
        name, line = self._line(duration_ms)
        if self.faults or line is None:
            return None
        request_id = f"own:{quote(virtual_key, safe='')}:{event}"
        return Entry(
            f"{request_id}/1", request_id, trace or request_id, stage, 1, at_ms, "own_cost", "own", name, name,
            "", virtual_key, "", "", False, 0, None, None, None, None, "", *_NO_TOKENS,
            "counted", (line,), line.cost_nusd, line.price_version,
            float(duration_ms) if duration_ms is not None else 0.0,
            meta={**meta, **above.tags} or None,
            joules=None if joules is None else float(joules),
            organisation=above.organisation,
            team=above.team,
            user=user,
        )  # fmt: skip

    def _line(self, duration_ms: Decimal | None) -> tuple[str, Line | None]:
        """What it was spent on, and the priced line."""
        given = self._given or {}
        kinds = [kind for kind in KINDS if kind in given]
        if len(kinds) != 1:
            said = (
                f"It is a cost of several things: {', '.join(kinds)}."
                if kinds
                else "It names nothing that costs."
            )
            self.faults.append(
                Fault(self._path, said, "Send an entry for each, with its own id." if kinds else _NEEDS)
            )
            return "", None
        kind = kinds[0]
        for other, fields in KINDS.items():
            for field in fields if other != kind else ():
                if field in given:
                    self._wrong(field, f"{field} does not belong to {kind}.", f"It belongs to {other}.")
        name = self._text(kind)
        if not name:
            if given[kind] == "":
                self._wrong(kind, "It is empty.", _NEEDS)
            return "", None
        if kind == "unit":
            return name, self._by_unit(name)
        return name, self._by_rate(kind, name, duration_ms)

    def _by_rate(self, kind: str, name: str, duration_ms: Decimal | None) -> Line | None:
        known: Mapping[str, Price] = getattr(self._rates, kind)
        price = known.get(name)
        if price is None:
            self._wrong(
                kind,
                f"{shown(name)} is not configured under {kind}.",
                self._near.remedy(
                    name, tuple(known), f"Add it to the configuration's {kind}, with its price."
                ),
            )
        field = KINDS[kind][0]
        amount = self._number(field)
        if amount is None and kind == "compute" and field not in (self._given or {}):
            if duration_ms is None and "duration_ms" not in (self._given or {}):
                self._wrong(field, "The time is missing.", "Add gpu_seconds or duration_ms.")
            amount = None if duration_ms is None else duration_ms.scaleb(-3)
        elif amount is None and field not in (self._given or {}):
            self._wrong(field, f"{field} is missing.", f"Add {field}: how much it was.")
        if price is None or amount is None:
            return None
        unit, places, per = UNITS[kind]
        whole = int(amount.scaleb(places).to_integral_value(ROUND_HALF_EVEN))
        return self._priced(unit, whole, Price(price.pico_usd, price.per * per), self._rates.version, field)

    def _by_unit(self, unit: str) -> Line | None:
        given = self._given or {}
        quantity, price = self._number("quantity"), None
        for field in KINDS["unit"]:
            if field not in given:
                self._wrong(field, f"{field} is missing.", f"Add {field}.")
        if quantity is not None and quantity != quantity.to_integral_value():
            self._wrong(
                "quantity", "It is no whole number.", "Count in a smaller unit, such as ms for seconds."
            )
        if "usd_per_unit" in given:
            value: Any = given["usd_per_unit"]
            try:
                price = usd_price(value) if _is_number(value) else None
                if price is None:
                    self._wrong("usd_per_unit", "It is no number.", 'Send decimal dollars, "0.0004".')
            except ValueError as error:
                self._wrong("usd_per_unit", f"{error}.", 'Send decimal dollars, "0.0004".')
        if self.faults or quantity is None or price is None:
            return None
        return self._priced(unit, int(quantity), price, POSTED, "quantity")

    def _priced(self, unit: str, quantity: int, price: Price, version: str, field: str) -> Line | None:
        cost_nusd = line_cost_nusd(quantity, price)
        if quantity >= _MAX_STORED or cost_nusd >= _MAX_STORED:
            self._wrong(field, "It is more than the ledger can hold.", "Check the unit.")
            return None
        return Line(unit, quantity, price.pico_usd, price.per, version, "counted", cost_nusd)

    def _wrong(self, field: str, message: str, remedy: str) -> None:
        self.faults.append(Fault(f"{self._path}.{field}", message, remedy))

    def _text(self, field: str, longest: int = MAX_TEXT_CHARS) -> str:
        value: Any = (self._given or {}).get(field, "")
        if not isinstance(value, str):
            self._wrong(field, "It is no text.", "Put it in quotes.")
        elif len(value) > longest:
            self._wrong(field, f"It is {len(value)} characters long.", f"Send at most {longest}.")
        elif not value.isprintable():
            self._wrong(field, "It holds characters that cannot be printed.", "Leave them out.")
        else:
            return value
        return ""

    def _number(self, field: str) -> Decimal | None:
        """A number of at least 0, from a JSON number or its text."""
        value: Any = (self._given or {}).get(field)
        if value is None:
            return None
        number = _decimal(value) if _is_number(value) else None
        if number is None or not number.is_finite():
            self._wrong(field, "It is no number.", "Send digits.")
        elif number < 0:
            self._wrong(field, "It is below 0.", "Send what was used.")
        elif number > MAX_NUMBER:
            self._wrong(field, "It is out of range.", "Check the unit.")
        else:
            return number
        return None

    def _at_ms(self, now_ms: int) -> int:
        value: Any = (self._given or {}).get("at")
        if value is None:
            return now_ms
        at_s = _decimal(value) if _is_number(value) else None
        if at_s is None and isinstance(value, str):
            at_s = _moment(value)
        if at_s is None:
            self._wrong("at", "It is no time.", "Send Unix seconds, or 2026-11-21T15:00:00Z.")
        elif not at_s.is_finite() or not EARLIEST_S <= at_s < LATEST_S:
            self._wrong("at", "The time is not of this century.", "Send Unix seconds, not milliseconds.")
        else:
            return int(at_s.scaleb(3))
        return now_ms

    def _meta(self) -> dict[str, str]:
        value: Any = (self._given or {}).get("meta", {})
        if not isinstance(value, dict):
            self._wrong("meta", "It is no JSON object.", 'Send {"sku": "12"}.')
            return {}
        told = cast("dict[str, Any]", value)
        if len(told) > MAX_META:
            self._wrong("meta", f"{len(told)} pairs are too many.", f"Send at most {MAX_META}.")
        elif any(len(name) > MAX_TEXT_CHARS for name in told):
            self._wrong("meta", "A name is too long.", f"Use at most {MAX_TEXT_CHARS} characters.")
        elif not all(isinstance(text, str) and len(text) <= MAX_META_CHARS for text in told.values()):
            self._wrong("meta", "A value is no text, or too long.", f"Send text of at most {MAX_META_CHARS}.")
        else:
            return told
        return {}


def _is_number(value: object) -> bool:
    """A JSON number, or text; true and false are none."""
    return isinstance(value, int | Decimal | str) and not isinstance(value, bool)


def _decimal(value: Any) -> Decimal | None:
    try:
        return Decimal(value.strip() if isinstance(value, str) else value)
    except InvalidOperation:
        return None


def _moment(text: str) -> Decimal | None:
    """ISO 8601; UTC where it names no zone."""
    try:
        moment = datetime.fromisoformat(text.strip())
        moment = moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)
        since = moment - datetime(1970, 1, 1, tzinfo=UTC)
    except (ValueError, OverflowError):
        return None
    return Decimal(since.days * 86_400 + since.seconds) + Decimal(since.microseconds).scaleb(-6)
