# cython: language_level=3, boundscheck=False, wraparound=False, nonecheck=False, cdivision=True, binding=False
"""GCRA in native code: limits.Gcra to the unit, in integers of 128 bits. See limits.py, which says what it means."""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from libc.stdint cimport int64_t, uint64_t
from libc.string cimport memcpy

cdef extern from *:
    """
    #ifndef PENSTOCK_SOURCES
    #define PENSTOCK_SOURCES ""
    #endif
    typedef __int128 wide;
    """
    ctypedef long long wide
    const char *PENSTOCK_SOURCES

SOURCES = PENSTOCK_SOURCES.decode("ascii")  # a digest of what this was built of (hatch_build.py)

cdef int64_t MINUTE_NS = 60000000000
cdef int64_t MARGIN_NS = 1000
cdef object WORD = 0xFFFFFFFFFFFFFFFF


cdef object as_int(wide value):
    """The same as Python's int."""
    cdef int64_t high = <int64_t>(value >> 64)
    cdef uint64_t low = <uint64_t>value
    if high == 0:
        return low
    return (<object>high << 64) + <object>low


cdef wide from_int(object value) except? -1:
    """Python's int, which must fit in 128 bits."""
    cdef int64_t high = value >> 64
    cdef uint64_t low = value & WORD
    return (<wide>high << 64) | <wide>low


cdef wide units(object cost) except? -1:
    """``int(cost * 60e9)``, as Python calculates it."""
    if isinstance(cost, int):
        return <wide><int64_t>cost * MINUTE_NS
    return <wide>(<double>cost * 60e9)


cdef class Gcra:
    """One limit of ``per_minute`` units; from idle ``burst`` units pass at once."""

    cdef readonly int64_t per_minute, burst
    cdef wide limit, paid_at
    cdef bint used

    def __init__(self, per_minute, burst=None):
        if per_minute < 1 or (burst is not None and burst < 1):
            raise ValueError("A rate limit is at least 1 per minute, and its burst at least 1.")
        self.per_minute = per_minute
        self.burst = per_minute if burst is None else burst
        self.limit = <wide>self.burst * MINUTE_NS
        self.used = False

    cpdef admit(self, cost, double now_s):
        """Take ``cost`` units: 0.0, or the seconds to wait (nothing is taken then)."""
        cdef wide now = <wide><int64_t>(now_s * 1e9) * self.per_minute
        cdef wide paid_at = self.paid_at if self.used and self.paid_at > now else now
        cdef wide after = paid_at + units(cost)
        cdef wide scaled
        if after - now > self.limit and paid_at > now:
            scaled = after - now - self.limit
            if paid_at - now < scaled:
                scaled = paid_at - now
            return <double>((scaled + self.per_minute - 1) // self.per_minute + MARGIN_NS) / 1e9
        self.paid_at = after
        self.used = True
        return 0.0

    def peek(self, cost, double now_s):
        """What admit would answer, without taking."""
        cdef wide before = self.paid_at
        cdef bint used = self.used
        wait_s = self.admit(cost, now_s)
        self.paid_at, self.used = before, used
        return wait_s

    cpdef correct(self, delta, double now_s):
        """Debit (positive) or credit (negative) what an estimate missed. A full bucket stays just full."""
        cdef wide now = <wide><int64_t>(now_s * 1e9) * self.per_minute
        self.paid_at = (self.paid_at if self.used and self.paid_at > now else now) + units(delta)
        self.used = True

    def remaining(self, double now_s):
        """Whole units that would pass now; 0 while in debt."""
        return self.status(now_s)[0]

    def reset_s(self, double now_s):
        """Seconds until the bucket is full again."""
        return self.status(now_s)[1]

    def status(self, double now_s):
        """``remaining`` and ``reset_s`` in one look."""
        cdef wide owed = 0
        if self.used:
            owed = self.paid_at - <wide><int64_t>(now_s * 1e9) * self.per_minute
        if owed <= 0:
            return self.burst, 0.0
        left = <int64_t>((self.limit - owed) // MINUTE_NS) if owed < self.limit else 0
        return left, as_int(owed) / self.per_minute / 1e9

    def told(self, now_ns):
        """What a header says: ``burst``, ``remaining`` and ``reset_s`` as a Go duration, rounded up."""
        cdef char text[24]
        cdef int64_t left
        cdef int size
        cdef object reset
        left = self.look(<int64_t>now_ns, text, &size)
        reset = PyBytes_FromStringAndSize(text, size) if size else GO_DURATION(self.reset_ms(<int64_t>now_ns))
        return self.burst, left, reset

    cdef int64_t reset_ms(self, int64_t now_ns):
        cdef wide whole = <wide>self.per_minute * 1000000
        return <int64_t>((self.paid_at - <wide>now_ns * self.per_minute + whole - 1) // whole)

    cdef int64_t look(self, int64_t now_ns, char *text, int *size):
        """What is left, and the reset as text; of size 0 where it is a second or more."""
        cdef wide owed = 0
        cdef int64_t ms
        if self.used:
            owed = self.paid_at - <wide>now_ns * self.per_minute
        if owed <= 0:
            memcpy(text, b"0ms", 3)
            size[0] = 3
            return self.burst
        ms = self.reset_ms(now_ns)
        size[0] = word(text, digits(text, 0, ms), b"ms") if ms < 1000 else 0
        return <int64_t>((self.limit - owed) // MINUTE_NS) if owed < self.limit else 0

    cpdef mark(self):
        """The state, for ``restore``: undoing an admission exactly."""
        return as_int(self.paid_at) if self.used else None

    cpdef restore(self, mark):
        """Back to ``mark``; only within one decision, before anything else was admitted."""
        self.used = mark is not None
        if self.used:
            self.paid_at = from_int(mark)


GO_DURATION = None  # limits.go_duration, which is set there


def use(go_duration):
    """Who writes durations of a second and more."""
    global GO_DURATION
    GO_DURATION = go_duration


cdef enum:
    MOST_LEVELS = 8


cdef class Path:
    """The limits of all levels that a call must keep, nearest first (limits.PathLimits), each of requests, tokens, or both."""

    cdef tuple requests, tokens

    def __init__(self, requests, tokens):
        """Of each level, or None. At most eight levels."""
        for one in (*requests, *tokens):
            if one is not None and not isinstance(one, Gcra):
                raise TypeError("a limit that is not native")
        if not len(requests) == len(tokens) <= MOST_LEVELS:
            raise ValueError("so many levels there are not")
        self.requests, self.tokens = tuple(requests), tuple(tokens)

    def admit(self, tokens, double now_s):
        """One request and ``tokens`` of all: None. Else False, and nothing was taken: limits.py knows the words."""
        cdef wide paid_at[2 * MOST_LEVELS]
        cdef bint used[2 * MOST_LEVELS]
        cdef Gcra one
        cdef Py_ssize_t at, taken = 0, count = len(self.requests)
        cdef bint refused = False
        for at in range(2 * count):
            one = self.bucket(at)
            if one is None:
                continue
            paid_at[at], used[at] = one.paid_at, one.used
            if one.admit(1 if at % 2 == 0 else tokens, now_s):
                refused = True
                break
            taken = at + 1
        if not refused:
            return None
        for at in range(taken):
            one = self.bucket(at)
            if one is not None:
                one.paid_at, one.used = paid_at[at], used[at]
        return False

    cdef Gcra bucket(self, Py_ssize_t at):
        """Requests and tokens in turn, level by level."""
        return (self.requests if at % 2 == 0 else self.tokens)[at // 2]

    def settle(self, estimated, actual, double now_s):
        """Correct the tokens of all by what the estimate missed."""
        cdef Gcra one
        if estimated == actual:
            return
        for one in self.tokens:
            if one is not None:
                one.correct(actual - estimated, now_s)

    def lines(self, double now_s):
        """``x-ratelimit-*`` as header lines: of requests and of tokens those of the level that has least left."""
        cdef char out[512]
        cdef int at = 0
        cdef int64_t now_ns = <int64_t>(now_s * 1e9)
        cdef Gcra one = nearest(self.requests, now_ns)
        if one is not None:
            at = put(out, 0, b"requests", one, now_ns)
        one = nearest(self.tokens, now_ns)
        if one is not None:
            at = put(out, at, b"tokens", one, now_ns)
        return PyBytes_FromStringAndSize(out, at)


cdef Gcra nearest(tuple levels, int64_t now_ns):
    """The first that has least left; None where no level has such a limit."""
    cdef char text[24]
    cdef int size
    cdef int64_t left, least = 0
    cdef Gcra one, found = None
    for one in levels:
        if one is None:
            continue
        left = one.look(now_ns, text, &size)
        if found is None or left < least:
            found, least = one, left
    return found


cdef int put(char *out, int at, bytes what, Gcra one, int64_t now_ns) except -1:
    cdef char text[24]
    cdef int size
    cdef int64_t left = one.look(now_ns, text, &size)
    cdef bytes reset = text[:size] if size else GO_DURATION(one.reset_ms(now_ns))
    at = word(out, at, b"x-ratelimit-limit-")
    at = word(out, at, what)
    at = digits(out, word(out, at, b": "), one.burst)
    at = word(out, word(out, at, b"\r\nx-ratelimit-remaining-"), what)
    at = digits(out, word(out, at, b": "), left)
    at = word(out, word(out, at, b"\r\nx-ratelimit-reset-"), what)
    return word(out, word(out, word(out, at, b": "), reset), b"\r\n")


cdef inline int word(char *out, int at, bytes text) noexcept:
    memcpy(out + at, PyBytes_AS_STRING(text), PyBytes_GET_SIZE(text))
    return at + <int>PyBytes_GET_SIZE(text)


cdef int digits(char *out, int at, int64_t value) noexcept:
    """What is not negative, in decimal."""
    cdef char backwards[20]
    cdef int n = 0
    while True:
        backwards[n] = <char>(48 + value % 10)
        n += 1
        value //= 10
        if not value:
            break
    while n:
        n -= 1
        out[at] = backwards[n]
        at += 1
    return at
