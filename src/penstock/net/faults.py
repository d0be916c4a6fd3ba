"""Network faults -> our errors. The one place that knows what the standard library and httptools can raise.

Rules: a message names host:port and what was being done; it never holds headers, bodies, credentials, or the text
of an error that might quote them (httptools' texts are constants of llhttp; OSError's come from the system).
"""

import socket
import ssl
from typing import Final

import httptools

from penstock.base.errors import (
    TimeoutPhase,
    UpstreamMalformed,
    UpstreamTimeout,
    UpstreamTruncated,
    UpstreamUnreachable,
)

SOCKET_FAULTS: Final = (OSError, UnicodeError)
"""What opening or using a socket can raise: ssl.SSLError and socket.gaierror are OSErrors; UnicodeError is IDNA's."""

PARSER_FAULTS: Final = (httptools.HttpParserError, httptools.HttpParserUpgrade)
"""What feeding a reply can raise; HttpParserUpgrade stands outside httptools' own tree."""


def unreachable(error: BaseException | None, where: str, doing: str) -> UpstreamUnreachable:
    """A socket's fault before the reply's head. ``doing`` completes "while …": "connecting", "sending"."""
    return UpstreamUnreachable(f"{where} cannot be reached: {_cause(error)} (while {doing}).")


def truncated(error: BaseException | None, where: str) -> UpstreamTruncated:
    """The connection ended inside the body."""
    cause = f": {_cause(error)}" if error else ""
    return UpstreamTruncated(f"{where} closed the connection before its reply was complete{cause}.")


def malformed(error: Exception, where: str) -> UpstreamMalformed:
    """A reply that is not HTTP/1.1."""
    if isinstance(error, httptools.HttpParserUpgrade):
        return UpstreamMalformed(f"{where} switched protocols, which was not asked for.")
    return UpstreamMalformed(f"{where} did not answer in HTTP/1.1: {error}.")


_TIMEOUTS: Final[dict[TimeoutPhase, str]] = {
    "connect": "No connection to {where} within {seconds:g} s.",
    "first_byte": "{where} sent no reply within {seconds:g} s.",
    "idle": "{where} fell silent for {seconds:g} s inside its reply.",
    "total": "The exchange with {where} was not complete within {seconds:g} s.",
}


def timed_out(phase: TimeoutPhase, where: str, seconds: float) -> UpstreamTimeout:
    """One of the four deadlines ran out."""
    return UpstreamTimeout(_TIMEOUTS[phase].format(where=where, seconds=seconds), phase=phase)


def _cause(error: BaseException | None) -> str:
    """A few words for the cause, from fields that cannot hold a secret."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"its certificate was refused, {getattr(error, 'verify_message', '') or 'verification failed'}"
    if isinstance(error, ssl.SSLError):
        reason = getattr(error, "reason", None)
        return f"TLS failed, {str(reason).lower().replace('_', ' ')}" if reason else "TLS failed"
    if isinstance(error, socket.gaierror):
        return f"its name has no address, {error.strerror or 'DNS failed'}"
    if isinstance(error, UnicodeError):
        return "its name is not a valid host name"
    if isinstance(error, ConnectionResetError | BrokenPipeError | ConnectionAbortedError):
        return "the connection was reset"
    if isinstance(error, ConnectionRefusedError):
        return "the connection was refused"
    if isinstance(error, OSError):
        return error.strerror or str(error) or type(error).__name__
    return "the connection was closed" if error is None else type(error).__name__
