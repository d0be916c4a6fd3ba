"""A process that shares a file with the test: writes until it is killed, or does what the lines on stdin say."""

import asyncio
import json
import sys
import time

from penstock.blobs.blob import Blob, Place
from penstock.blobs.gdsf import Limits
from penstock.blobs.sqlite import SqliteBlobs
from penstock.blobs.tiers import Blobs

LIFE_MS = 3_600_000


def now_ms():
    return time.time_ns() // 1_000_000


def of(tenant, key, value=b"", about=b""):
    return Blob(Place("answer", tenant), key, value, now_ms(), now_ms() + LIFE_MS, 0, (), about)


def write_for_ever(path):
    store = SqliteBlobs(path, Limits.of(1 << 20, 1_000, 1 << 20), now_ms=now_ms)
    number = 0
    while True:
        number += 1
        store.put(of("t", b"%d" % (number % 500), b"%d " % number * 500, b"about"))
        if number % 7 == 0:
            store.drop(Place("answer", "t"), b"%d" % (number % 300))
        if number == 100:
            print("writing", flush=True)


async def obey(path):
    blobs = Blobs(
        Limits.of(1 << 20, 1_000),
        [("sqlite", lambda heard: SqliteBlobs(path, Limits.of(1 << 30, 10_000), now_ms=now_ms, heard=heard))],
        now_ms=now_ms,
        poll_s=0.02,
    )
    await blobs.open()
    print(json.dumps(blobs.secret().hex()), flush=True)
    while line := await asyncio.to_thread(sys.stdin.readline):
        what, *words = json.loads(line)
        answer = None
        match what:
            case "put":
                blobs.put(of(words[0], words[1].encode(), words[2].encode(), words[3].encode()))
                await blobs.flush()
            case "find":
                place = Place("answer", words[0])
                found = await blobs.find(place, words[1].encode(), now_ms(), within_s=20.0)
                answer = None if found is None else found.value.decode()
            case "near":
                found = blobs.near(Place("answer", words[0]), words[1].encode(), now_ms())
                answer = None if found is None else found.value.decode()
            case "drop":
                answer = await blobs.drop(Place("answer", words[0]), words[1].encode())
            case "purge":
                answer = await blobs.purge(tenant=words[0])
        print(json.dumps(answer), flush=True)
    await blobs.aclose()


if __name__ == "__main__":
    if sys.argv[1] == "write":
        write_for_ever(sys.argv[2])
    asyncio.run(obey(sys.argv[2]))
