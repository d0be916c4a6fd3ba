# cython: language_level=3, boundscheck=False, wraparound=False, nonecheck=False, cdivision=True, binding=False
"""The shortcut's usual case in native code: one whole chunk with one usual event whose text is ASCII. See shortcut.py, which
does the rest: what this does not take, it gives to the one in Python.
"""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_CheckExact, PyBytes_GET_SIZE
from libc.string cimport memcmp

cdef extern from *:
    """
    #ifndef PENSTOCK_SOURCES
    #define PENSTOCK_SOURCES ""
    #endif
    """
    const char *PENSTOCK_SOURCES

SOURCES = PENSTOCK_SOURCES.decode("ascii")  # a digest of what this was built of (hatch_build.py)

cdef enum:
    MAX_CHUNK_BYTES = 8192

# Bytes of a JSON string that end nothing, escape nothing and can be seen: printable ASCII but for quote and backslash.
cdef unsigned char PLAIN[256]
cdef int _i
for _i in range(256):
    PLAIN[_i] = 32 <= _i < 127 and _i != 34 and _i != 92


cdef class Shortcut:
    """For one stream and one mould (shortcut.Shortcut)."""

    cdef object mould, forward, slow
    cdef bytes opening, closing
    cdef Py_ssize_t opening_bytes, closing_bytes

    def __init__(self, mould, forward, slow):
        """``slow`` takes what is not the usual case."""
        self.mould = mould
        self.forward = forward
        self.slow = slow
        self.opening = mould.opening
        self.closing = mould.closing + b"\r\n"
        self.opening_bytes = len(self.opening)
        # A filler must be told from the text: the other one does it.
        self.closing_bytes = -1 if mould.filler else len(self.closing)

    def take(self, data):
        """Pass on bytes that begin where a chunk begins, if they are whole chunks with usual events."""
        cdef Py_ssize_t size, start, end, at, said
        cdef const unsigned char *s
        if self.closing_bytes < 0 or not PyBytes_CheckExact(data):
            return self.slow(data)
        size = PyBytes_GET_SIZE(data)
        s = <const unsigned char *>PyBytes_AS_STRING(data)
        start = head_bytes(s, size)
        end = size - self.closing_bytes
        said = end - start - self.opening_bytes
        if (
            start == 0
            or said < 0
            or memcmp(s + start, PyBytes_AS_STRING(self.opening), self.opening_bytes) != 0
            or memcmp(s + end, PyBytes_AS_STRING(self.closing), self.closing_bytes) != 0
        ):
            return self.slow(data)
        for at in range(end - said, end):
            if not PLAIN[s[at]]:
                return self.slow(data)
        self.mould.passed_bytes += said
        self.forward(data)
        return True


cdef Py_ssize_t head_bytes(const unsigned char *s, Py_ssize_t size) noexcept nogil:
    """The length of a first line that says exactly this much is one whole chunk, in its fewest digits; 0: it does not."""
    cdef Py_ssize_t digits, inside, value, at
    cdef unsigned char c
    if size > MAX_CHUNK_BYTES:
        return 0
    for digits in range(1, 5):
        inside = size - 4 - digits
        if inside <= 0:
            return 0
        if inside >> (4 * digits) == 0 and inside >> (4 * (digits - 1)) != 0:
            value = inside
            for at in range(digits - 1, -1, -1):
                c = value & 15
                if s[at] != (48 + c if c < 10 else 87 + c):
                    return 0
                value >>= 4
            return digits + 2 if s[digits] == 13 and s[digits + 1] == 10 else 0
    return 0
