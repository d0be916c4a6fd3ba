# cython: language_level=3, boundscheck=False, wraparound=False, nonecheck=False, binding=False
"""Rows as PostgreSQL's binary COPY reads them (postgresql.org/docs/current/sql-copy.html, "Binary Format"): a tuple is its
count of fields in 16 bits, then of each its length in 32 bits (-1: null) and its bytes, all in network order.

psycopg writes a row of 45 values in ten microseconds; this takes one.

What a batch leaves at its columns' defaults is not sent (``spoken``): most calls have no audio, no images, no team, and the
server takes longer to receive a value than to fill in a default.
"""

from cpython.bytes cimport PyBytes_FromStringAndSize
from libc.stdint cimport int16_t, int32_t, int64_t, uint16_t, uint32_t, uint64_t
from libc.stdlib cimport free, realloc
from libc.string cimport memchr, memcpy

cdef extern from *:
    """
    #ifndef PENSTOCK_SOURCES
    #define PENSTOCK_SOURCES ""
    #endif
    #define big16(x) __builtin_bswap16(x)
    #define big32(x) __builtin_bswap32(x)
    #define big64(x) __builtin_bswap64(x)
    #if __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
    #error "written for little-endian machines"
    #endif
    """
    const char *PENSTOCK_SOURCES
    uint16_t big16(uint16_t)
    uint32_t big32(uint32_t)
    uint64_t big64(uint64_t)

cdef extern from "Python.h":
    const char *PyUnicode_AsUTF8AndSize(object text, Py_ssize_t *size) except NULL

SOURCES = PENSTOCK_SOURCES.decode("ascii")  # a digest of what this was built of (hatch_build.py)

cdef enum:
    TEXT = 116  # "t"
    INTEGER = 105  # "i"
    FLOAT = 102  # "f"
    LEFT_OUT = 45  # "-"


cdef class Out:
    """Bytes that grow."""

    cdef char *at
    cdef Py_ssize_t size, room

    def __dealloc__(self):
        free(self.at)

    cdef char *more(self, Py_ssize_t bytes_) except NULL:
        """Room for so many more, which are taken to be written."""
        cdef char *found
        cdef Py_ssize_t room
        if self.size + bytes_ > self.room:
            room = 2 * self.room + bytes_ + 4096
            found = <char *>realloc(self.at, room)
            if found == NULL:
                raise MemoryError
            self.at, self.room = found, room
        found = self.at + self.size
        self.size += bytes_
        return found

    cdef put32(self, int32_t value):
        cdef uint32_t word = big32(<uint32_t>value)
        memcpy(self.more(4), &word, 4)

    cdef put64(self, uint64_t value):
        cdef uint64_t word = big64(value)
        self.put32(8)
        memcpy(self.more(8), &word, 8)


def spoken(list rows, bytes kinds, tuple silent):
    """``kinds``, with "-" for each column that has in all rows the value that ``silent`` has for it: the column's default."""
    cdef Py_ssize_t at, width = len(kinds)
    cdef bytearray found = bytearray(kinds)
    if len(silent) != width:
        raise ValueError("silent names another number of columns")
    for row in rows:
        if len(<list?>row) != width:
            raise ValueError("a row has another number of values than its table has columns")
    for at in range(width):
        if says_nothing(rows, at, silent[at]):
            found[at] = LEFT_OUT
    return bytes(found)


cdef bint says_nothing(list rows, Py_ssize_t at, object silent):
    cdef bint text = type(silent) is str
    for row in rows:
        value = (<list>row)[at]
        if value is silent:
            continue
        if silent is None:
            if type(value) is float and value != value:
                continue
        elif text and type(value) is str and <str>value == <str>silent:
            continue
        return False
    return True


def tuples(list rows, bytes kinds):
    """The tuples of ``rows``, whose columns are of these ``kinds``: t(ext), i(nteger), f(loat). A NaN is null; a column of
    kind "-" is left out.

    Raises what a value raises that its column cannot hold: TypeError, OverflowError, UnicodeEncodeError, ValueError.
    """
    cdef Out out = Out.__new__(Out)
    cdef const unsigned char *kind = kinds
    cdef int16_t width = <int16_t>len(kinds)
    cdef uint16_t fields = big16(<uint16_t>(width - kinds.count(b"-")))
    for row in rows:
        if len(<list?>row) != width:
            raise ValueError("a row has another number of values than its table has columns")
        memcpy(out.more(2), &fields, 2)
        write(out, <list>row, kind)
    return PyBytes_FromStringAndSize(out.at, out.size)


cdef write(Out out, list row, const unsigned char *kind):
    cdef const char *text
    cdef Py_ssize_t size, at = 0
    cdef double real
    cdef uint64_t word
    for value in row:
        if kind[at] == LEFT_OUT:
            pass
        elif value is None or (type(value) is float and value != value):
            out.put32(-1)
        elif kind[at] == TEXT:
            text = PyUnicode_AsUTF8AndSize(<str?>value, &size)
            if size > 1 << 30:
                raise OverflowError("a text is too long")
            if memchr(text, 0, size) != NULL:
                raise ValueError("PostgreSQL holds no zero byte")
            out.put32(<int32_t>size)
            memcpy(out.more(size), text, size)
        elif kind[at] == INTEGER:
            if not isinstance(value, int):
                raise TypeError("no integer")
            out.put64(<uint64_t><int64_t>value)
        else:
            if not isinstance(value, (int, float)):
                raise TypeError("no number")
            real = value
            memcpy(&word, &real, 8)
            out.put64(word)
        at += 1
