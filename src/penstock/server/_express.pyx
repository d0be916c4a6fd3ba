# cython: language_level=3, boundscheck=False, wraparound=False, nonecheck=False, cdivision=True, binding=False
"""The express lane: calls that are like one that the short lane has served. See express.py, which decides what is like.

Rules
- Nothing is decided here that the short lane (gateway.lane) would decide otherwise: the same tests serve every scenario
  without the lanes, by the short lane and by this one.
- ``take`` takes nothing before it is sure. What does not fit is left to the short lane, untouched.
- ``answer`` reads a reply only if it is whole, plain and understood; else the parser reads it, and the short lane goes on
  with the call (``express.to_lane``).
"""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from cpython.unicode cimport PyUnicode_DecodeUTF8
from libc.math cimport ceil
from libc.stdint cimport int64_t, uint64_t
from libc.string cimport memchr, memcmp, memcpy

from os import urandom
from time import monotonic

from msgspec.json import Encoder
from msgspec.structs import astuple

from penstock.net.exchange import Exchange
from penstock.net.transport import TICK_S
from penstock.server.http1 import HttpReply
from penstock.server.reading import Request

cdef extern from "string.h" nogil:
    void *memmem(const void *haystack, size_t haystacklen, const void *needle, size_t needlelen)

cdef extern from *:
    """
    #ifndef PENSTOCK_SOURCES
    #define PENSTOCK_SOURCES ""
    #endif
    """
    const char *PENSTOCK_SOURCES

SOURCES = PENSTOCK_SOURCES.decode("ascii")  # a digest of what this was built of (hatch_build.py)

cdef enum:
    PUT_BY = 128  # ledger.journal's, like the two that follow
    BEHIND_RECORDS = 256
    GIVE_WAY_EVERY = 16
    MAX_DIGITS = 12
    MAX_DEPTH = 64
    MAX_HEAD_BYTES = 16384
    LEARNABLE_TOKENS = 16
cdef int64_t MOST_TOKENS = 1 << 31  # times a price below 2^31 (express.py sees to it), nothing overflows
cdef object MAX_REPLY_BYTES = 512 * 1024 * 1024
cdef object encode = Encoder().encode

include "_express_scan.pxi"

include "_express_words.pxi"

include "_express_turns.pxi"


# Calls.

cdef class Tally:
    """What was counted of calls like one another since it was asked last. Histograms as observe.metrics has them."""

    cdef readonly int64_t calls, input, cached, output, thought, cost_nusd
    cdef readonly double duration_s, first_token_s, overhead_s
    cdef readonly list durations, first_tokens, overheads
    cdef tuple duration_bounds, first_token_bounds, overhead_bounds

    def __init__(self, tuple durations, tuple first_tokens, tuple overheads):
        self.duration_bounds, self.first_token_bounds, self.overhead_bounds = durations, first_tokens, overheads
        self.clear()

    cpdef clear(self):
        """Begin anew."""
        self.calls = self.input = self.cached = self.output = self.thought = self.cost_nusd = 0
        self.duration_s = self.first_token_s = self.overhead_s = 0.0
        self.durations = [0] * (len(self.duration_bounds) + 1)
        self.first_tokens = [0] * (len(self.first_token_bounds) + 1)
        self.overheads = [0] * (len(self.overhead_bounds) + 1)

    cdef void add(self, Reading reading, int64_t cost_nusd, double duration_s, double first_s, double overhead_s):
        self.calls += 1
        self.input += reading.input
        self.cached += reading.cached
        self.output += reading.output
        self.thought += reading.thought
        self.cost_nusd += cost_nusd
        self.duration_s += duration_s
        self.first_token_s += first_s
        self.overhead_s += overhead_s
        count(self.durations, self.duration_bounds, duration_s)
        count(self.first_tokens, self.first_token_bounds, first_s)
        count(self.overheads, self.overhead_bounds, overhead_s)


cdef void count(list counts, tuple bounds, double value):
    cdef Py_ssize_t i = 0, n = len(bounds)
    while i < n and <double>bounds[i] < value:
        i += 1
    counts[i] = <object>counts[i] + 1


cdef class Shape:
    """What calls have in common that are like one that the short lane has served."""

    cdef public object app, house, limits, toll, hold_of, planned, provider, keys, transport, health, ratios, journal, rows
    cdef public object form, principal, deadlines, unix_s, caller, method, url, told, as_lane, random, decode, tiers, stops
    cdef public str model, target, asked, trace_id, stage
    cdef public str client_request_id, adjusted, meta_json, user, priority
    cdef public bytes lines_1, head_prefix, head_suffix, before, after, out_before, out_after, served_by, more, also
    cdef public dict ways, pending, moulds
    cdef public list drawn
    """The ways in the order of the keys, and ``sums``, the running sums of their weights."""
    cdef public tuple sums
    cdef public Tally tally
    cdef public double expires_unix_s, small_tokens, connect_s, total_s, first_byte_s
    cdef public int64_t max_body, extra_bytes, in_pico, in_per, out_pico, out_per, tier_above
    cdef public int64_t cached_pico, cached_per, thought_pico, thought_per
    cdef public bint hour_matters, takes_alike

    def __repr__(self):
        """Without the bytes: they hold a credential and people's words."""
        return f"<Shape of {self.asked}>"


def take(object conn, Shape shape, bytes data):
    """Serve the request that ``data`` is, if it is like the shape's; else False, and nothing has happened."""
    cdef Py_ssize_t n = PyBytes_GET_SIZE(data), p = PyBytes_GET_SIZE(shape.head_prefix), at, size, start, end, body_at
    cdef const char *s = PyBytes_AS_STRING(data)
    cdef Py_ssize_t length = 0
    cdef bytes words = data
    cdef double now_s, unix_s
    cdef object reader = conn.reader, app = shape.app, house = shape.house
    if (
        n <= p
        or memcmp(s, PyBytes_AS_STRING(shape.head_prefix), p) != 0
        or conn._current is not None
        or reader.reading is not None
        or app.house is not house
        or app.draining
        or conn._clogged
        or conn.transport is None
    ):
        return False
    at = p
    while at < n and at - p < MAX_DIGITS and 48 <= s[at] <= 57:
        length = length * 10 + s[at] - 48
        at += 1
    size = PyBytes_GET_SIZE(shape.head_suffix)
    if at == p or n - at <= size or memcmp(s + at, PyBytes_AS_STRING(shape.head_suffix), size) != 0:
        return False
    body_at = at + size
    if n - body_at != length or length > shape.max_body:
        return False
    size = PyBytes_GET_SIZE(shape.before)
    start = body_at + size
    end = n - PyBytes_GET_SIZE(shape.after)
    if (
        end - start < 2
        or s[start] != 91
        or memcmp(s + body_at, PyBytes_AS_STRING(shape.before), size) != 0
        or memcmp(s + end, PyBytes_AS_STRING(shape.after), n - end) != 0
        or (shape.hour_matters and asks_for_more(s + start, end - start))
    ):
        return False
    if shape.moulds is not None:
        words = turns_of(s, start, end)
        if words is None:
            return False
        start, end = 0, PyBytes_GET_SIZE(words)
    elif (
        skip_value(<const unsigned char *>s, start, end, 0) != end
        or s[skip_space(<const unsigned char *>s, start + 1, end)] == 93
        or has_media(s + body_at, length)
    ):
        return False
    now_s = monotonic()
    unix_s = shape.unix_s()
    if shape.expires_unix_s >= 0 and unix_s >= shape.expires_unix_s:
        return False
    try:
        return _begin(conn, shape, data[body_at:], words, start, end, now_s, unix_s)
    except Exception as error:
        app.log.failure("express.failed", error)
        return False


cdef bint _begin(
    object conn, Shape shape, bytes body, bytes words, Py_ssize_t start, Py_ssize_t end, double now_s, double unix_s
) except -1:
    """The request is like the shape's, its conversation, as it leaves, stands in ``words``. Is all in order that it needs?"""
    cdef object records = shape.health._records, ratio, idle, up, sock, hold
    cdef str id
    cdef Py_ssize_t size = PyBytes_GET_SIZE(body)
    cdef int64_t tokens, input_bytes = size - PyBytes_GET_SIZE(shape.before) - PyBytes_GET_SIZE(shape.after) + shape.extra_bytes
    cdef Way way
    cdef Call call
    if (
        (records and not shape.health.untroubled(shape.planned.targets))
        or shape.keys._cooling
        or len(<list>shape.rows) >= shape.journal.max_queue
    ):
        return False
    ratio = (<dict>shape.ratios).get(shape.model)
    tokens = <int64_t>ceil(input_bytes / (4.0 if ratio is None else <double>ratio.bytes_per_token))
    if tokens < 1:
        tokens = 1
    if tokens >= shape.small_tokens:
        return False
    way = way_of(shape, now_s)
    if way is None:
        return False
    idle = shape.transport._idle  # always the same list
    if not idle:
        return False
    up = (<list>idle)[len(<list>idle) - 1]
    sock = up.transport
    if sock is None or now_s >= <double>up.expires_s or sock.is_closing():
        return False
    id = request_id(unix_s)
    hold = charge(shape, id, size, tokens, now_s)
    if hold is False:
        return False
    call = Call.__new__(Call)
    call.hold = hold
    call.shape, call.way, call.conn, call.up = shape, way, conn, up
    call.received_s, call.unix_s = now_s, unix_s
    call.tokens = tokens
    call.input_bytes = input_bytes
    call.id = id
    try:
        call.body = body
    except BaseException:
        pay(call, 0, 0, now_s)
        raise
    (<list>idle).pop()
    shape.app.inflight += 1
    conn.last_s = now_s
    conn._current = conn._reply = conn._task = call
    try:
        call.send(words, start, end, sock)
    except Exception as error:
        call.broke(error)
    return True


cdef class Call:
    """One call on the express lane. ``cancel`` when its caller has gone (gateway.lane.Cancels)."""

    cdef readonly Shape shape
    cdef readonly Way way
    cdef readonly object conn, up, reply, exchange, hold
    cdef readonly bytes body
    cdef readonly str id
    cdef readonly double received_s, unix_s, start_s
    cdef readonly int64_t tokens, input_bytes
    cdef readonly bint gone, paid

    def __repr__(self):
        """Without what it knows of secrets."""
        return f"Call({self.id})"

    # It stands for its request and its reply on the caller's connection, until it is handed over (server.http1).
    ended = False
    on_pause = on_resume = None

    cdef send(self, bytes words, Py_ssize_t start, Py_ssize_t end, object sock):
        """To the provider: transport.Transport.begin and connection.Connection.begin, written out."""
        cdef Shape shape = self.shape
        cdef bytes block = self.way.block, before = shape.out_before, after = shape.out_after, head
        cdef Py_ssize_t nb = PyBytes_GET_SIZE(before), na = PyBytes_GET_SIZE(after), nk = PyBytes_GET_SIZE(block)
        cdef Py_ssize_t middle = end - start, size = nb + middle + na
        cdef char digits[32]
        cdef Py_ssize_t nd = put(put_int(digits, size), b"\r\n\r\n", 4) - digits
        cdef char *out
        cdef double now_s = monotonic()
        cdef object transport = shape.transport, up = self.up, exchange
        head = PyBytes_FromStringAndSize(NULL, nk + nd + size)
        out = PyBytes_AS_STRING(head)
        memcpy(out, PyBytes_AS_STRING(block), nk)
        memcpy(out + nk, digits, nd)
        out += nk + nd
        memcpy(out, PyBytes_AS_STRING(before), nb)
        memcpy(out + nb, PyBytes_AS_STRING(words) + start, middle)
        memcpy(out + nb + middle, PyBytes_AS_STRING(after), na)
        exchange = Exchange(
            transport, head, b"", shape.deadlines, now_s, now_s + shape.connect_s, now_s + shape.total_s, shape.first_byte_s
        )
        exchange.listener = self.over
        exchange.reading = True
        exchange.limit = MAX_REPLY_BYTES
        exchange.connection = up
        exchange.reused = True
        exchange.phase = "first_byte"
        exchange.touched = True
        self.exchange = exchange
        self.start_s = now_s
        (<set>transport._active).add(exchange)
        if not transport._sweeping:
            transport._sweeping = True
            transport._swept_s = now_s
            transport._loop.call_later(TICK_S, transport._sweep)
        transport.reused_total += 1
        up.exchange = exchange
        up._began_s = now_s
        up._barren = 0
        up._in_body = up._framed = up._complete = up._keep = up._seam = False
        up.shortcut = self.answer
        sock.write(head)

    def answer(self, bytes data):
        """The provider's first bytes (net.connection: a shortcut). True: they are the whole reply, and it is dealt with."""
        cdef object up = self.up, chunk, body, now
        cdef Reading reading
        up.shortcut = None  # from here on the parser reads
        if self.gone or up._heads:
            return False
        body = body_of(data)
        if body is None:
            return False
        reading = understood(self.shape, <bytes>body)
        if reading is None:
            return False
        try:
            if reading.mould is not None:
                body = reading.mould.fill(
                    self.id.encode("ascii"), reading.text, <int64_t>(self.unix_s * 1000) // 1000,
                    reading.input, reading.cached, reading.output, reading.thought,
                )
            self.deliver(reading, <bytes>body)
        except Exception as error:
            self.broke(error)
        return True

    cdef deliver(self, Reading reading, bytes body):
        """Settled, answered, written up."""
        cdef Shape shape = self.shape
        cdef object up = self.up, transport = shape.transport, exchange = self.exchange, conn = self.conn
        cdef double now_s = monotonic()
        cdef int64_t cost = cost_of(shape, reading), prompt = reading.input + reading.cached
        self.gone = True
        shape.app.inflight -= 1
        try:
            pay(self, cost, prompt + reading.output + reading.thought, now_s)
            up.exchange = self.exchange = None  # nobody else knows it
            (<set>transport._active).discard(exchange)
            if transport._waiting or transport._closed:
                transport.released(up)
            else:
                up.expires_s = now_s + <double>up.keep_s
                (<list>transport._idle).append(up)
            learn(shape, self.input_bytes, prompt)
            if shape.health._records:
                shape.health.ok(shape.target)
            if shape.keys._cooling:
                shape.keys.succeeded(self.way.key)
            self.tell_caller(conn, body, cost, now_s)
        finally:  # the provider bills it, whatever became of the reply
            self.write_up(reading, cost, now_s)
        if conn.transport is not None:
            if conn._queue:
                conn._serve_next()
            elif conn.reader.reading is not None:
                conn.ask_for_body()

    cdef tell_caller(self, object conn, bytes body, int64_t cost, double now_s):
        """The reply."""
        cdef Shape shape = self.shape
        cdef bytes limits = None if shape.limits is None else shape.limits.lines(now_s)
        cdef char facts[300]  # 87 bytes of words, and at most 80 of numbers
        cdef double waited_s = now_s - self.start_s
        cdef bytes served_by = shape.served_by, more = shape.more, also = shape.also, id = self.id.encode("ascii"), out
        cdef Py_ssize_t ns = PyBytes_GET_SIZE(served_by), nm = PyBytes_GET_SIZE(more), nb = PyBytes_GET_SIZE(body), nf
        cdef Py_ssize_t nc, nl = 0 if limits is None else PyBytes_GET_SIZE(limits), na = PyBytes_GET_SIZE(also)
        cdef double own_s = monotonic() - self.received_s - waited_s
        cdef char *to = put(facts, b"x-penstock-cost-usd: ", 21)
        cdef object sock = conn.transport
        to = put(put_usd(to, cost), b"\r\n", 2)
        nc = to - facts
        to = put(to, b"server-timing: gateway;dur=", 27)
        to = put(put_ms(to, own_s * 1000), b", upstream;dur=", 15)
        to = put(put_ms(to, waited_s * 1000), b"\r\ncontent-length: ", 18)
        nf = put(put_int(to, nb), b"\r\n\r\n", 4) - facts
        conn._current = conn._reply = conn._task = None
        if sock is not None:
            if na:
                na += 38
            out = PyBytes_FromStringAndSize(NULL, 17 + ns + 14 + 36 + 26 + nm + na + nf + nl + nb)
            to = PyBytes_AS_STRING(out)
            memcpy(to, b"HTTP/1.1 200 OK\r\n", 17)
            memcpy(to + 17, PyBytes_AS_STRING(served_by), ns)
            to += 17 + ns
            memcpy(to, b"x-request-id: ", 14)
            memcpy(to + 14, PyBytes_AS_STRING(id), 36)
            memcpy(to + 50, b"\r\nx-penstock-attempts: 1\r\n", 26)
            to += 76
            to = put(to, PyBytes_AS_STRING(more), nm)
            if na:
                to = put(put(put(to, PyBytes_AS_STRING(also), na - 38), PyBytes_AS_STRING(id), 36), b"\r\n", 2)
            to = put(to, facts, nc)
            if limits is not None:  # as long as the numbers in a configuration
                to = put(to, PyBytes_AS_STRING(limits), nl)
            put(put(to, facts + nc, nf - nc), PyBytes_AS_STRING(body), nb)
            sock.write(out)
        self.conn = self.up = None
        conn.last_s = now_s

    cdef write_up(self, Reading reading, int64_t cost, double now_s):
        """Into the ledger's queue and the tally: gateway.settle.write_up and ledger.rows, written out."""
        cdef Shape shape = self.shape
        cdef Way way = self.way
        cdef str id = self.id, body_id = reading.id if reading.mould is None else id, explained, lines
        cdef double latency_s = now_s - self.received_s, waited_s = now_s - self.start_s
        cdef double own_s = latency_s - waited_s
        cdef tuple row
        cdef Py_ssize_t waiting
        explained = explain_text(way, (self.start_s - self.received_s) * 1000, latency_s * 1000)
        lines = lines_text(shape, reading)
        # express.OWN says what stands where.
        row = (
            shape.form, id, body_id, <int64_t>(self.unix_s * 1000), latency_s * 1000,
            <int64_t>(own_s * 1e6) if own_s > 0 else 0, explained, id + "/1",
            <int64_t>((self.start_s + (self.unix_s - self.received_s)) * 1000), reading.model, way.key,
            reading.finish, reading.native_finish, reading.id, reading.input, reading.cached, reading.output,
            reading.thought, lines, cost, waited_s * 1000,
        )
        if shape.takes_alike:  # ledger.journal.Journal.add_alike, written out
            (<list>shape.rows).append(row)
            shape.pending[id] = row
            if body_id:
                shape.pending[body_id] = row
            waiting = len(<list>shape.rows)
            if (
                shape.journal.asleep
                or len(shape.pending) >= PUT_BY
                or (waiting >= BEHIND_RECORDS and waiting % GIVE_WAY_EVERY == 0)
            ):
                shape.journal.look_after()
        else:
            shape.journal.add_alike(row)
        shape.tally.add(reading, cost, latency_s, waited_s, own_s if own_s > 0 else 0.0)

    def over(self):
        """The exchange has ended otherwise than in one plain piece: the short lane goes on."""
        lane = None if self.gone else self.hand_over()
        if lane is not None:
            lane.over()

    def cancel(self):
        """The caller hung up."""
        lane = None if self.gone else self.hand_over()
        if lane is not None:
            lane.cancel()

    cdef hand_over(self):
        """The call as the short lane knows it, which is served there from now on; None where that cannot be."""
        cdef object conn = self.conn, request
        self.gone = True
        try:
            request = Request(self.received_s, self.shape.method, self.shape.url)
            request.told = self.shape.told
            self.reply = HttpReply(conn, request)
            lane = self.shape.as_lane(self)
        except Exception as error:
            self.give_up(error)
            return None
        self.paid = True  # there
        if conn._task is self:
            conn._current, conn._reply, conn._task = request, self.reply, lane
        return lane

    cdef give_up(self, error):
        """A bug of ours, and nobody to go on with the call: nothing of it stays behind, and what was held is spent."""
        cdef Shape shape = self.shape
        shape.app.inflight -= 1
        shape.app.log.failure("express.failed", error, request_id=self.id)
        pay(self, None, self.tokens, monotonic())
        if self.exchange is not None:
            self.exchange.listener = None
            self.exchange.abort()
        self.conn.abort()

    cdef broke(self, error):
        """A bug of ours, never the caller's fault: the long way answers, or where the reply was begun the connection ends."""
        cdef object conn = self.conn
        if not self.gone:
            lane = self.hand_over()
            if lane is not None:
                lane.carry_on(error)
            return
        self.shape.app.log.failure("express.failed", error, request_id=self.id)
        pay(self, None, self.tokens, monotonic())
        if conn is not None:
            conn.abort()


include "_express_charge.pxi"
include "_express_reply.pxi"
