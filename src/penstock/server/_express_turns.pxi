# A translated call: its conversation as the provider's dialect has it, its reply as the caller's. Part of _express.pyx.

# What Python writes of such a conversation (dialects.openai_chat.request), byte for byte; what is not surely plain is
# left to Python. Nothing grows on the way: an escape is at least as long as what it stands for.

cdef inline bint says_word(const unsigned char *s, Py_ssize_t i, Py_ssize_t end, const char *word, Py_ssize_t size) noexcept nogil:
    """The string from its opening quote at ``i`` to behind its closing one at ``end`` is this word, without an escape."""
    return end - i == size + 2 and memcmp(s + i + 1, word, size) == 0


cdef int hex_value(const unsigned char *s) noexcept nogil:
    """Of four hexadecimal digits."""
    cdef int value = 0, k, c
    for k in range(4):
        c = s[k]
        value = value * 16 + (c - 48 if c < 58 else (c | 32) - 87)
    return value


cdef char *put_rune(char *out, int rune) noexcept nogil:
    """A character as msgspec writes it: as itself, but for quotes, backslashes and control characters. NULL: a letter, which
    no encoder escapes, and by which fields are disguised (gateway.beyond)."""
    cdef const char *letters = b"btn_fr"
    cdef const char *digits = b"0123456789abcdef"
    if rune < 32:
        out[0] = 92
        if 8 <= rune <= 13 and rune != 11:
            out[1] = letters[rune - 8]
            return out + 2
        memcpy(out + 1, b"u00", 3)
        out[4] = <char>(48 + (rune >> 4))
        out[5] = digits[rune & 15]
        return out + 6
    if rune < 128:
        if 97 <= (rune | 32) <= 122 or rune == 95:
            return NULL
        if rune == 34 or rune == 92:
            out[0] = 92
            out += 1
        out[0] = <char>rune
        return out + 1
    if rune < 0x800:
        out[0] = <char>(0xC0 | rune >> 6)
    else:
        if rune < 0x10000:
            out[0] = <char>(0xE0 | rune >> 12)
        else:
            out[0] = <char>(0xF0 | rune >> 18)
            out[1] = <char>(0x80 | (rune >> 12 & 63))
            out += 1
        out[1] = <char>(0x80 | (rune >> 6 & 63))
        out += 1
    out[1] = <char>(0x80 | (rune & 63))
    return out + 2


cdef char *put_text(const unsigned char *s, Py_ssize_t i, Py_ssize_t end, char *out) noexcept nogil:
    """The string from its opening quote at ``i`` to behind its closing one at ``end``, which ``skip_string`` has read, as
    msgspec writes it; behind it. NULL where nothing is said, or a letter is escaped."""
    cdef const unsigned char *found
    cdef Py_ssize_t size
    cdef int rune
    if end - i < 3:
        return NULL
    while True:
        found = <const unsigned char *>memchr(s + i, 92, end - i)
        size = (end if found == NULL else found - s) - i
        memcpy(out, s + i, size)
        out += size
        if found == NULL:
            return out
        i += size
        rune = s[i + 1]
        if rune == 117:
            rune = hex_value(s + i + 2)
            i += 6
            if 0xD800 <= rune < 0xDC00:
                rune = 0x10000 + ((rune - 0xD800) << 10) + hex_value(s + i + 2) - 0xDC00
                i += 6
            out = put_rune(out, rune)
            if out == NULL:
                return NULL
            continue
        if rune != 47:
            out[0] = 92
            out += 1
        out[0] = <char>rune
        out += 1
        i += 2


cdef bint next_pair(const unsigned char *s, Py_ssize_t n, Py_ssize_t *at, Py_ssize_t *key, Py_ssize_t *value) noexcept nogil:
    """From behind ``{`` or ``,`` over a key and to its value: where the key's quote is, and where the value begins."""
    cdef Py_ssize_t i = skip_space(s, at[0], n)
    if i >= n or s[i] != 34:
        return False
    key[0] = i
    i = skip_string(s, i + 1, n)
    if i < 0:
        return False
    at[0] = i
    i = skip_space(s, i, n)
    if i >= n or s[i] != 58:
        return False
    value[0] = skip_space(s, i + 1, n)
    return value[0] < n


cdef Py_ssize_t two_values(
    const unsigned char *s, Py_ssize_t i, Py_ssize_t n, const char *one, Py_ssize_t size_1, const char *two, Py_ssize_t size_2,
    Py_ssize_t *first, Py_ssize_t *second,
) noexcept nogil:
    """Behind the object that begins at ``i`` and has exactly these two fields, in any order; -1: it is another one.
    ``first`` and ``second`` become where their values begin and end."""
    cdef Py_ssize_t key, value, at = i + 1, end
    cdef Py_ssize_t *found
    cdef int k
    if i >= n or s[i] != 123:
        return -1
    first[0] = second[0] = -1
    for k in range(2):
        if not next_pair(s, n, &at, &key, &value):
            return -1
        if says_word(s, key, at, one, size_1):
            found = first
        elif says_word(s, key, at, two, size_2):
            found = second
        else:
            return -1
        end = skip_value(s, value, n, 0)
        if end < 0 or found[0] >= 0:
            return -1
        found[0], found[1] = value, end
        at = skip_space(s, end, n)
        if at >= n or s[at] != (125 if k else 44):
            return -1
        at += 1
    return at


cdef char *put_parts(const unsigned char *s, Py_ssize_t i, Py_ssize_t end, char *out) noexcept nogil:
    """A list of plain texts: one alone as the words that it is, several as a list. NULL: it is another list."""
    cdef Py_ssize_t kind[2]
    cdef Py_ssize_t text[2]
    cdef Py_ssize_t only = -1, only_end = 0, count = 0
    cdef char *start = out
    i += 1
    while True:
        i = two_values(s, skip_space(s, i, end), end, b"type", 4, b"text", 4, kind, text)
        if i < 0 or not says_word(s, kind[0], kind[1], b"text", 4) or s[kind[0]] != 34 or s[text[0]] != 34:
            return NULL
        out = put_text(s, text[0], text[1], put(out, b"[{\"type\":\"text\",\"text\":" if not count else b",{\"type\":\"text\",\"text\":", 23))
        if out == NULL:
            return NULL
        out[0] = 125
        out += 1
        count += 1
        if count == 1:
            only, only_end = text[0], text[1]
        i = skip_space(s, i, end)
        if i >= end:
            return NULL
        if s[i] == 93:
            break
        if s[i] != 44:
            return NULL
        i += 1
    if i != end - 1:
        return NULL
    if count == 1:
        return put_text(s, only, only_end, start)
    out[0] = 93
    return out + 1


cdef Py_ssize_t put_turns(const unsigned char *s, Py_ssize_t i, Py_ssize_t n, char *start) noexcept nogil:
    """What stands between the brackets of a list of plain turns, from ``[`` at ``i`` to behind ``]`` at ``n``; how long it
    is, -1 for any other list."""
    cdef Py_ssize_t role[2]
    cdef Py_ssize_t content[2]
    cdef Py_ssize_t size
    cdef char *out = start
    if i >= n or s[i] != 91:
        return -1
    i += 1
    while True:
        i = two_values(s, skip_space(s, i, n), n, b"role", 4, b"content", 7, role, content)
        if i < 0 or s[role[0]] != 34:
            return -1
        size = role[1] - role[0]
        if not (
            says_word(s, role[0], role[1], b"user", 4)
            or says_word(s, role[0], role[1], b"assistant", 9)
            or says_word(s, role[0], role[1], b"system", 6)
        ):
            return -1
        out = put(put(put(out, b"{\"role\":", 8), <const char *>s + role[0], size), b",\"content\":", 11)
        if s[content[0]] == 34:
            out = put_text(s, content[0], content[1], out)
        elif s[content[0]] == 91:
            out = put_parts(s, content[0], content[1], out)
        else:
            return -1
        if out == NULL:
            return -1
        out[0] = 125
        out += 1
        i = skip_space(s, i, n)
        if i >= n:
            return -1
        if s[i] == 93:
            return out - start if i == n - 1 else -1
        if s[i] != 44:
            return -1
        out[0] = 44
        out += 1
        i += 1


cdef bytes turns_of(const char *s, Py_ssize_t i, Py_ssize_t n):
    """The same as bytes, or None."""
    cdef bytes room = PyBytes_FromStringAndSize(NULL, n - i)
    cdef Py_ssize_t size = put_turns(<const unsigned char *>s, i, n, PyBytes_AS_STRING(room))
    return None if size < 0 else PyBytes_FromStringAndSize(PyBytes_AS_STRING(room), size)


def turns(bytes text):
    """``turns_of`` a whole list."""
    return turns_of(PyBytes_AS_STRING(text), 0, PyBytes_GET_SIZE(text))


cdef class Mould:
    """A reply in the caller's dialect, cut where those to calls like one another differ (express_moulds.py)."""

    cdef readonly tuple pieces
    cdef readonly bytes slots
    """What stands behind each piece but the last: the call's ``i``d, the ``t``ext as JSON, when it was ``c``reated (Unix
    seconds), or @ and the sum of 1 input, 2 cached, 4 output, 8 thoughts: so many tokens."""

    def __init__(self, tuple pieces, bytes slots):
        if len(pieces) != len(slots) + 1 or not all(type(piece) is bytes for piece in pieces):
            raise ValueError("A mould has a slot between each two pieces.")
        self.pieces, self.slots = pieces, slots

    cpdef bytes fill(
        self, bytes id, bytes text, int64_t created_s, int64_t input, int64_t cached, int64_t output, int64_t thought
    ):
        """The reply."""
        cdef Py_ssize_t k, n = PyBytes_GET_SIZE(self.slots), room = 0
        cdef const char *slots = PyBytes_AS_STRING(self.slots)
        cdef int64_t tokens
        cdef bytes piece, out
        cdef char *to
        cdef char slot
        for k in range(n):
            slot = slots[k]
            room += PyBytes_GET_SIZE(id) if slot == 105 else PyBytes_GET_SIZE(text) if slot == 116 else 20
        for piece in self.pieces:
            room += PyBytes_GET_SIZE(piece)
        out = PyBytes_FromStringAndSize(NULL, room)
        to = PyBytes_AS_STRING(out)
        for k in range(n):
            piece = <bytes>self.pieces[k]
            to = put(to, PyBytes_AS_STRING(piece), PyBytes_GET_SIZE(piece))
            slot = slots[k]
            if slot == 105:
                to = put(to, PyBytes_AS_STRING(id), PyBytes_GET_SIZE(id))
            elif slot == 116:
                to = put(to, PyBytes_AS_STRING(text), PyBytes_GET_SIZE(text))
            elif slot == 99:
                to = put_int(to, created_s)
            else:
                tokens = input if slot & 1 else 0
                if slot & 2:
                    tokens += cached
                if slot & 4:
                    tokens += output
                if slot & 8:
                    tokens += thought
                to = put_int(to, tokens)
        piece = <bytes>self.pieces[n]
        to = put(to, PyBytes_AS_STRING(piece), PyBytes_GET_SIZE(piece))
        return PyBytes_FromStringAndSize(PyBytes_AS_STRING(out), to - PyBytes_AS_STRING(out))
