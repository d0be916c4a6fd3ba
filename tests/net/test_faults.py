"""Every fault of the libraries below has a place in our tree: nothing of theirs comes through."""

import asyncio
import socket
import ssl
from unittest import mock

import httptools
import pytest
from httptools.parser import errors as httptools_errors

from penstock.base.endpoint import parse_base_url
from penstock.base.errors import UpstreamError, UpstreamMalformed, UpstreamTruncated, UpstreamUnreachable
from penstock.net.dial import Dialer
from penstock.net.faults import PARSER_FAULTS, SOCKET_FAULTS, malformed, truncated, unreachable


def _tree(kind):
    return {kind}.union(*(_tree(sub) for sub in kind.__subclasses__()))


# Other libraries in the test process add their own OSErrors; ours are those of the interpreter.
SOCKET = sorted(
    (
        k
        for k in _tree(OSError) | _tree(UnicodeError)
        if k.__module__ in {"builtins", "socket", "ssl", "_ssl"}
    ),
    key=lambda k: k.__name__,
)
PARSER = [v for v in vars(httptools_errors).values() if isinstance(v, type) and issubclass(v, Exception)]


def _made(kind):
    if kind is UnicodeDecodeError:
        return kind("idna", b"sekrit", 0, 1, "bad label")
    if kind is UnicodeEncodeError:
        return kind("idna", "sekrit", 0, 1, "bad label")
    if kind is UnicodeTranslateError:
        return kind("sekrit", 0, 1, "bad label")
    return kind(5, "Some system text") if issubclass(kind, OSError) else kind("text")


def test_the_list_of_socket_faults_is_not_empty_and_holds_the_well_known():
    assert {
        ssl.SSLError,
        ssl.SSLCertVerificationError,
        socket.gaierror,
        ConnectionResetError,
        TimeoutError,
    } <= set(SOCKET)


@pytest.mark.parametrize("kind", SOCKET)
def test_every_socket_fault_while_dialling_is_unreachable(kind):
    assert issubclass(kind, SOCKET_FAULTS)

    async def main():
        dialer = Dialer(parse_base_url("http://api.example:81"), None, None)
        loop = asyncio.get_running_loop()
        with (
            mock.patch.object(loop, "create_connection", side_effect=_made(kind)),
            pytest.raises(UpstreamUnreachable) as caught,
        ):
            await dialer.open(mock.Mock(where="api.example:81"))
        assert str(caught.value).startswith("api.example:81 cannot be reached: ")
        assert "sekrit" not in str(caught.value)

    asyncio.run(main())


@pytest.mark.parametrize("kind", SOCKET)
def test_every_socket_fault_has_its_sentence_at_each_place(kind):
    for error in (unreachable(_made(kind), "h:1", "connecting"), truncated(_made(kind), "h:1")):
        assert isinstance(error, UpstreamError)
        assert "h:1" in str(error)
        assert str(error).endswith(".")


@pytest.mark.parametrize("kind", [ssl.SSLError, socket.gaierror, OSError, ssl.SSLCertVerificationError])
def test_a_fault_without_words_still_makes_a_sentence(kind):
    assert str(unreachable(kind(), "h:1", "connecting")).startswith("h:1 cannot be reached: ")


@pytest.mark.parametrize("kind", PARSER)
def test_every_parser_fault_is_malformed(kind):
    assert issubclass(kind, PARSER_FAULTS)
    assert isinstance(malformed(kind("text"), "h:1"), UpstreamMalformed)


def test_httptools_has_no_fault_that_we_do_not_know():
    exported = {v for v in vars(httptools).values() if isinstance(v, type) and issubclass(v, Exception)}
    assert exported == set(PARSER)
    assert all(issubclass(kind, PARSER_FAULTS) for kind in exported)


def test_a_reset_inside_the_body_says_so():
    assert isinstance(truncated(ConnectionResetError(104, "x"), "h:1"), UpstreamTruncated)
    assert "reset" in str(truncated(ConnectionResetError(104, "x"), "h:1"))
