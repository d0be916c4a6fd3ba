"""Which credential of a provider a call uses: by weight, around those that are cooling down.

Theory
------
A key without a record is healthy; only keys that failed have one, so the common choice is a look-up and one draw.
After its cool-down a key is half-open: the next call that draws it is its probe, and until that call reports (or
PROBE_LEASE_S has passed, because a call that was cancelled reports nothing) nobody else draws it. A success of
the probe clears the record, a failure of the same kind doubles the cool-down. Failures that arrive while a key is already cooling
come from calls sent before it was: they may lengthen the wait, never double it.
"""

import random
from bisect import bisect_right
from collections.abc import Callable
from fnmatch import fnmatchcase
from itertools import accumulate

from msgspec import Struct

from penstock.base.decisions import Rejected
from penstock.base.errors import UpstreamError, UpstreamRateLimited

MIN_COOL_S = 0.05
MAX_COOL_S = 3600.0
RATE_FIRST_S, RATE_MAX_S = 1.0, 60.0
AUTH_FIRST_S, AUTH_MAX_S = 10.0, 600.0
QUOTA_FIRST_S = 300.0
PROBE_LEASE_S = {"rate": 1.0, "auth": 10.0, "quota": 10.0}
"""A rate-limited key is asked once a second at least; a refused one is not worth more than one call in ten seconds."""

_MAX_MODELS = 4096
_IMPLICIT_KEY = "none"


class ProviderKey(Struct, frozen=True):
    """One credential. ``models`` are fnmatch patterns of the provider's model ids."""

    provider: str
    name: str
    secret: str
    weight: float = 1.0
    models: tuple[str, ...] = ("*",)

    def __repr__(self) -> str:
        """Without the secret."""
        return f"ProviderKey({self.provider}.{self.name}, weight={self.weight:g}, models={self.models!r})"

    def __rich_repr__(self) -> "list[tuple[str, object]]":
        """Without the secret, also where rich prints it (msgspec would show every field)."""
        return [("provider", self.provider), ("name", self.name), ("weight", self.weight)]


class KeyChoice(Struct, frozen=True):
    """The key, how probable this choice was among the eligible, and why it was possible."""

    key: ProviderKey
    probability: float
    reason: str


class _Cooling(Struct):
    """A failed key's record. ``strikes`` counts cool-downs in a row, of ``kind`` rate, auth or quota."""

    until_s: float
    strikes: int
    kind: str
    probing: bool = False


class _Pool(Struct, frozen=True):
    """Keys that serve one model for one caller, their choices made ahead, and the running sum of weights."""

    keys: tuple[ProviderKey, ...]
    choices: tuple[KeyChoice, ...]
    sums: tuple[float, ...]


class KeyNews(Struct, frozen=True, array_like=True):
    """What other processes should know of a key: it cools for ``wait_s`` (``kind``), is being probed, or is ``up`` again."""

    provider: str
    key: str
    kind: str
    wait_s: float = 0.0
    strikes: int = 0
    probing: bool = False


_UP = "up"


class KeyRing:
    """The keys of one provider. ``now_s`` is any monotonic clock, the same one in every call.

    Where several processes share the keys, each tells the others (``tell``) and is told by them (``hear``).
    """

    __slots__ = ("_by_caller", "_by_model", "_cooling", "_keys", "provider", "tell")

    def __init__(self, provider: str, keys: tuple[ProviderKey, ...]) -> None:
        self.provider = provider
        # A local server needs no credential; it still gets a name for the ledger.
        self._keys = keys or (ProviderKey(provider=provider, name=_IMPLICIT_KEY, secret=""),)
        self._by_model: dict[str, _Pool | Rejected] = {}
        self._by_caller: dict[tuple[str, frozenset[str]], _Pool | Rejected] = {}
        self._cooling: dict[str, _Cooling] = {}
        self.tell: Callable[[KeyNews], None] | None = None

    def hear(self, news: KeyNews, now_s: float) -> None:
        """Another process has learned this of a key."""
        if news.kind == _UP:
            self._cooling.pop(news.key, None)
        elif any(key.name == news.key for key in self._keys):
            until_s, record = now_s + news.wait_s, self._cooling.get(news.key)
            if record is not None and not news.probing:
                until_s = max(until_s, record.until_s)
            self._cooling[news.key] = _Cooling(until_s, news.strikes, news.kind, news.probing)

    def _told(self, key_name: str, now_s: float) -> None:
        if self.tell is not None:
            record = self._cooling.get(key_name)
            if record is None:
                self.tell(KeyNews(self.provider, key_name, _UP))
            else:
                wait_s = max(0.0, record.until_s - now_s)
                self.tell(
                    KeyNews(self.provider, key_name, record.kind, wait_s, record.strikes, record.probing)
                )

    @property
    def keys(self) -> tuple[ProviderKey, ...]:
        """All keys, in the configuration's order."""
        return self._keys

    @property
    def troubled(self) -> bool:
        """Some key cools down, or is on probation."""
        return bool(self._cooling)

    def count(self, model: str, allowed: frozenset[str] | None = None) -> int:
        """How many keys serve ``model`` for this caller, cooling or not: what Schedule calls ``key_count``."""
        pool = self._pool(model, allowed)
        return 0 if isinstance(pool, Rejected) else len(pool.keys)

    def choices(self, model: str, allowed: frozenset[str] | None) -> tuple[KeyChoice, ...]:
        """Everything that ``choose`` may answer while no key is in trouble and none is to be avoided."""
        pool = self._pool(model, allowed)
        return () if isinstance(pool, Rejected) else pool.choices

    def choose(
        self,
        model: str,
        now_s: float,
        rng: random.Random,
        *,
        avoid: frozenset[str] = frozenset(),
        allowed: frozenset[str] | None = None,
    ) -> KeyChoice | Rejected:
        """A key by weight, among those that serve ``model``, are ``allowed`` and are not cooling.

        ``avoid`` names keys that this call has used: another one is preferred where there is one. Codes of a
        refusal: no-key-for-model, key-not-allowed, keys-cooling, keys-exhausted (all cool after 401, 402, 403
        or a spent quota); the last two carry ``retry_after_s``.
        """
        pool = self._by_model.get(model) if allowed is None else self._by_caller.get((model, allowed))
        if pool is None:
            pool = self._pool(model, allowed)
        if isinstance(pool, Rejected):
            return pool
        if self._cooling or avoid:
            return self._choose_around(pool, now_s, rng, avoid)
        if len(pool.keys) == 1:
            return pool.choices[0]
        return pool.choices[_draw(pool.sums, rng)]

    def check(self, model: str, now_s: float, *, allowed: frozenset[str] | None = None) -> Rejected | None:
        """Why ``choose`` would find no key now, or None. A pure look."""
        pool = self._pool(model, allowed)
        if isinstance(pool, Rejected):
            return pool
        records = [self._cooling.get(key.name) for key in pool.keys] if self._cooling else [None]
        if all(record is not None and record.until_s > now_s for record in records):
            return self._all_cooling(pool, now_s)
        return None

    def failed(self, key_name: str, error: UpstreamError, now_s: float) -> None:
        """Cool the key down where the error speaks of the key; another failure only frees its probe."""
        record = self._cooling.get(key_name)
        if not error.rotates_key:
            self.release(key_name, now_s)
            return
        if record is not None and not record.probing and record.until_s > now_s:
            kind, wait_s = _cool_down(error, 0)
            if kind == record.kind:
                wait_s = _clamped(error.retry_after_s)
            elif kind != "rate":
                record.kind = kind
            record.until_s = max(record.until_s, now_s + wait_s)
            self._told(key_name, now_s)
            return
        kind, wait_s = _cool_down(error, 0)
        strikes = 0
        if record is not None and record.kind == kind:
            strikes = record.strikes + 1
            _, wait_s = _cool_down(error, strikes)
        self._cooling[key_name] = _Cooling(until_s=now_s + wait_s, strikes=strikes, kind=kind)
        self._told(key_name, now_s)

    def release(self, key_name: str, now_s: float) -> None:
        """The call says nothing about the key (never sent, hung up, a fault): its probe is free for the next one."""
        if self._cooling:
            record = self._cooling.get(key_name)
            if record is not None and record.probing:
                record.probing, record.until_s = False, now_s
                self._told(key_name, now_s)

    def succeeded(self, key_name: str) -> None:
        """A reply began with this key: its probe passed. A success sent before the cool-down proves nothing."""
        if self._cooling:
            record = self._cooling.get(key_name)
            if record is not None and record.probing:
                del self._cooling[key_name]
                self._told(key_name, 0.0)

    def cooling(self, now_s: float) -> dict[str, float]:
        """Key name -> seconds until it may be drawn again; a probe that is out counts."""
        return {
            name: record.until_s - now_s for name, record in self._cooling.items() if record.until_s > now_s
        }

    def adopt(self, other: "KeyRing") -> None:
        """On reload: take over the cool-downs of keys whose name and secret are unchanged."""
        theirs = {key.name: key.secret for key in other._keys}  # noqa: SLF001 - its own class
        for key in self._keys:
            record = other._cooling.get(key.name)  # noqa: SLF001 - its own class
            if record is not None and theirs.get(key.name) == key.secret:
                self._cooling[key.name] = _Cooling(
                    until_s=record.until_s, strikes=record.strikes, kind=record.kind, probing=record.probing
                )

    def _pool(self, model: str, allowed: frozenset[str] | None) -> _Pool | Rejected:
        """The pool of ``model``, built once. Bounded: callers may invent models."""
        found = self._by_model.get(model) if allowed is None else self._by_caller.get((model, allowed))
        if found is not None:
            return found
        serving = tuple(key for key in self._keys if _serves(key, model))
        mine = serving if allowed is None else tuple(key for key in serving if key.name in allowed)
        pool: _Pool | Rejected
        if not serving:
            pool = Rejected("no-key-for-model", f"No key of {self.provider} may be used for {model}.")
        elif not mine:
            pool = Rejected(
                "key-not-allowed",
                f"The virtual key may spend on none of {self.provider}'s keys that serve {model}.",
            )
        else:
            pool = _make_pool(mine)
        if len(self._by_model) + len(self._by_caller) >= _MAX_MODELS:
            self._by_model.clear()
            self._by_caller.clear()
        if allowed is None:
            self._by_model[model] = pool
        else:
            self._by_caller[model, allowed] = pool
        return pool

    def _choose_around(
        self, pool: _Pool, now_s: float, rng: random.Random, avoid: frozenset[str]
    ) -> KeyChoice | Rejected:
        """The choice where keys cool or are to be avoided."""
        cooling = self._cooling
        ready = [
            key for key in pool.keys if (record := cooling.get(key.name)) is None or record.until_s <= now_s
        ]
        if not ready:
            return self._all_cooling(pool, now_s)
        others = [key for key in ready if key.name not in avoid] if avoid else ready
        eligible = others or ready
        at = 0 if len(eligible) == 1 else _draw(tuple(accumulate(key.weight for key in eligible)), rng)
        key = eligible[at]
        probe = ""
        record = cooling.get(key.name)
        if record is not None:
            record.probing, record.until_s = True, now_s + PROBE_LEASE_S[record.kind]
            probe = "; its probe after a cool-down"
            self._told(key.name, now_s)
        total = sum(one.weight for one in eligible)
        left_out = [f"{len(pool.keys) - len(ready)} cooling"] if len(ready) < len(pool.keys) else []
        if others and len(others) < len(ready):
            left_out.append(f"{len(ready) - len(others)} used before by this call")
        aside = f" ({', '.join(left_out)})" if left_out else ""
        return KeyChoice(
            key=key,
            probability=key.weight / total,
            reason=f"weight {key.weight:g} of {total:g} among {len(eligible)} of {len(pool.keys)} keys{aside}{probe}",
        )

    def _all_cooling(self, pool: _Pool, now_s: float) -> Rejected:
        records = [self._cooling[key.name] for key in pool.keys]
        soonest_s = min(record.until_s for record in records) - now_s
        count = "The only key" if len(records) == 1 else f"All {len(records)} keys"
        verb = "is" if len(records) == 1 else "are"
        if all(record.kind != "rate" for record in records):
            return Rejected(
                "keys-exhausted",
                f"{count} of {self.provider} {verb} refused by the provider or out of quota.",
                retry_after_s=soonest_s,
            )
        return Rejected(
            "keys-cooling",
            f"{count} of {self.provider} {verb} cooling down for {soonest_s:.2f} s.",
            retry_after_s=soonest_s,
        )


def _serves(key: ProviderKey, model: str) -> bool:
    return any(pattern in ("*", model) or fnmatchcase(model, pattern) for pattern in key.models)


def _make_pool(keys: tuple[ProviderKey, ...]) -> _Pool:
    sums = tuple(accumulate(key.weight for key in keys))
    total = sums[-1]
    if len(keys) == 1:
        choices = (KeyChoice(key=keys[0], probability=1.0, reason="the only key"),)
    else:
        choices = tuple(
            KeyChoice(
                key=key,
                probability=key.weight / total,
                reason=f"weight {key.weight:g} of {total:g} among {len(keys)} keys",
            )
            for key in keys
        )
    return _Pool(keys=keys, choices=choices, sums=sums)


def _draw(sums: tuple[float, ...], rng: random.Random) -> int:
    """An index with the probability of its weight. The last index also takes the float edge of the draw."""
    return bisect_right(sums, rng.random() * sums[-1], 0, len(sums) - 1)


def _cool_down(error: UpstreamError, strikes: int) -> tuple[str, float]:
    """Kind and length of the cool-down after ``strikes`` earlier ones in a row."""
    doubled = float(2 ** min(strikes, 30))
    hint = error.retry_after_s
    if not isinstance(error, UpstreamRateLimited):
        own = min(AUTH_MAX_S, AUTH_FIRST_S * doubled)
        return "auth", max(own, _clamped(hint))
    if error.quota_exhausted:
        own = min(MAX_COOL_S, QUOTA_FIRST_S * doubled)
        return "quota", max(own, _clamped(hint))
    if hint is not None:
        return "rate", _clamped(hint)
    return "rate", min(RATE_MAX_S, RATE_FIRST_S * doubled)


def _clamped(hint_s: float | None) -> float:
    return 0.0 if hint_s is None else min(MAX_COOL_S, max(MIN_COOL_S, hint_s))
