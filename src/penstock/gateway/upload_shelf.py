"""What was uploaded to providers, in the ledger's database: looked up by content, deleted there when its time is over.

Theory
------
Two objects for each file. One has it in custody (``KIND``): it is written before the upload begins, says which provider, key
and name, and is work that is due when the file shall be deleted (server.upload_sweep). The other finds it again by what is in
it (``FOUND``), and expires when it may not be used any more. Two processes that upload the same file at once have two in
custody, of which one is found: both are deleted.

A process that is killed in the middle leaves custody of a file whose id it may never have learnt. Google's ids are ours to give,
so that it is deleted by its name; OpenAI and Anthropic are told with the upload when the file shall expire by itself.

Rules
- An owner is a virtual key: nothing of one is found by another (objects.store).
- Of a file's content nothing is kept but a keyed hash: the key is the provider's secret. So it is another file for another
  account, and for the same one after its secret was changed.
- A call that has begun with a file may end with it: it is deleted no sooner than the longest call takes.
"""

from hashlib import blake2b
from typing import Any

from msgspec import Struct

from penstock.base.bulk import unnumbered
from penstock.objects.keeper import Keeper
from penstock.objects.names import new_id
from penstock.objects.times import unix_ms
from penstock.wire.uploads import Uploaded

KIND = "upload"
FOUND = "uploaded"


class Known(Struct, frozen=True):
    """A file that is there, and the custody that it is in."""

    file: Uploaded
    custody: str


class Custody(Struct, frozen=True):
    """A file that is being brought to a provider."""

    id: str
    until_ms: int
    meta: dict[str, Any]


def content_key(provider: str, secret: str, mime: str, filename: str, data: bytes) -> str:
    """The name under which a file is found again. ``data``: its base64 in JSON, tokens and all."""
    hasher = blake2b(key=blake2b(secret.encode()).digest(), digest_size=24)
    words = (one.encode("utf-8", "replace") for one in (provider, mime, filename))
    for one in (*words, unnumbered(data)):
        hasher.update(b"%d:" % len(one))
        hasher.update(one)
    return hasher.hexdigest()


class Shelf:
    """One virtual key's uploads. Raises what the database raises."""

    def __init__(self, keeper: Keeper, owner: str) -> None:
        self._keeper = keeper
        self._owner = owner

    async def find(self, key: str) -> Known | None:
        """One that may be used."""
        stored = await self._keeper.get(FOUND, key, self._owner)
        return (
            None
            if stored is None
            else Known(Uploaded(stored.meta["file"], stored.meta["uri"]), stored.meta["custody"])
        )

    async def begin(
        self, provider: str, key_name: str, *, keep_s: int, longest_call_s: int, file: str, gone_s: int
    ) -> Custody:
        """Before it is brought there. ``file``: what it will be called, where that is known; ``gone_s``: when it expires by itself."""
        now_ms = unix_ms()
        until_ms = now_ms + keep_s * 1000
        meta = {
            "provider": provider,
            "key": key_name,
            "file": file,
            "tries": 0,
            "gone_ms": now_ms + gone_s * 1000,
        }
        custody = Custody(new_id("upl_"), until_ms, meta)
        due_ms = until_ms + longest_call_s * 1000
        await self._keeper.put(KIND, custody.id, self._owner, meta=meta, due_ms=due_ms)
        return custody

    async def keep(self, key: str, custody: Custody, file: Uploaded) -> Known:
        """It is there."""
        stored = await self._keeper.get(KIND, custody.id, self._owner)
        if stored is not None:
            meta = {**stored.meta, "file": file.id}
            await self._keeper.change(KIND, custody.id, self._owner, meta, version=stored.version)
        found = {"file": file.id, "uri": file.uri, "custody": custody.id}
        await self._keeper.put(FOUND, key, self._owner, meta=found, expires_ms=custody.until_ms)
        return Known(file, custody.id)

    async def drop(self, key: str, known: Known) -> None:
        """The provider has it no more."""
        again = await self._keeper.get(FOUND, key, self._owner)
        if again is not None and again.meta["custody"] == known.custody:
            await self._keeper.delete(FOUND, key, self._owner)
        await self._keeper.delete(KIND, known.custody, self._owner)

    async def give_up(self, custody: Custody) -> None:
        """It did not get there, as far as is known: what did is deleted soon."""
        stored = await self._keeper.get(KIND, custody.id, self._owner)
        if stored is not None:
            await self._keeper.change(
                KIND, custody.id, self._owner, stored.meta, version=stored.version, due_ms=unix_ms()
            )
