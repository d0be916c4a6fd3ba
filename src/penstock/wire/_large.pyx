# cython: language_level=3, boundscheck=False, wraparound=False, nonecheck=False, binding=False
"""What is slow about a large body and needs no GIL: see large.py.

Rule: while the GIL is given away, nothing is touched but the bytes of an object that the caller keeps alive, and memory
that nobody else knows of yet.
"""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize
from libc.stdint cimport uint64_t
from libc.stdlib cimport free, malloc
from libc.string cimport memchr, memcmp, memcpy

cdef extern from *:
    """
    #ifndef PENSTOCK_SOURCES
    #define PENSTOCK_SOURCES ""
    #endif
    """
    const char *PENSTOCK_SOURCES

SOURCES = PENSTOCK_SOURCES.decode("ascii")  # a digest of what this was built of (hatch_build.py)

cdef unsigned char BASE64[256]
# Bytes of a JSON string that are neither its end, nor an escape, nor control characters, nor beyond ASCII.
cdef unsigned char PLAIN[256]
cdef int _i
for _i in range(256):
    BASE64[_i] = (48 <= _i <= 57) or (65 <= _i <= 90) or (97 <= _i <= 122) or _i == 43 or _i == 47
    PLAIN[_i] = 32 <= _i < 128 and _i != 34 and _i != 92

cdef int UNFIT = 0, PURE = 1, TEXT = 2, ESCAPED = 3


cdef class Gather:
    """A body of known length, filled piece by piece: its memory is asked for once and touched as the pieces come."""

    cdef bytes _body
    cdef Py_ssize_t _size, _at

    def __cinit__(self, Py_ssize_t size):
        self._body = PyBytes_FromStringAndSize(NULL, size)
        self._size = size
        self._at = 0

    def add(self, bytes piece not None):
        """One more piece. ValueError for more than was announced."""
        cdef Py_ssize_t size = len(piece)
        if self._body is None or size > self._size - self._at:
            raise ValueError("more than was announced")
        memcpy(PyBytes_AS_STRING(self._body) + self._at, PyBytes_AS_STRING(piece), size)
        self._at += size

    def take(self):
        """The body, once. ValueError if something is missing: nobody may see what was not written."""
        if self._body is None or self._at != self._size:
            raise ValueError("less than was announced")
        body, self._body = self._body, None
        return body


cdef Py_ssize_t string_end(const unsigned char *s, Py_ssize_t i, Py_ssize_t n) noexcept nogil:
    """Where the quote stands that ends the string whose first byte is at ``i``; -1: nowhere."""
    cdef const unsigned char *found
    cdef Py_ssize_t at, k, start = i
    while i < n:
        found = <const unsigned char *>memchr(s + i, 34, n - i)
        if found == NULL:
            return -1
        at = found - s
        k = at
        while k > start and s[k - 1] == 92:
            k -= 1
        if (at - k) % 2 == 0:
            return at
        i = at + 1
    return -1


cdef inline bint is_key(const unsigned char *s, Py_ssize_t i, Py_ssize_t n) noexcept nogil:
    """Whether a colon follows."""
    while i < n and (s[i] == 32 or s[i] == 9 or s[i] == 10 or s[i] == 13):
        i += 1
    return i < n and s[i] == 58


cdef Py_ssize_t find_strings(
    const unsigned char *s, Py_ssize_t n, const char *name, Py_ssize_t size, Py_ssize_t least, Py_ssize_t *out, Py_ssize_t most
) noexcept nogil:
    cdef Py_ssize_t i = 0, end, depth = 0, count = 0
    cdef bint wanted = False
    cdef unsigned char c
    while i < n and count < most:
        c = s[i]
        if c == 34:
            end = string_end(s, i + 1, n)
            if end < 0:
                break
            if depth == 1 and is_key(s, end + 1, n):
                wanted = end - i - 1 == size and memcmp(s + i + 1, name, size) == 0
            elif wanted and end - i - 1 >= least and not is_key(s, end + 1, n):
                out[2 * count] = i + 1
                out[2 * count + 1] = end
                count += 1
            i = end
        elif c == 123 or c == 91:
            depth += 1
        elif c == 125 or c == 93:
            depth -= 1
        i += 1
    return count


def strings(bytes body not None, bytes name not None, Py_ssize_t least, Py_ssize_t most):
    """Start and end of the long strings' contents below the top-level field ``name``, in order."""
    cdef const unsigned char *s = <const unsigned char *>PyBytes_AS_STRING(body)
    cdef const char *key = PyBytes_AS_STRING(name)
    cdef Py_ssize_t n = len(body), size = len(name), count, k
    cdef Py_ssize_t *out = <Py_ssize_t *>malloc(2 * most * sizeof(Py_ssize_t))
    if out == NULL:
        raise MemoryError()
    try:
        with nogil:
            count = find_strings(s, n, key, size, least, out, most)
        return [(out[2 * k], out[2 * k + 1]) for k in range(count)]
    finally:
        free(out)


cdef inline bint all_plain(const unsigned char *s) noexcept nogil:
    """Eight bytes at once: none of them ends or escapes a string, is a control character, or is beyond ASCII.

    A byte below n in x: (x - n) & ~x & 0x80 for each (Bit Twiddling Hacks, S. E. Anderson); what it may say too much is
    looked at byte by byte.
    """
    cdef uint64_t x, quote, escape
    memcpy(&x, s, 8)
    quote = x ^ <uint64_t>0x2222222222222222
    escape = x ^ <uint64_t>0x5C5C5C5C5C5C5C5C
    return (
        (
            ((x - <uint64_t>0x2020202020202020) & ~x)
            | ((quote - <uint64_t>0x0101010101010101) & ~quote)
            | ((escape - <uint64_t>0x0101010101010101) & ~escape)
            | x
        )
        & <uint64_t>0x8080808080808080
    ) == 0


cdef inline int hex4(const unsigned char *s) noexcept nogil:
    """Four hexadecimal digits as a number, -1 for anything else."""
    cdef int k, value = 0
    cdef unsigned char c
    for k in range(4):
        c = s[k]
        if 48 <= c <= 57:
            value = value * 16 + c - 48
        elif 65 <= c <= 70:
            value = value * 16 + c - 55
        elif 97 <= c <= 102:
            value = value * 16 + c - 87
        else:
            return -1
    return value


cdef inline Py_ssize_t escape_size(const unsigned char *s, Py_ssize_t i, Py_ssize_t end) noexcept nogil:
    """How long the escape at ``i`` is, both halves of a surrogate pair together; 0: it is none."""
    cdef unsigned char c
    cdef int unit
    if i + 2 > end:
        return 0
    c = s[i + 1]
    if c == 34 or c == 92 or c == 47 or c == 98 or c == 102 or c == 110 or c == 114 or c == 116:
        return 2
    if c != 117 or i + 6 > end:
        return 0
    unit = hex4(s + i + 2)
    if unit < 0 or 0xDC00 <= unit <= 0xDFFF:
        return 0
    if unit < 0xD800 or unit > 0xDBFF:
        return 6
    if i + 12 > end or s[i + 6] != 92 or s[i + 7] != 117:
        return 0
    unit = hex4(s + i + 8)
    return 12 if 0xDC00 <= unit <= 0xDFFF else 0


cdef inline Py_ssize_t utf8_size(const unsigned char *s, Py_ssize_t i, Py_ssize_t end) noexcept nogil:
    """How long the character beyond ASCII at ``i`` is; 0: it is none (RFC 3629, 4)."""
    cdef unsigned char a = s[i], low = 0x80, high = 0xBF
    cdef Py_ssize_t size, k
    if 0xC2 <= a <= 0xDF:
        size = 2
    elif 0xE0 <= a <= 0xEF:
        size = 3
        if a == 0xE0:
            low = 0xA0
        elif a == 0xED:
            high = 0x9F
    elif 0xF0 <= a <= 0xF4:
        size = 4
        if a == 0xF0:
            low = 0x90
        elif a == 0xF4:
            high = 0x8F
    else:
        return 0
    if i + size > end or s[i + 1] < low or s[i + 1] > high:
        return 0
    for k in range(2, size):
        if s[i + k] < 0x80 or s[i + k] > 0xBF:
            return 0
    return size


cdef int look(const unsigned char *s, Py_ssize_t i, Py_ssize_t end) noexcept nogil:
    cdef Py_ssize_t size
    cdef int found = TEXT
    while i + 8 <= end and (
        BASE64[s[i]] & BASE64[s[i + 1]] & BASE64[s[i + 2]] & BASE64[s[i + 3]]
        & BASE64[s[i + 4]] & BASE64[s[i + 5]] & BASE64[s[i + 6]] & BASE64[s[i + 7]]
    ):
        i += 8
    while i < end and BASE64[s[i]]:
        i += 1
    if i == end:
        return PURE
    while i < end:
        if i + 8 <= end and all_plain(s + i):
            i += 8
        elif PLAIN[s[i]]:
            i += 1
        elif s[i] == 92:
            size = escape_size(s, i, end)
            if size == 0:
                return UNFIT
            found = ESCAPED
            i += size
        elif s[i] >= 0x80:
            size = utf8_size(s, i, end)
            if size == 0:
                return UNFIT
            i += size
        else:
            return UNFIT
    return found


def kind(bytes body not None, Py_ssize_t start, Py_ssize_t end):
    """What stands in this part of a string: 1 base64 alone, 2 text without escapes, 3 with some, 0 what no reader takes."""
    cdef const unsigned char *s = <const unsigned char *>PyBytes_AS_STRING(body)
    cdef int found
    if not 0 <= start <= end <= len(body):
        raise ValueError("not within the body")
    with nogil:
        found = look(s, start, end)
    return found
