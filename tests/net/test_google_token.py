"""Google access tokens: signed, shared, renewed before their end, and never shown."""

import asyncio
import base64
import json
from urllib.parse import parse_qs

import pytest
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa

from penstock.base.endpoint import parse_base_url
from penstock.base.errors import UpstreamAuthFailed, UpstreamTimeout, UpstreamUnreachable
from penstock.gateway.remote import access_token
from penstock.net.google_token import GoogleTokens
from penstock.net.transport import Transport, TransportSettings
from tests.net.raw_server import LOOPS, RawServer, settle

KEY = rsa.generate_private_key(public_exponent=65537, key_size=2048)
PEM = KEY.private_bytes(
    serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
).decode()
EMAIL = "vertex@project.iam.gserviceaccount.com"


class Clock:
    def __init__(self):
        self.now = 1000.0

    def monotonic_s(self):
        return self.now

    def unix_s(self):
        return 1_800_000_000.0 + self.now


def open_transport(url):
    return Transport(TransportSettings(parse_base_url(url)))


def account(url, **more):
    info = {"type": "service_account", "client_email": EMAIL, "private_key": PEM, "private_key_id": "kid-1"}
    return json.dumps({**info, "token_uri": url, **more}).encode()


def decoded(part):
    return json.loads(base64.urlsafe_b64decode(part + "=" * (-len(part) % 4)))


class TokenEndpoint:
    """Verifies the assertion as Google does, and hands out token-1, token-2, ..."""

    def __init__(self, *, lifetime=3600, delay_s=0.0):
        self.posts = 0
        self.lifetime = lifetime
        self.delay_s = delay_s
        self.refuse = None
        self.claims = {}
        self.url = ""

    async def __call__(self, link):
        while True:
            head, body = await link.request()
            self.posts += 1
            assert head.startswith(b"POST /oauth/token HTTP/1.1\r\n")
            assert b"content-type: application/x-www-form-urlencoded\r\n" in head
            form = parse_qs(body.decode())
            assert form["grant_type"] == ["urn:ietf:params:oauth:grant-type:jwt-bearer"]
            signed, _, signature = form["assertion"][0].rpartition(".")
            header, claims = map(decoded, signed.split("."))
            assert header == {"typ": "JWT", "alg": "RS256", "kid": "kid-1"}
            try:
                KEY.public_key().verify(
                    base64.urlsafe_b64decode(signature + "=="),
                    signed.encode(),
                    padding.PKCS1v15(),
                    hashes.SHA256(),
                )
            except InvalidSignature:
                raise AssertionError("the signature is wrong") from None
            self.claims = claims
            await asyncio.sleep(self.delay_s)
            status, answer = self.refuse or (
                200,
                {"access_token": f"token-{self.posts}", "expires_in": self.lifetime, "token_type": "Bearer"},
            )
            answer = answer if isinstance(answer, bytes) else json.dumps(answer).encode()
            await link.send(b"HTTP/1.1 %d X\r\ncontent-length: %d\r\n\r\n%b" % (status, len(answer), answer))


def with_tokens(use, loop=asyncio.run, **settings):
    async def main():
        endpoint = TokenEndpoint(**settings)
        async with RawServer(endpoint) as server:
            endpoint.url = server.url + "/oauth/token"
            clock = Clock()
            tokens = GoogleTokens(account(endpoint.url), open_transport, clock)
            try:
                await use(tokens, endpoint, clock)
            finally:
                await tokens.aclose()
                await settle()

    loop(main())


@pytest.mark.parametrize("loop", LOOPS)
def test_a_token_is_signed_for_and_kept(loop):
    async def use(tokens, endpoint, clock):
        assert await tokens.token() == "token-1"
        assert await tokens.token() == "token-1"
        assert endpoint.posts == 1
        assert endpoint.claims == {
            "iss": EMAIL,
            "aud": endpoint.url,
            "scope": "https://www.googleapis.com/auth/cloud-platform",
            "iat": int(clock.unix_s()),
            "exp": int(clock.unix_s()) + 3600,
        }

    with_tokens(use, loop)


def test_many_callers_are_one_post_and_one_who_leaves_does_not_spoil_it():
    async def use(tokens, endpoint, _clock):
        callers = [asyncio.ensure_future(tokens.token()) for _ in range(50)]
        await asyncio.sleep(0.01)
        callers[0].cancel()
        got = await asyncio.gather(*callers, return_exceptions=True)
        assert isinstance(got[0], asyncio.CancelledError)
        assert got[1:] == ["token-1"] * 49
        assert endpoint.posts == 1

    with_tokens(use, delay_s=0.05)


def test_five_minutes_before_its_end_it_is_renewed_behind_the_callers_back():
    async def use(tokens, endpoint, clock):
        await tokens.token()
        clock.now += 3600 - 301
        assert await tokens.token() == "token-1"
        await settle()
        assert endpoint.posts == 1
        clock.now += 2
        assert [await tokens.token() for _ in range(5)] == ["token-1"] * 5
        await asyncio.sleep(0.1)
        assert endpoint.posts == 2
        assert await tokens.token() == "token-2"
        clock.now += 3600
        assert await tokens.token() == "token-3"

    with_tokens(use, delay_s=0.02)


def test_a_failed_renewal_is_not_told_while_the_old_token_works_and_is_tried_again_later():
    async def use(tokens, endpoint, clock):
        await tokens.token()
        clock.now += 3400
        endpoint.refuse = (500, b"oops")
        for _ in range(5):
            assert await tokens.token() == "token-1"
            await settle()
        assert endpoint.posts == 2
        clock.now += 31
        assert await tokens.token() == "token-1"
        await settle()
        assert endpoint.posts == 3
        endpoint.refuse = None
        clock.now += 3600
        assert await tokens.token() == "token-4"

    with_tokens(use)


@pytest.mark.parametrize(
    ("status", "answer", "said"),
    [
        (
            400,
            {"error": "invalid_grant", "error_description": "Invalid JWT Signature."},
            "(400): invalid_grant Invalid JWT Signature.",
        ),
        (401, b"<html>no</html>", "(401)."),
        (400, {"error": "x", "error_description": "bad assertion eyJhbGciOi.sekrit"}, "(400)."),
        (503, b"", "(503)."),
    ],
)
def test_a_refusal_is_auth_failed_with_a_clean_sentence(status, answer, said):
    async def use(tokens, endpoint, _clock):
        endpoint.refuse = (status, answer)
        with pytest.raises(UpstreamAuthFailed) as caught:
            await tokens.token()
        assert str(caught.value) == f"Google gave no access token for {EMAIL} {said}"
        assert caught.value.upstream_status == status
        endpoint.refuse = None
        assert await tokens.token() == "token-2"

    with_tokens(use)


@pytest.mark.parametrize("answer", [b"{}", b"not json", b'{"access_token": 5}', b'{"id_token": "x"}'])
def test_an_answer_without_a_token_is_auth_failed(answer):
    async def use(tokens, endpoint, _clock):
        endpoint.refuse = (200, answer)
        with pytest.raises(UpstreamAuthFailed, match="held no access token"):
            await tokens.token()

    with_tokens(use)


def test_the_network_keeps_its_own_error():
    async def main():
        async with RawServer(TokenEndpoint()) as server:
            url = server.url
        tokens = GoogleTokens(account(url + "/oauth/token"), open_transport)
        with pytest.raises(UpstreamUnreachable):
            await tokens.token()
        await tokens.aclose()

    asyncio.run(main())


def test_nothing_secret_is_shown():
    async def use(tokens, _endpoint, _clock):
        token = await tokens.token()
        assert repr(tokens) == f"<GoogleTokens of {EMAIL}>"
        assert token not in repr(tokens)

    with_tokens(use)


def test_closing_stops_a_renewal_under_way():
    async def use(tokens, endpoint, _clock):
        waiting = asyncio.ensure_future(tokens.token())
        await asyncio.sleep(0.05)
        assert endpoint.posts == 1
        await tokens.aclose()
        with pytest.raises(UpstreamUnreachable, match="while it was being closed"):
            await waiting

    with_tokens(use, delay_s=30)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"sekrit",
        b"{}",
        b'{"client_email": "a", "private_key": 5}',
        json.dumps({"client_email": "a", "private_key": "sekrit"}).encode(),
        json.dumps({"client_email": "a", "private_key": PEM[:200] + "sekrit"}).encode(),
    ],
)
def test_a_file_that_is_no_service_account_is_a_sentence_and_is_not_quoted(content):
    with pytest.raises(ValueError, match=r"^This is not a Google service account") as caught:
        GoogleTokens(content, open_transport)
    assert "sekrit" not in str(caught.value)


def test_a_token_that_the_provider_refused_is_not_used_again():
    """Revoked before its hour was over: the next call asks for another; an older refusal does not take it away."""

    async def use(tokens, endpoint, _clock):
        first = await tokens.token()
        tokens.forget(first)
        assert await tokens.token() == "token-2"
        tokens.forget(first)
        assert await tokens.token() == "token-2"
        assert endpoint.posts == 2

    with_tokens(use)


def test_the_wait_for_a_token_ends_with_the_call():
    """Google's own deadlines are longer than what may be left of the call; the others still get the token."""

    async def use(tokens, endpoint, _clock):
        with pytest.raises(UpstreamTimeout) as caught:
            await access_token(tokens, 0.02)
        assert caught.value.phase == "total"
        assert await access_token(tokens, 5.0) == "token-1"
        assert endpoint.posts == 1

    with_tokens(use, delay_s=0.2)
