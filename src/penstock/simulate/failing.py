"""From a vendor's reply and the faults that hit it to the steps that go on the wire.

Theory
------
A stream is an iterator of frames, and each fault wraps it: it drops, changes or inserts frames, or gives an order
(CUT, RESET, HANG, PAUSE). What touches the bytes rather than the events comes last, in this order whatever the order
of the faults: line ends, encoding, splitting. A whole body gets the few faults that make sense for it.
"""

import zlib
from collections.abc import Callable, Iterator
from email.utils import formatdate
from itertools import chain, repeat
from typing import Protocol, cast

import brotli

from penstock.simulate.faults import Fault
from penstock.simulate.http1 import Op, Step, head_bytes
from penstock.simulate.reply import Call, Frame, Frames, Kind, Pace, Quirks, Refused, Reply, Speaker
from penstock.wire.http import Headers

HTML_PAGE = (
    b"<html>\r\n<head><title>502 Bad Gateway</title></head>\r\n<body>\r\n<center><h1>502 Bad Gateway</h1></center>"
    b"\r\n<hr><center>cloudflare</center>\r\n</body>\r\n</html>\r\n"
)
PLAIN_TEXT = (
    b"upstream connect error or disconnect/reset before headers. reset reason: connection termination"
)
_ENCODINGS = {"gzip": b"gzip", "deflate": b"deflate", "br": b"br"}


def quirks_of(faults: tuple[Fault, ...]) -> Quirks:
    """The faults that the dialect itself must render."""
    usage = model = terminal = ""
    role_only = huge = 0
    for fault in faults:
        match fault.kind:
            case "bad_usage":
                usage = fault.mode or "inconsistent"
            case "model_drift":
                model = fault.name or "another-model"
            case "terminal_split":
                terminal = fault.mode or "split"
            case "role_only":
                role_only = fault.times or 1
            case "huge_event":
                huge = fault.bytes or 256 * 1024
            case _:
                pass
    return Quirks(usage, model, terminal, role_only, huge)


def instead(fault: Fault, call: Call, speaker: Speaker) -> Reply | Op | None:
    """What an exclusive fault answers in place of the vendor: a reply, or an order; None for the other kinds."""
    match fault.kind:
        case "hang":
            return Op.HANG
        case "early_close":
            return Op.CUT
        case "reset":
            return None if fault.after else Op.RESET
        case "html":
            page = HTML_PAGE if fault.body is None else fault.body.encode()
            return Reply(fault.status or 502, _extra(fault, b"text/html"), page)
        case "plain_text":
            text = PLAIN_TEXT if fault.body is None else fault.body.encode()
            return Reply(fault.status or 502, _extra(fault, b"text/plain"), text)
        case "error_in_200":
            reply = speaker.refuse(_refused(fault, fault.status or 429), call)
            return Reply(200, [*reply.headers, *_extra(fault)], reply.body)
        case "status":
            return _status(fault, call, speaker)
        case _:
            return None


def _status(fault: Fault, call: Call, speaker: Speaker) -> Reply:
    reply = speaker.refuse(_refused(fault, fault.status or 500), call)
    extra = [*_extra(fault), *_retry_headers(fault, call)]
    told = {name for name, _ in extra}
    reply.headers = [*(pair for pair in reply.headers if pair[0] not in told), *extra]
    if fault.body is not None:
        reply.body = fault.body.encode()
    return reply


def _refused(fault: Fault, status: int) -> Refused:
    told = fault.retry_after_s if fault.retry_after_as == "retry_info" else None
    return Refused(status, fault.message, code=fault.code, retry_after_s=told)


def _extra(fault: Fault, content_type: bytes = b"") -> Headers:
    headers: Headers = [(b"content-type", content_type)] if content_type else []
    headers += [
        (name.lower().encode("latin-1"), text.encode("latin-1")) for name, text in fault.headers.items()
    ]
    return headers


def _retry_headers(fault: Fault, call: Call) -> Headers:
    wait_s = fault.retry_after_s
    if wait_s is None:
        return []
    match fault.retry_after_as:
        case "seconds":
            return [(b"retry-after", b"%g" % wait_s)]
        case "ms":
            return [(b"retry-after-ms", b"%g" % (wait_s * 1000))]
        case "date":
            return [(b"retry-after", formatdate(call.unix_s + wait_s, usegmt=True).encode())]
        case "reset":
            return [
                (b"x-ratelimit-remaining-requests", b"0"),
                (b"x-ratelimit-reset-requests", b"%dms" % round(wait_s * 1000)),
            ]
        case "retry_info":
            return []


def steps_of(
    reply: Reply,
    faults: tuple[Fault, ...],
    call: Call,
    speaker: Speaker,
    pace: Pace,
    *,
    keep_alive: bool,
    chunked: bool,
) -> Iterator[Step]:
    """The steps of a reply. ``chunked`` False: a stream's body ends with the connection."""
    wait_s = pace.ttft_s + sum(fault.ms for fault in faults if fault.kind == "slow_head") / 1000
    encode, encoding = _encoder(faults)
    headers = reply.headers if encoding is None else [*reply.headers, (b"content-encoding", encoding)]
    if reply.frames is None:
        wait_s += reply.tokens * pace.per_token_s
        body = _bend_body(reply.body, faults)
        body = body if encode is None else encode(body) + encode(b"")
        yield Step(
            wait_s,
            Op.RAW,
            head_bytes(reply.status, headers, length=len(body), chunked=False, keep_alive=keep_alive),
        )
        yield from _whole_steps(body, faults)
        return
    head = head_bytes(reply.status, headers, length=None, chunked=chunked, keep_alive=keep_alive)
    yield Step(wait_s, Op.RAW, head)
    frames = reply.frames
    for fault in sorted(faults, key=_touches_bytes):
        if fault.kind in ("error_first_frame", "error_mid_stream"):
            frames = _error_at(frames, fault, call, speaker)
        elif fault.kind in _WRAPS:
            frames = _WRAPS[fault.kind](frames, fault)
    split = next((fault for fault in faults if fault.kind == "split"), None)
    yield from _frame_steps(frames, pace, encode, split)


def _touches_bytes(fault: Fault) -> bool:
    return fault.kind in ("crlf", "no_blank_line_at_end")


def _frame_steps(
    frames: Frames, pace: Pace, encode: Callable[[bytes], bytes] | None, split: Fault | None
) -> Iterator[Step]:
    per_token_s = pace.per_token_s
    first = True
    for frame in frames:
        kind, data, tokens, wait_s = frame
        if tokens:
            if not first:
                wait_s += tokens * per_token_s
            first = False
        if kind >= Kind.CUT:
            if kind is not Kind.PAUSE:
                yield Step(wait_s, _ORDERS[kind])
                return
            yield Step(wait_s, Op.RAW)
            continue
        if encode is not None:
            data = encode(data)
        if split is None:
            yield Step(wait_s, Op.BODY, data)
        else:
            yield from _pieces(data, split, wait_s)
    if encode is not None:
        yield Step(0.0, Op.BODY, encode(b""))
    yield Step(0.0, Op.END)


_ORDERS = {Kind.CUT: Op.CUT, Kind.RESET: Op.RESET, Kind.HANG: Op.HANG}


def _pieces(data: bytes, split: Fault, wait_s: float) -> Iterator[Step]:
    size = max(1, split.bytes or 1)
    for start in range(0, len(data), size):
        yield Step(wait_s, Op.BODY, data[start : start + size])
        wait_s = split.ms / 1000


def _whole_steps(body: bytes, faults: tuple[Fault, ...]) -> Iterator[Step]:
    half = len(body) // 2
    for fault in faults:
        match fault.kind:
            case "hang_after_head":
                yield Step(0.0, Op.HANG)
                return
            case "close_mid_stream" | "close_before_terminal":
                yield Step(0.0, Op.BODY, body[:half])
                yield Step(0.0, Op.CUT)
                return
            case "reset":
                yield Step(0.0, Op.BODY, body[:half])
                # A reset throws away what the caller has not read yet; give it a moment, as a network would.
                yield Step(0.05, Op.RESET)
                return
            case "stall":
                yield Step(0.0, Op.BODY, body[:half])
                if not fault.ms:
                    yield Step(0.0, Op.HANG)
                    return
                yield Step(fault.ms / 1000, Op.BODY, body[half:])
                return
            case "split":
                yield from _pieces(body, fault, 0.0)
                return
            case _:
                pass
    yield Step(0.0, Op.BODY, body)


def _bend_body(body: bytes, faults: tuple[Fault, ...]) -> bytes:
    for fault in faults:
        if fault.kind == "malformed":
            return body[: len(body) * 2 // 3]
    return body


def _encoder(faults: tuple[Fault, ...]) -> tuple[Callable[[bytes], bytes] | None, bytes | None]:
    """How the body is encoded, and what the header says; a call with b"" ends the encoding."""
    for fault in faults:
        said = fault.name.encode() if fault.name else None
        match fault.kind:
            case "wrong_encoding_header":
                return None, said or b"gzip"
            case "gzip":
                return _zlib_encoder(zlib.MAX_WBITS | 16), _said(fault, said)
            case "deflate":
                # RFC 9110 means zlib's format; ``mode: raw`` is what some servers send instead.
                return _zlib_encoder(-zlib.MAX_WBITS if fault.mode == "raw" else zlib.MAX_WBITS), _said(
                    fault, said
                )
            case "br":
                return _brotli_encoder(), _said(fault, said)
            case _:
                pass
    return None, None


def _said(fault: Fault, said: bytes | None) -> bytes | None:
    if fault.name == "none":
        return None
    return said or _ENCODINGS[fault.kind]


def _zlib_encoder(window_bits: int) -> Callable[[bytes], bytes]:
    encoder = zlib.compressobj(wbits=window_bits)

    def encode(data: bytes) -> bytes:
        return encoder.compress(data) + encoder.flush(zlib.Z_SYNC_FLUSH) if data else encoder.flush()

    return encode


class _Compressor(Protocol):
    """brotli's, which comes without types."""

    def process(self, data: bytes, /) -> bytes: ...

    def flush(self) -> bytes: ...

    def finish(self) -> bytes: ...


def _brotli_encoder() -> Callable[[bytes], bytes]:
    encoder = cast("_Compressor", brotli.Compressor(quality=4))  # pyright: ignore[reportUnknownMemberType]

    def encode(data: bytes) -> bytes:
        return encoder.process(data) + encoder.flush() if data else encoder.finish()

    return encode


# Faults of a stream: each takes frames and gives frames.


def _after(frames: Frames, fault: Fault, then: Callable[[Frames], Frames]) -> Frames:
    """Frames until ``fault.after`` content frames have passed; then what ``then`` makes of the rest."""
    passed = 0
    for frame in frames:
        if frame.kind is Kind.CONTENT or frame.kind is Kind.FINISH:
            if passed >= fault.after:
                yield from then(chain((frame,), frames))
                return
            passed += 1
        yield frame


def _cut_mid(frames: Frames, fault: Fault) -> Frames:
    end = () if fault.clean else (Frame(Kind.CUT, b""),)
    return _after(frames, fault, lambda _: iter(end))


def _reset_mid(frames: Frames, fault: Fault) -> Frames:
    # A reset throws away what the caller has not read yet; give it a moment, as a network would.
    return _after(frames, fault, lambda _: iter((Frame(Kind.RESET, b"", 0, 0.05),)))


def _hang_at_head(_frames: Frames, _fault: Fault) -> Frames:
    return iter((Frame(Kind.HANG, b""),))


def _cut_before_terminal(frames: Frames, fault: Fault) -> Frames:
    for frame in frames:
        if frame.kind in (Kind.FINISH, Kind.USAGE, Kind.DONE):
            continue
        yield frame
    if fault.clean is False:
        yield Frame(Kind.CUT, b"")


def _without_done(frames: Frames, fault: Fault) -> Frames:
    yield from (frame for frame in frames if frame.kind is not Kind.DONE)
    if fault.clean is False:
        yield Frame(Kind.CUT, b"")


def _stall(frames: Frames, fault: Fault) -> Frames:
    pause = Frame(Kind.PAUSE, b"", 0, fault.ms / 1000) if fault.ms else Frame(Kind.HANG, b"")
    return _after(frames, fault, lambda rest: chain((pause,), rest))


def _heartbeats(frames: Frames, fault: Fault) -> Frames:
    ping = Frame(Kind.OPEN, b": ping\n\n", 0, (fault.ms or 1.0) / 1000)
    pings = repeat(ping) if fault.forever else repeat(ping, fault.times or 3)
    return _after(frames, fault, lambda rest: chain(pings, rest))


def _malformed(frames: Frames, fault: Fault) -> Frames:
    passed = 0
    for frame in frames:
        if frame.kind is Kind.CONTENT:
            if passed == fault.after:
                yield frame._replace(data=_break_json(frame.data))
                passed += 1
                continue
            passed += 1
        yield frame


def _break_json(data: bytes) -> bytes:
    """The frame with its JSON cut in the middle; line ends and the rest of the framing stay."""
    body = data.rstrip(b"\r\n")
    return body[: len(body) * 2 // 3] + data[len(body) :]


def _error_at(frames: Frames, fault: Fault, call: Call, speaker: Speaker) -> Frames:
    """The vendor's error as the first frame, or after some; nothing comes after it."""
    first = fault.kind == "error_first_frame" or not fault.after
    error = Frame(Kind.DONE, speaker.error_frame(_refused(fault, fault.status or 529), call, first=first))
    if fault.kind == "error_first_frame":
        return iter((error,))
    return _after(frames, fault, lambda _: iter((error,)))


def _crlf(frames: Frames, _fault: Fault) -> Frames:
    for frame in frames:
        yield frame._replace(data=frame.data.replace(b"\r\n", b"\n").replace(b"\n", b"\r\n"))


def _no_blank_line(frames: Frames, _fault: Fault) -> Frames:
    held: Frame | None = None
    for frame in frames:
        if held is not None:
            yield held
        held = frame
    if held is not None:
        yield held._replace(data=held.data.rstrip(b"\r\n"))


_WRAPS: dict[str, Callable[[Frames, Fault], Frames]] = {
    "close_mid_stream": _cut_mid,
    "reset": _reset_mid,
    "hang_after_head": _hang_at_head,
    "close_before_terminal": _cut_before_terminal,
    "no_done": _without_done,
    "stall": _stall,
    "heartbeats": _heartbeats,
    "malformed": _malformed,
    "crlf": _crlf,
    "no_blank_line_at_end": _no_blank_line,
}
