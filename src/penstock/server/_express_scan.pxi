# What the express lane reads of bytes: JSON values and whole replies. Part of _express.pyx.

# Bytes of a JSON string that are neither its end, nor an escape, nor control characters, nor beyond ASCII.
cdef unsigned char PLAIN[256]
# Bytes of a header's name (RFC 9110, 5.6.2).
cdef unsigned char TOKEN[256]
cdef int _i
for _i in range(256):
    PLAIN[_i] = 32 <= _i < 128 and _i != 34 and _i != 92
    TOKEN[_i] = (48 <= _i <= 57) or (65 <= _i <= 90) or (97 <= _i <= 122) or chr(_i) in "!#$%&'*+-.^_`|~"


# JSON, read strictly: what is taken here would be taken by any reader.

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


cdef Py_ssize_t skip_string(const unsigned char *s, Py_ssize_t i, Py_ssize_t n) noexcept nogil:
    """From behind the opening quote to behind the closing one; -1: not surely a string."""
    cdef unsigned char c
    cdef int more, k
    while i < n:
        while i + 8 <= n and all_plain(s + i):
            i += 8
        if i >= n:
            return -1
        c = s[i]
        if PLAIN[c]:
            i += 1
            continue
        if c == 34:
            return i + 1
        if c == 92:
            if i + 1 >= n:
                return -1
            c = s[i + 1]
            if c == 34 or c == 92 or c == 47 or c == 98 or c == 102 or c == 110 or c == 114 or c == 116:
                i += 2
                continue
            if c != 117 or i + 6 > n:
                return -1
            for k in range(2, 6):
                c = s[i + k]
                if not (48 <= c <= 57 or 65 <= c <= 70 or 97 <= c <= 102):
                    return -1
            if s[i + 2] == 100 or s[i + 2] == 68:  # D800 to DFFF: the first half of a pair, then the second one
                if s[i + 3] >= 56:
                    if s[i + 3] > 57 and s[i + 3] != 97 and s[i + 3] != 98 and s[i + 3] != 65 and s[i + 3] != 66:
                        return -1
                    i += 6
                    if i + 6 > n or s[i] != 92 or s[i + 1] != 117 or s[i + 2] != 100 and s[i + 2] != 68:
                        return -1
                    c = s[i + 3]
                    if not (c == 99 or c == 100 or c == 101 or c == 102 or c == 67 or c == 68 or c == 69 or c == 70):
                        return -1
                    for k in range(4, 6):
                        c = s[i + k]
                        if not (48 <= c <= 57 or 65 <= c <= 70 or 97 <= c <= 102):
                            return -1
            i += 6
            continue
        if c < 0xC2 or c > 0xF4:
            return -1
        more = 1 if c < 0xE0 else 2 if c < 0xF0 else 3
        if i + more >= n:
            return -1
        for k in range(1, more + 1):
            if s[i + k] & 0xC0 != 0x80:
                return -1
        if c == 0xE0 and s[i + 1] < 0xA0 or c == 0xED and s[i + 1] >= 0xA0:
            return -1
        if c == 0xF0 and s[i + 1] < 0x90 or c == 0xF4 and s[i + 1] >= 0x90:
            return -1
        i += more + 1
    return -1


cdef inline Py_ssize_t skip_space(const unsigned char *s, Py_ssize_t i, Py_ssize_t n) noexcept nogil:
    while i < n and (s[i] == 32 or s[i] == 10 or s[i] == 13 or s[i] == 9):
        i += 1
    return i


cdef inline Py_ssize_t skip_digits(const unsigned char *s, Py_ssize_t i, Py_ssize_t n) noexcept nogil:
    """Behind at least one digit; -1 where there is none."""
    cdef Py_ssize_t start = i
    while i < n and 48 <= s[i] <= 57:
        i += 1
    return i if i > start else -1


cdef Py_ssize_t skip_number(const unsigned char *s, Py_ssize_t i, Py_ssize_t n) noexcept nogil:
    if s[i] == 45:
        i += 1
    if i < n and s[i] == 48:
        i += 1
    else:
        i = skip_digits(s, i, n)
        if i < 0:
            return -1
    if i < n and s[i] == 46:
        i = skip_digits(s, i + 1, n)
        if i < 0:
            return -1
    if i < n and (s[i] == 101 or s[i] == 69):
        i += 1
        if i < n and (s[i] == 43 or s[i] == 45):
            i += 1
        i = skip_digits(s, i, n)
    return i


cdef Py_ssize_t skip_value(const unsigned char *s, Py_ssize_t i, Py_ssize_t n, int depth) noexcept nogil:
    """Behind the value that begins at ``i``; -1: not surely one."""
    cdef unsigned char c, closing
    if i >= n or depth > MAX_DEPTH:
        return -1
    c = s[i]
    if c == 34:
        return skip_string(s, i + 1, n)
    if c == 123 or c == 91:
        closing = c + 2
        i = skip_space(s, i + 1, n)
        if i < n and s[i] == closing:
            return i + 1
        while True:
            if c == 123:
                if i >= n or s[i] != 34:
                    return -1
                i = skip_string(s, i + 1, n)
                if i < 0:
                    return -1
                i = skip_space(s, i, n)
                if i >= n or s[i] != 58:
                    return -1
                i = skip_space(s, i + 1, n)
            i = skip_value(s, i, n, depth + 1)
            if i < 0:
                return -1
            i = skip_space(s, i, n)
            if i >= n:
                return -1
            if s[i] == closing:
                return i + 1
            if s[i] != 44:
                return -1
            i = skip_space(s, i + 1, n)
    if c == 45 or 48 <= c <= 57:
        return skip_number(s, i, n)
    if c == 116 and n - i >= 4 and memcmp(s + i, b"true", 4) == 0:
        return i + 4
    if c == 102 and n - i >= 5 and memcmp(s + i, b"false", 5) == 0:
        return i + 5
    if c == 110 and n - i >= 4 and memcmp(s + i, b"null", 4) == 0:
        return i + 4
    return -1


cdef bint has_media(const char *s, Py_ssize_t n) noexcept nogil:
    """Words stand in this body that the envelope's reader looks closer at: in all of it, for a key may have two spellings."""
    return memmem(s, n, b'"type"', 6) != NULL and (
        memmem(s, n, b'"image_url"', 11) != NULL
        or memmem(s, n, b'"input_audio"', 13) != NULL
        or memmem(s, n, b'"file"', 6) != NULL
    )


cdef bint asks_for_more(const char *s, Py_ssize_t n) noexcept nogil:
    """A word stands there for which a purse holds more than for others (gateway.purse)."""
    return memmem(s, n, b'"1h"', 4) != NULL


def is_value(bytes text):
    """``text`` is one JSON value, as strictly as this lane reads (for tests)."""
    cdef Py_ssize_t n = PyBytes_GET_SIZE(text)
    return skip_value(<const unsigned char *>PyBytes_AS_STRING(text), 0, n, 0) == n and n > 0


# HTTP: a reply's head, and its body where all of it is there.

cdef bint same_word(const char *s, Py_ssize_t n, const char *word, Py_ssize_t size) noexcept nogil:
    """Equal but for case; ``word`` is in lower case."""
    cdef Py_ssize_t i
    cdef char c
    if n != size:
        return False
    for i in range(n):
        c = s[i]
        if 65 <= c <= 90:
            c += 32
        if c != word[i]:
            return False
    return True


cdef object body_of(bytes data):
    """The body of a whole, plain 200 without anything behind it; None: the parser shall look."""
    cdef const char *s = PyBytes_AS_STRING(data)
    cdef Py_ssize_t n = PyBytes_GET_SIZE(data), i = 13, end, colon, start, stop, length = -1, size
    cdef bint chunked = False
    cdef const char *found
    if n < 20 or memcmp(s, b"HTTP/1.1 200 ", 13) != 0:
        return None
    while i < n and (32 <= <unsigned char>s[i] < 127):
        i += 1
    while True:
        if i + 1 >= n or s[i] != 13 or s[i + 1] != 10 or i > MAX_HEAD_BYTES:
            return None
        i += 2
        if i + 1 < n and s[i] == 13 and s[i + 1] == 10:
            i += 2
            break
        colon = i
        while colon < n and TOKEN[<unsigned char>s[colon]]:
            colon += 1
        if colon == i or colon >= n or s[colon] != 58:
            return None
        start = colon + 1
        while start < n and (s[start] == 32 or s[start] == 9):
            start += 1
        end = start
        while end < n and (<unsigned char>s[end] >= 32 and s[end] != 127 or s[end] == 9):
            end += 1
        stop = end
        while stop > start and (s[stop - 1] == 32 or s[stop - 1] == 9):
            stop -= 1
        size = colon - i
        if size == 14 and same_word(s + i, size, b"content-length", 14):
            if length >= 0 or chunked or stop - start > 10 or stop == start:
                return None
            length = 0
            while start < stop:
                if not 48 <= s[start] <= 57:
                    return None
                length = length * 10 + s[start] - 48
                start += 1
        elif size == 17 and same_word(s + i, size, b"transfer-encoding", 17):
            if length >= 0 or chunked or not same_word(s + start, stop - start, b"chunked", 7):
                return None
            chunked = True
        elif size == 10 and same_word(s + i, size, b"connection", 10):
            if not same_word(s + start, stop - start, b"keep-alive", 10):
                return None
        elif (
            size == 16 and same_word(s + i, size, b"content-encoding", 16)
            or size == 10 and same_word(s + i, size, b"keep-alive", 10)
            or size == 7 and (same_word(s + i, size, b"upgrade", 7) or same_word(s + i, size, b"trailer", 7))
        ):
            return None
        i = end
    if chunked:
        return unchunked(s, i, n)
    if length <= 0 or n - i != length:
        return None
    return PyBytes_FromStringAndSize(s + i, length)


cdef object unchunked(const char *s, Py_ssize_t i, Py_ssize_t n):
    """The body in these chunks, if they are whole and the last one ends the data; else None."""
    cdef Py_ssize_t size, digits
    cdef char c
    cdef list pieces = []
    while True:
        size = digits = 0
        while i < n and digits < 8:
            c = s[i]
            if 48 <= c <= 57:
                size = size * 16 + c - 48
            elif 97 <= c <= 102:
                size = size * 16 + c - 87
            elif 65 <= c <= 70:
                size = size * 16 + c - 55
            else:
                break
            digits += 1
            i += 1
        if not digits or i + 1 >= n or s[i] != 13 or s[i + 1] != 10:
            return None
        i += 2
        if not size:
            break
        if n - i < size + 2 or s[i + size] != 13 or s[i + size + 1] != 10:
            return None
        pieces.append(PyBytes_FromStringAndSize(s + i, size))
        i += size + 2
    if n - i != 2 or s[i] != 13 or s[i + 1] != 10 or not pieces:
        return None
    return pieces[0] if len(pieces) == 1 else b"".join(pieces)


def whole_body(bytes data):
    """``body_of`` (for tests)."""
    return body_of(data)
