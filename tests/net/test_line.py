"""The first step of a provider's bytes: in Python and in native code the same."""

from types import SimpleNamespace
from typing import Any

import pytest

from penstock.net.connection import Connection
from penstock.net.line import PythonLine, missing, native

KINDS: list[Any] = [PythonLine]
if native is not None:
    KINDS.append(native.Line)


@pytest.fixture(params=KINDS, ids=["python", "native"][: len(KINDS)])
def line(request):
    class Kept(request.param):
        def __init__(self) -> None:
            super().__init__()
            self.parsed: list[bytes] = []

        def received(self, data: bytes) -> None:
            self.parsed.append(data)

    return Kept()


def an_exchange() -> Any:
    failed: list[BaseException] = []
    return SimpleNamespace(touched=False, failed=failed, fail=failed.append)


@pytest.mark.skipif(native is None, reason=missing or "it is there")
def test_connections_use_native_code_where_it_was_built():
    assert native is not None
    assert issubclass(Connection, native.Line)


def test_without_an_exchange_or_a_shortcut_the_parser_reads(line):
    line.data_received(b"1")
    line.exchange = an_exchange()
    line.data_received(b"2")
    line.exchange, line.shortcut = None, lambda data: pytest.fail("asked without an exchange")
    line.data_received(b"3")
    assert line.parsed == [b"1", b"2", b"3"]


def test_what_the_shortcut_takes_is_not_parsed_and_counts_as_progress(line):
    line.exchange, line.shortcut = an_exchange(), lambda data: data == b"usual"
    line.data_received(b"odd")
    assert (line.parsed, line.exchange.touched) == ([b"odd"], False)
    line.data_received(b"usual")
    assert (line.parsed, line.exchange.touched) == ([b"odd"], True)


@pytest.mark.parametrize("error", [ValueError("a bug"), KeyboardInterrupt()], ids=["bug", "interrupt"])
def test_a_shortcut_that_raises_fails_the_exchange(line, error):
    """What is no Exception goes on its way as well."""

    def raising(data: bytes) -> bool:
        raise error

    line.exchange, line.shortcut = an_exchange(), raising
    if isinstance(error, Exception):
        line.data_received(b"1")
    else:
        with pytest.raises(KeyboardInterrupt):
            line.data_received(b"1")
    assert line.exchange.failed == [error]
    assert line.parsed == []
