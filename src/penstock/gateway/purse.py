"""What one attempt may cost, and the money that is held for it: a quote before, a hold while it runs, what it cost after.

Rules
- The prompt is held by a bound, not an estimate: no token is shorter than a byte. What bytes do not bound (pictures,
  files, sounds) is held by a constant a picture, or by the model's whole context.
- A call that can be cut (streamed, one choice, no thinking unseen) holds what recent replies of its kind took; its bytes
  are counted while they pass, and a token is at least one. Any other call holds its maximum.
- Who has a budget pays known prices only.
- An attempt is a reservation of its own, under its entry's id: what the budgets count is the sum of the ledger.
"""

import re
from collections.abc import Mapping

import msgspec
from msgspec import Struct

from penstock.base.chat import Ask
from penstock.base.decisions import Rejected
from penstock.base.models import PriceRow, Target
from penstock.base.money import Price
from penstock.gateway.beyond import disguises, fees_nusd, reaches
from penstock.gateway.treasury import Treasury
from penstock.ledger.budgets import Path, Refused, Reservation
from penstock.ledger.ceilings import Ceiling, ceiling_of
from penstock.ledger.leases import Short
from penstock.ledger.prices import row_at
from penstock.ledger.quantile import Who
from penstock.ledger.reserving import most_nusd

PICTURE_TOKENS = 50_000
"""More than any provider counts for one picture (gpt-4o-mini, 2048 x 768 in high detail: 48,169)."""
TOOLS_TOKENS = 1_024
"""What providers add to a prompt with tools (Anthropic: up to 699)."""
CONTEXT_TOKENS = 1_048_576
"""Of a model whose context is not known."""
PRIOR_TOKENS = 4_096
"""Held for a reply that can be cut, before anything is known of its kind."""
DEFAULT_MOST_TOKENS = 16_384
"""The cap of a call that cannot be cut, where neither the caller nor the catalogue knows one."""
LEAST_TOKENS = 64
"""No cap is lowered below it: so short a reply helps nobody."""
CHUNK_TOKENS = 1_024
"""What an extension asks for: some 250 words, by the bytes."""
UNCUT_TOKENS = 256
"""As long as what may be on its way when a reply is cut."""
_CAPS = ("max_completion_tokens", "max_tokens")
_HIDES = re.compile(r"(?:.*/)?(?:o\d|gpt-(?:[5-9]|\d\d))")
"""Models that think unseen, where the catalogue does not know."""


class Quote(Struct, frozen=True):
    """What an attempt may cost. ``tokens``: of the reply, as held; ``most_tokens``: as bounded, None: by nothing.

    ``unsent``: the bound is ours, and must be sent. ``who`` is what its reply will teach; None: nothing.
    """

    input_nusd: int
    output: Price
    tokens: int
    most_tokens: int | None
    cuttable: bool
    unsent: bool
    who: Who | None = None

    @property
    def amount_nusd(self) -> int:
        """What must be held."""
        return self.input_nusd + most_nusd(self.tokens, self.output)


class Tariff(Struct, frozen=True):
    """What calls may cost that differ in the length of their body alone."""

    quote: Quote
    input: Price
    call_nusd: int
    more_tokens: int
    """Of the prompt, beside a token for each byte of the body."""

    def of(self, body_bytes: int) -> Quote:
        """For a body of this length."""
        one = self.quote
        input_nusd = most_nusd(body_bytes + self.more_tokens, self.input) + self.call_nusd
        return Quote(input_nusd, one.output, one.tokens, one.most_tokens, one.cuttable, one.unsent, one.who)


class Hold(Struct, eq=False):
    """The money of one attempt. ``guarded``: its reply may come to cost more than is held."""

    treasury: Treasury
    reservation: Reservation
    quote: Quote

    @property
    def guarded(self) -> bool:
        """False where what is held is the most that it can cost."""
        quote = self.quote
        return quote.cuttable and (quote.most_tokens is None or quote.tokens < quote.most_tokens)

    def settle(self, cost_nusd: int | None) -> None:
        """What it cost; what is not known is counted as all that was held."""
        held = self.reservation
        self.treasury.settle(held, held.held if cost_nusd is None else cost_nusd)

    def learn(self, reply_bytes: int) -> None:
        """A whole reply of this length."""
        who = self.quote.who
        if who is not None:
            self.treasury.sizes.learn(who, reply_bytes)


class Purse:
    """The budgets on one principal's path."""

    __slots__ = ("_ceiling", "_name", "_row", "path", "treasury")

    def __init__(self, treasury: Treasury, path: Path, name: str) -> None:
        self.treasury = treasury
        self.path = path
        self._name = name
        self._row: PriceRow | None = None
        self._ceiling: Ceiling | None = None
        """Of plain calls at the row that was asked for last: nearly always the next call's, too."""

    def quote(self, ask: Ask, target: Target, unix_s: float) -> Quote | Rejected:
        """The most that an attempt may cost, or what it is expected to cost if it can be cut."""
        facts = target.facts
        row = facts.price
        if row is not None and row.passing:
            row = row_at(row, int(unix_s * 1000))
        if ask.operation != "chat":
            return _quote_units(ask, target, row)
        beyond = reaches(ask.body)
        plain = not (ask.needs or target.overrides or beyond)
        prompt = ask.body_bytes if plain else _prompt_tokens(ask, target)
        if beyond:
            prompt = max(prompt, facts.context_tokens or CONTEXT_TOKENS)
        if plain and row is self._row and row is not None and not _asks_for_more(ask, row):
            ceiling = self._ceiling
        else:
            ceiling = self._look_up(row, ask, target, prompt, plain=plain)
        if ceiling is None:
            return Rejected(
                "price-unknown",
                f"The price of {target.name} is not known, and this key has a budget. Configure it under prices.",
            )
        cap = ask.max_tokens if plain else _cap(ask, target)
        most = cap if cap is not None else facts.max_output_tokens
        read, written = ceiling.input, ceiling.output
        input_nusd = -(-prompt * read.pico_usd // (read.per * 1000)) + ceiling.call_nusd
        if beyond and row is not None:
            input_nusd += fees_nusd(ask.body, row)
        if ask.stream and ask.n == 1 and _shows_all(ask, target):
            who = (ask.model, target.model, self._name)
            tokens = self.treasury.sizes.expect(who, most, PRIOR_TOKENS)
            assert tokens is not None, "a prior was given"
            return Quote(input_nusd, written, tokens, most, True, False, who)
        unsent = most is None
        most = (DEFAULT_MOST_TOKENS if most is None else most) * ask.n
        return Quote(input_nusd, written, most, most, False, unsent)

    def _look_up(
        self, row: PriceRow | None, ask: Ask, target: Target, prompt: int, *, plain: bool
    ) -> Ceiling | None:
        """The ceiling, kept where it holds for other calls as well."""
        if row is None:
            return None
        more = _asks_for_more(ask, row)
        found = ceiling_of(
            row,
            prompt,
            {*target.facts.modalities_out, *ask.needs},
            services=more or "service_tier" in target.overrides,
            long_kept=more,
        )
        if plain and not more and not row.tiers:
            self._row, self._ceiling = row, found
        return found

    def tariff(self, ask: Ask, target: Target, unix_s: float) -> Tariff | None:
        """Quotes for calls that differ from this one in the length of their words alone; None: there is more to them."""
        quote = self.quote(ask, target, unix_s)
        row = target.facts.price
        if (
            isinstance(quote, Rejected)
            or quote.unsent
            or row is None
            or row.tiers
            or row.passing
            or ask.needs
        ):
            return None
        if reaches(ask.body):
            return None
        prompt = _prompt_tokens(ask, target)
        ceiling = self._look_up(row, ask, target, prompt, plain=not target.overrides)
        if ceiling is None:
            return None
        return Tariff(quote, ceiling.input, ceiling.call_nusd, prompt - ask.body_bytes)

    def hold(self, rid: str, quote: Quote, unix_s: float) -> Hold | Refused | Short:
        """Within what this process has leased."""
        answer = self.treasury.reserve(self.path, rid, quote.amount_nusd, unix_s)
        return Hold(self.treasury, answer, quote) if isinstance(answer, Reservation) else answer

    async def obtain(self, rid: str, quote: Quote) -> Hold | Refused:
        """The same, and what is short is asked for. Where waiting would not help, less is held: the maximum of a call
        that cannot be cut is lowered to what is left, a reply that can be cut begins with that."""
        least = min((account.spec.limit_nusd for account in self.path.accounts), default=0)
        if quote.amount_nusd > least:  # it would never fit
            quote = _lowered(quote, least) or quote
        answer = await self.treasury.obtain(self.path, rid, quote.amount_nusd)
        for _ in range(3):  # another budget of the path may have still less left
            if isinstance(answer, Reservation) or answer.code == "budget-held":
                break
            lower = _lowered(quote, answer.left_nusd)
            if lower is None:
                break
            quote = lower
            answer = await self.treasury.obtain(self.path, rid, quote.amount_nusd)
        return Hold(self.treasury, answer, quote) if isinstance(answer, Reservation) else answer


def _quote_units(ask: Ask, target: Target, row: PriceRow | None) -> Quote | Rejected:
    """The most that a call of another operation than chat may cost: its counted units, its words, and what it writes."""
    units: Mapping[str, Price] = {} if row is None else row.units
    counted = [
        max(most_nusd(quantity, price) for price in kinds)
        for unit, quantity in ask.units
        if (kinds := _kinds(units, unit))
    ]
    # A picture is charged by itself or by its pixels, speech by its characters or seconds: names for one thing, never both.
    named_twice = ask.operation in ("images", "speech", "transcriptions")
    amount_nusd = max(counted, default=0) if named_twice else sum(counted)
    read = [units[unit] for unit in ("input", "input_image", "input_audio") if unit in units]
    if not counted and not read:
        return Rejected(
            "price-unknown",
            f"The price of {target.name} is not known, and this key has a budget. Configure it under prices.",
        )
    if read:
        dearest = max(read, key=lambda price: price.pico_usd / price.per)
        amount_nusd += most_nusd(max(ask.input_bytes, 1), dearest)
    written = [units[unit] for unit in ("output", "output_image", "output_audio") if unit in units]
    if written:
        # Held whole: only a chat call can be told to write less.
        dearest = max(written, key=lambda price: price.pico_usd / price.per)
        most = (target.facts.max_output_tokens or DEFAULT_MOST_TOKENS) * ask.n
        amount_nusd += most_nusd(most, dearest)
    return Quote(amount_nusd, Price(0, text="0"), 0, 0, False, False)


def _kinds(units: Mapping[str, Price], unit: str) -> list[Price]:
    """The prices of all kinds of it (image, image:high:1024x1024): which one it will be is not known before."""
    return [price for name, price in units.items() if name.partition(":")[0] == unit]


def with_cap(target: Target, ask: Ask, tokens: int) -> Target:
    """The target, told to write no more than ``tokens`` a choice."""
    name = "max_completion_tokens" if ask.body.find(b'"max_completion_tokens"') >= 0 else "max_tokens"
    others = {key: value for key, value in target.overrides.items() if key not in _CAPS}
    return msgspec.structs.replace(target, overrides={**others, name: tokens})


def _lowered(quote: Quote, left_nusd: int) -> Quote | None:
    """The quote with the largest reply that fits; None: too little is left for any."""
    price = quote.output
    if quote.most_tokens == 0:
        return None
    room = left_nusd - quote.input_nusd
    if room < 0 or not price.pico_usd:
        return None
    tokens = room * price.per * 1000 // price.pico_usd
    # Of what is held by its bytes, a quarter is about what is expected.
    least = quote.tokens // 4 if quote.cuttable else min(LEAST_TOKENS, quote.tokens)
    if quote.cuttable:
        # A reply this short may have been written, and billed, before its first word is here: nobody could cut it.
        least = max(least, min(UNCUT_TOKENS, quote.tokens))
    if tokens < least or tokens >= quote.tokens:
        return None
    if quote.cuttable:
        return msgspec.structs.replace(quote, tokens=tokens)
    return msgspec.structs.replace(quote, tokens=tokens, most_tokens=tokens, unsent=True)


def _prompt_tokens(ask: Ask, target: Target) -> int:
    """A bound on the tokens of the prompt."""
    tokens, needs = ask.body_bytes, ask.needs
    if needs:
        if "audio" in needs or "document" in needs or "video" in needs:
            return max(tokens, target.facts.context_tokens or CONTEXT_TOKENS)
        if "image" in needs:
            # A picture's part names it twice, as its type and as its field; ``input_bytes`` is without its base64.
            # In Anthropic's words it is named once, as its type.
            # In Gemini's words it is named by its type's MIME name, or by its address.
            pictures = (ask.body.count(b'"image_url"') + 1 >> 1) + ask.body.count(b'"image"')
            if ask.dialect == "gemini":
                pictures = sum(map(ask.body.count, (b'"image/', b'"fileUri"', b'"file_uri"')))
            tokens = tokens - ask.messages_bytes + ask.input_bytes + pictures * PICTURE_TOKENS
        if "tools" in needs:
            tokens += TOOLS_TOKENS
    if target.overrides:
        tokens += len(msgspec.json.encode(target.overrides))
    return tokens


_CLASSES = (b'"service_tier"', b'"serviceTier"', b'"speed"')
"""Fields that name a class of service, in all dialects' spellings."""


def _asks_for_more(ask: Ask, row: PriceRow) -> bool:
    """The body may name a class of service, or a cache's hour, and the row has prices for such."""
    find = ask.body.find
    if (row.service or "cache_write_1h" in row.units) and disguises(ask.body):
        return True
    return (bool(row.service) and any(find(name) >= 0 for name in _CLASSES)) or (
        "cache_write_1h" in row.units and find(b'"1h"') >= 0
    )


def _cap(ask: Ask, target: Target) -> int | None:
    """The maximum that will be asked for: the target's own, else the caller's."""
    for name in _CAPS:
        if name in target.overrides:
            value = target.overrides[name]
            return value if isinstance(value, int) and value > 0 else None
    return ask.max_tokens


def _shows_all(ask: Ask, target: Target) -> bool:
    """All that is billed of the reply passes us, so that it can be counted: nothing is thought unseen."""
    reasoning, style = ask.reasoning, target.facts.reasoning
    if any(name.startswith("reasoning") for name in target.overrides):
        return False
    if ask.body.find(b'"prediction"') >= 0:  # rejected words of it are billed, and never seen
        return False
    if reasoning is not None and style != "always":
        off = reasoning.effort == "none" or reasoning.max_tokens == 0 or reasoning.enabled is False
        return off or style == "none"
    if style is None:
        return target.dialect == "openai" and _HIDES.match(target.model) is None
    return style == "none" or (style == "budget" and target.dialect == "anthropic")
