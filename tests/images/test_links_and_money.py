"""Links that end, and what is held for pictures before they are made."""

import asyncio
import base64
import io
import json
import random

import pytest
from PIL import Image

from penstock.base.decisions import Rejected
from penstock.base.errors import UpstreamMalformed
from penstock.base.events import MediaMade
from penstock.dialects.openai_images import ImagesCaller
from penstock.gateway.pictures import BYTES, KIND, OWNER, converted, looked_up, signature
from penstock.gateway.purse import _quote_units
from penstock.wire.finish import Finish
from penstock.wiring.objects import keeper_at
from tests.images.kit import target


def test_a_link_opens_until_it_ends():
    """To the second, and with its own signature only."""

    async def run() -> None:
        keeper = keeper_at(":memory:")
        secret, name = "ab" * 32, "img_1"
        await keeper.put(KIND, name, OWNER, meta={"mime": "image/png", "secret": secret, "for": "alice"})
        await keeper.put(BYTES, name, "alice", meta={}, body=b"picture")
        right = signature(secret, name, 1000)
        assert await looked_up(keeper, name, "1000", right, 999.9) == ("image/png", b"picture")
        assert await looked_up(keeper, name, "1000", right, 1000.0) is None
        assert await looked_up(keeper, name, "1001", right, 999.0) is None
        assert await looked_up(keeper, "img_2", "1000", signature(secret, "img_2", 1000), 999.0) is None
        for odd in ("", "-1", "1e3", "9" * 40, "\u0661"):
            assert await looked_up(keeper, name, odd, right, 1.0) is None
        await keeper.aclose()

    asyncio.run(run())


@pytest.mark.parametrize(
    ("prices", "size", "most_usd"),
    [
        ({"image": "0.03"}, None, 0.12),
        ({"image": "0.03", "image:high:1024x1024": "0.2"}, "1024x1024", 0.8),
        ({"image": "0.025", "pixel": "0.00000003"}, "1024x1024", 4 * 1024 * 1024 * 3e-8),
    ],
)
def test_what_is_held_covers_what_can_be_billed(prices: dict[str, str], size: str | None, most_usd: float):
    """Of all kinds of a picture the dearest; of two names for one thing, one."""
    body = {"model": "m", "prompt": "p", "n": 4, **({"size": size} if size else {})}
    ask = ImagesCaller("generation", b"application/json", "").read_request(json.dumps(body).encode())
    to = target("fal", **prices)
    quote = _quote_units(ask, to, to.facts.price)
    assert not isinstance(quote, Rejected)
    assert quote.amount_nusd == pytest.approx(most_usd * 10**9, abs=1)


def test_a_key_with_a_budget_buys_no_picture_of_unknown_price():
    """What is not known cannot be held."""
    ask = ImagesCaller("generation", b"application/json", "").read_request(b'{"model": "m", "prompt": "p"}')
    to = target("replicate")
    assert isinstance(_quote_units(ask, to, to.facts.price), Rejected)


def test_a_damaged_picture_is_the_providers_fault():
    """Its data ends before its time, and no chunk begins there: Pillow calls that a SyntaxError."""
    drawn = io.BytesIO()
    Image.frombytes("RGB", (40, 40), random.Random(1).randbytes(4800)).save(drawn, "PNG")
    broken = bytearray(drawn.getvalue())
    at = broken.index(b"IDAT") - 4
    broken[at : at + 4] = (1000).to_bytes(4, "big")
    made = MediaMade("image", "image/png", base64.b64encode(broken).decode())
    with pytest.raises(UpstreamMalformed):
        converted(made, Finish(format="webp", width=4, height=4))
