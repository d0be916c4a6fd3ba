# cython: language_level=3, boundscheck=False, wraparound=False, nonecheck=False, binding=False
"""Rows into SQLite without the GIL: one prepared statement a table, bound and stepped in C. See native_rows.py.

Rules
- SQLite is the library that Python's ``sqlite3`` has loaded, never another copy: two copies in one process would undo each
  other's file locks (sqlite.org/howtocorrupt.html, 2.2.1).
- While the GIL is given away, nothing is touched but numbers and the text of strings that the batch keeps alive.
"""

from cpython.mem cimport PyMem_Free, PyMem_Malloc
from libc.stdint cimport int64_t

import sqlite3

cdef extern from *:
    """
    #ifndef PENSTOCK_SOURCES
    #define PENSTOCK_SOURCES ""
    #endif
    """
    const char *PENSTOCK_SOURCES

SOURCES = PENSTOCK_SOURCES.decode("ascii")  # a digest of what this was built of (hatch_build.py)

cdef extern from "dlfcn.h" nogil:
    void *dlopen(const char *path, int mode)
    void *dlsym(void *library, const char *name)
    int RTLD_NOW
    int RTLD_NOLOAD

cdef extern from "Python.h":
    const char *PyUnicode_AsUTF8AndSize(object text, Py_ssize_t *size) except NULL

ctypedef int (*open_f)(const char *, void **, int, const char *) noexcept nogil
ctypedef int (*close_f)(void *) noexcept nogil
ctypedef int (*prepare_f)(void *, const char *, int, void **, const char **) noexcept nogil
ctypedef int (*statement_f)(void *) noexcept nogil
ctypedef int (*int_f)(void *, int, int64_t) noexcept nogil
ctypedef int (*double_f)(void *, int, double) noexcept nogil
ctypedef int (*null_f)(void *, int) noexcept nogil
ctypedef int (*text_f)(void *, int, const char *, int, void *) noexcept nogil
ctypedef int (*exec_f)(void *, const char *, void *, void *, void *) noexcept nogil
ctypedef const char *(*words_f)(void *) noexcept nogil
ctypedef int (*timeout_f)(void *, int) noexcept nogil

cdef struct Library:
    open_f open
    close_f close
    prepare_f prepare
    statement_f step
    statement_f reset
    statement_f finalize
    int_f bind_int
    double_f bind_double
    null_f bind_null
    text_f bind_text
    exec_f exec
    words_f errmsg
    timeout_f busy_timeout

cdef enum:
    OK = 0
    DONE = 101
    READWRITE = 2
    NOMUTEX = 0x8000
    MOST_TEXT = 1 << 30
    SLICE = 128

cdef enum Kind:
    NULL_VALUE
    INT_VALUE
    DOUBLE_VALUE
    TEXT_VALUE

cdef struct Value:
    Kind kind
    int size
    int64_t whole
    double real
    const char *text

cdef Library LIBRARY
cdef bint LOADED = False
cdef tuple NAMES = ("libsqlite3.so.0", "libsqlite3.so", "libsqlite3.dylib", "libsqlite3.0.dylib")


cdef bint load() except -1:
    """Find SQLite where it is loaded already. False: it is not there as a library of its own."""
    global LOADED
    cdef void *library = NULL
    cdef bytes name
    if LOADED:
        return True
    for text in NAMES:
        name = text.encode()
        library = dlopen(name, RTLD_NOW | RTLD_NOLOAD)
        if library != NULL:
            break
    if library == NULL:
        return False
    LIBRARY.open = <open_f>dlsym(library, b"sqlite3_open_v2")
    LIBRARY.close = <close_f>dlsym(library, b"sqlite3_close_v2")
    LIBRARY.prepare = <prepare_f>dlsym(library, b"sqlite3_prepare_v2")
    LIBRARY.step = <statement_f>dlsym(library, b"sqlite3_step")
    LIBRARY.reset = <statement_f>dlsym(library, b"sqlite3_reset")
    LIBRARY.finalize = <statement_f>dlsym(library, b"sqlite3_finalize")
    LIBRARY.bind_int = <int_f>dlsym(library, b"sqlite3_bind_int64")
    LIBRARY.bind_double = <double_f>dlsym(library, b"sqlite3_bind_double")
    LIBRARY.bind_null = <null_f>dlsym(library, b"sqlite3_bind_null")
    LIBRARY.bind_text = <text_f>dlsym(library, b"sqlite3_bind_text")
    LIBRARY.exec = <exec_f>dlsym(library, b"sqlite3_exec")
    LIBRARY.errmsg = <words_f>dlsym(library, b"sqlite3_errmsg")
    LIBRARY.busy_timeout = <timeout_f>dlsym(library, b"sqlite3_busy_timeout")
    LOADED = (
        LIBRARY.open != NULL and LIBRARY.close != NULL and LIBRARY.prepare != NULL and LIBRARY.step != NULL
        and LIBRARY.reset != NULL and LIBRARY.finalize != NULL and LIBRARY.bind_int != NULL
        and LIBRARY.bind_double != NULL and LIBRARY.bind_null != NULL and LIBRARY.bind_text != NULL
        and LIBRARY.exec != NULL and LIBRARY.errmsg != NULL and LIBRARY.busy_timeout != NULL
    )
    return LOADED


def available():
    """SQLite is there as a library of its own, the one that ``sqlite3`` uses."""
    return load()


cdef class Writer:
    """A connection of its own to a ledger that exists, for one thread at a time."""

    cdef void *db
    cdef void *statements[2]
    cdef int widths[2]

    def __cinit__(self, str path, tuple pragmas, tuple statements, tuple widths):
        """``statements`` and ``widths``: of calls, then of entries; each writes one row. Raises sqlite3.Error."""
        cdef bytes raw = path.encode(), words
        cdef int at
        if not load():
            raise sqlite3.NotSupportedError("SQLite is not there as a library of its own")
        if LIBRARY.open(raw, &self.db, READWRITE | NOMUTEX, NULL) != OK:
            raise self.fault()
        LIBRARY.busy_timeout(self.db, 5000)
        for text in pragmas:
            self.execute(text.encode())
        for at in range(2):
            words = statements[at].encode()
            self.widths[at] = widths[at]
            if LIBRARY.prepare(self.db, words, -1, &self.statements[at], NULL) != OK:
                raise self.fault()

    def __dealloc__(self):
        self.close()

    cpdef close(self):
        """Let go of the file."""
        cdef int at
        for at in range(2):
            if self.statements[at] != NULL:
                LIBRARY.finalize(self.statements[at])
                self.statements[at] = NULL
        if self.db != NULL:
            LIBRARY.close(self.db)
            self.db = NULL

    cdef fault(self):
        """What SQLite says, as the exception that ``sqlite3`` would raise."""
        return sqlite3.OperationalError(LIBRARY.errmsg(self.db).decode("utf-8", "replace"))

    cpdef execute(self, bytes statement):
        """One statement whose rows nobody reads. Raises sqlite3.Error."""
        cdef const char *text = statement
        cdef int code
        with nogil:
            code = LIBRARY.exec(self.db, text, NULL, NULL, NULL)
        if code != OK:
            raise self.fault()

    def write(self, list batch):
        """Rows of calls and entries (ledger.store.Row), in one transaction. Raises sqlite3.Error, and what a value that
        cannot be bound raises: UnicodeEncodeError, OverflowError, sqlite3.InterfaceError. Then nothing is written."""
        cdef Py_ssize_t start, count = len(batch)
        cdef bint begun = False
        try:
            for start in range(0, count, SLICE):
                self.slice(batch[start : start + SLICE], not start, start + SLICE >= count)
                begun = True
        except BaseException:
            if begun:
                LIBRARY.exec(self.db, b"ROLLBACK", NULL, NULL, NULL)
            raise

    cdef slice(self, list batch, bint first, bint last):
        """Some rows, and the transaction's beginning and end where they are its first and last: the GIL is given away once."""
        cdef Py_ssize_t values = 1, calls = 0, entries = 0
        cdef int code = OK
        cdef void *db = self.db
        cdef Value *bound
        cdef Value *to
        for _, call, entry in batch:
            values += len(<list>call) + len(<list>entry)
            calls += len(<list>call) // self.widths[0]
            entries += len(<list>entry) // self.widths[1]
        bound = <Value *>PyMem_Malloc(values * sizeof(Value))
        if bound == NULL:
            raise MemoryError
        try:
            to = bound
            for _, call, _ in batch:
                to = take(to, <list>call)
            for _, _, entry in batch:
                to = take(to, <list>entry)
            with nogil:
                if first:
                    code = LIBRARY.exec(db, b"BEGIN IMMEDIATE", NULL, NULL, NULL)
                if code == OK:
                    code = step_all(self.statements[0], bound, calls, self.widths[0])
                if code == OK:
                    code = step_all(self.statements[1], bound + calls * self.widths[0], entries, self.widths[1])
                if code == OK and last:
                    code = LIBRARY.exec(db, b"COMMIT", NULL, NULL, NULL)
            if code != OK:
                error = self.fault()
                LIBRARY.exec(db, b"ROLLBACK", NULL, NULL, NULL)
                raise error
        finally:
            PyMem_Free(bound)


cdef Value *take(Value *to, list values) except NULL:
    """What is to be bound, without a copy of any text: the list keeps it."""
    cdef Py_ssize_t size
    for value in values:
        if type(value) is str:
            to.kind = TEXT_VALUE
            to.text = PyUnicode_AsUTF8AndSize(value, &size)
            if size > MOST_TEXT:
                raise OverflowError("a text is too long for SQLite")
            to.size = <int>size
        elif type(value) is float:
            to.kind = DOUBLE_VALUE
            to.real = value
        elif value is None:
            to.kind = NULL_VALUE
        elif isinstance(value, int):
            to.kind = INT_VALUE
            to.whole = value
        else:
            raise sqlite3.InterfaceError(f"a {type(value).__name__} cannot be bound")
        to += 1
    return to


cdef int step_all(void *statement, Value *value, Py_ssize_t rows, int width) noexcept nogil:
    """Each row bound and written. 0, or SQLite's code for the first that was not."""
    cdef Py_ssize_t row
    cdef int at, code
    for row in range(rows):
        for at in range(1, width + 1):
            if value.kind == TEXT_VALUE:
                code = LIBRARY.bind_text(statement, at, value.text, value.size, NULL)  # SQLITE_STATIC
            elif value.kind == INT_VALUE:
                code = LIBRARY.bind_int(statement, at, value.whole)
            elif value.kind == DOUBLE_VALUE:
                code = LIBRARY.bind_double(statement, at, value.real)  # a NaN is NULL to SQLite
            else:
                code = LIBRARY.bind_null(statement, at)
            if code != OK:
                return code
            value += 1
        code = LIBRARY.step(statement)
        LIBRARY.reset(statement)
        if code != DONE:
            return code
    return OK
