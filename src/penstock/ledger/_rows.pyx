# cython: language_level=3, boundscheck=False, wraparound=False, nonecheck=False, binding=False
"""Rows into SQLite without the GIL: a few prepared statements a table, bound and stepped in C. See native_rows.py.

Theory
------
Rows of calls that are alike (rows.Form) differ in a third of their values. SQLite keeps what is bound when a statement is
reset: so of such rows only what differs is bound, as long as the row before in that place was of the same form.

A statement of sixteen rows takes half of SQLite's instructions for a row that a statement of one takes: a step opens a
cursor on the table and on each of its indexes, and ends as a statement.

Rules
- SQLite is the library that Python's ``sqlite3`` calls, never another copy: two copies in one process would undo each
  other's file locks (sqlite.org/howtocorrupt.html, 2.2.1). So it is asked for by way of ``_sqlite3``, which looks through
  what that module was linked with: another copy, that another module has brought along, may be loaded by SQLite's name.
- While the GIL is given away, nothing is touched but numbers and the text of strings that the batch keeps alive.
"""

from cpython.mem cimport PyMem_Free, PyMem_Malloc
from libc.stdint cimport int64_t
from libc.string cimport memset

import _sqlite3
import sqlite3
from os import fsencode

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
    SLICE_VALUES = 8192  # 128 rows of a call and an entry, or five hundred that are alike
    MAX_MOULDS = 256
    CALLS = 0
    ENTRIES = 1
    BEGIN = 0
    COMMIT = 1
    SIZES = 3  # statements of how many rows: SIZE
    MOST_ROWS = 16

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

cdef struct Plan:
    # What rows of one table have in common, and which of their own values goes where.
    int width
    int own
    int *column
    int *value
    Value *common

cdef struct Row:
    # All values of a row; of one that is alike its own, and the plan that says the rest.
    Value *values
    Plan *plan

cdef int[SIZES] SIZE = [MOST_ROWS, 4, 1]
cdef Library LIBRARY
cdef bint LOADED = False


cdef bint load() except -1:
    """Find SQLite where ``_sqlite3`` has it from. False: it is not to be found there, because it was linked in."""
    global LOADED
    cdef void *library = NULL
    cdef bytes name
    if LOADED:
        return True
    found = getattr(_sqlite3, "__file__", None)
    if not found:
        return False
    name = fsencode(found)
    library = dlopen(name, RTLD_NOW | RTLD_NOLOAD)
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


cdef class Mould:
    """A form's plans."""

    cdef object form
    """Its texts are what the plans point at."""
    cdef Plan call, entry
    cdef Py_ssize_t own
    """How many values a row brings."""

    def __cinit__(self, form, int calls, int entries):
        self.form = form
        self.own = form.own
        make_plan(&self.call, form.call, form.call_places, calls, self.own)
        make_plan(&self.entry, form.entry, form.entry_places, entries, self.own)

    def __dealloc__(self):
        free_plan(&self.call)
        free_plan(&self.entry)


cdef int make_plan(Plan *plan, list common, tuple places, int width, Py_ssize_t own) except -1:
    cdef Py_ssize_t at, count = len(places)
    if len(common) != width:
        raise ValueError("a form for other tables")
    plan.width, plan.own = width, <int>count
    plan.column = <int *>PyMem_Malloc(count * sizeof(int))
    plan.value = <int *>PyMem_Malloc(count * sizeof(int))
    plan.common = <Value *>PyMem_Malloc(width * sizeof(Value))
    if plan.column == NULL or plan.value == NULL or plan.common == NULL:
        raise MemoryError
    take(plan.common, common)
    for at in range(count):
        plan.column[at], plan.value[at] = places[at]
        if not (0 <= plan.column[at] < width and 0 <= plan.value[at] < own):
            raise ValueError("a form with a place that there is not")
    return 0


cdef void free_plan(Plan *plan):
    PyMem_Free(plan.column)
    PyMem_Free(plan.value)
    PyMem_Free(plan.common)


cdef class Writer:
    """A connection of its own to a ledger that exists, for one thread at a time."""

    cdef void *db
    cdef void *statements[2][SIZES]
    cdef void *ends[2]
    cdef int widths[2]
    cdef Plan *bound[2][SIZES][MOST_ROWS]
    """Whose common values are bound in which place of a statement; its mould is among ``moulds``."""
    cdef dict moulds
    cdef object form
    cdef readonly Py_ssize_t bindings
    """How many values were bound (for tests)."""

    def __cinit__(self, str path, tuple pragmas, tuple statements, tuple widths, form):
        """``statements`` and ``widths``: of calls, then of entries; of each statement one that writes sixteen rows, four, and
        one. ``form``: what rows that are alike begin with (rows.Form). Raises sqlite3.Error."""
        cdef bytes raw = fsencode(path)
        cdef int at, size
        if not load():
            raise sqlite3.NotSupportedError("SQLite is not there as a library of its own")
        if LIBRARY.open(raw, &self.db, READWRITE | NOMUTEX, NULL) != OK:
            raise self.fault()
        LIBRARY.busy_timeout(self.db, 5000)
        for text in pragmas:
            self.execute(text.encode())
        for at in range(2):
            self.widths[at] = widths[at]
            for size in range(SIZES):
                self.statements[at][size] = self.prepared(statements[at][size])
        self.ends[BEGIN], self.ends[COMMIT] = self.prepared("BEGIN IMMEDIATE"), self.prepared("COMMIT")
        self.moulds = {}
        self.form = form

    def __dealloc__(self):
        self.close()

    cdef void *prepared(self, str text) except NULL:
        cdef bytes words = text.encode()
        cdef void *statement = NULL
        if LIBRARY.prepare(self.db, words, -1, &statement, NULL) != OK:
            raise self.fault()
        return statement

    cpdef close(self):
        """Let go of the file."""
        cdef int at, size
        for at in range(2):
            finish(&self.ends[at])
            for size in range(SIZES):
                finish(&self.statements[at][size])
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
        """Rows of calls and entries (ledger.store.Row, rows.Alike), in one transaction; how many entries they are. Raises
        sqlite3.Error, and what a value that cannot be bound raises: UnicodeEncodeError, OverflowError,
        sqlite3.InterfaceError. Then nothing is written."""
        cdef Py_ssize_t start = 0, entries = 0, count = len(batch)
        cdef bint begun = False
        if len(self.moulds) > MAX_MOULDS:
            memset(self.bound, 0, sizeof(self.bound))
            self.moulds.clear()
        try:
            while start < count:
                start = self.slice(batch, start, &entries)
                begun = True
        except BaseException:
            if begun:
                LIBRARY.exec(self.db, b"ROLLBACK", NULL, NULL, NULL)
            raise
        return entries

    cdef Py_ssize_t slice(self, list batch, Py_ssize_t start, Py_ssize_t *stored) except -1:
        """Some rows, and the transaction's beginning and end where they are its first and last: the GIL is given away once.
        Where the next slice starts."""
        cdef Py_ssize_t values = 1, calls = 1, entries = 1, end = start, count = len(batch)
        cdef int code = OK
        cdef Value *bound
        cdef Row *rows
        cdef tuple one
        while end < count and values < SLICE_VALUES:
            one = batch[end]
            if type(one[0]) is self.form:
                values += len(one)
                calls += 1
                entries += 1
            else:
                values += len(<list>one[1]) + len(<list>one[2])
                calls += len(<list>one[1]) // self.widths[CALLS]
                entries += len(<list>one[2]) // self.widths[ENTRIES]
            end += 1
        bound = <Value *>PyMem_Malloc(values * sizeof(Value))
        rows = <Row *>PyMem_Malloc((calls + entries) * sizeof(Row))
        try:
            if bound == NULL or rows == NULL:
                raise MemoryError
            self.lay_out(batch[start:end], rows, rows + calls, bound)
            with nogil:
                if not start:
                    code = step(self.ends[BEGIN])
                if code == OK:
                    code = self.step_all(CALLS, rows, calls - 1)
                if code == OK:
                    code = self.step_all(ENTRIES, rows + calls, entries - 1)
                if code == OK and end == count:
                    code = step(self.ends[COMMIT])
            if code != OK:
                error = self.fault()
                LIBRARY.exec(self.db, b"ROLLBACK", NULL, NULL, NULL)
                raise error
        finally:
            PyMem_Free(bound)
            PyMem_Free(rows)
        stored[0] += entries - 1
        return end

    cdef int lay_out(self, list batch, Row *call, Row *entry, Value *to) except -1:
        """Addresses and numbers of what is to be bound. The batch keeps the texts, ``moulds`` the plans."""
        cdef tuple one
        cdef list values
        cdef Mould mould
        for one in batch:
            if type(one[0]) is self.form:
                mould = self.moulds.get(one[0])
                if mould is None:
                    mould = self.moulds[one[0]] = Mould(one[0], self.widths[CALLS], self.widths[ENTRIES])
                if len(one) - 1 != mould.own:
                    raise ValueError("a row of another form")
                call.values = entry.values = to
                call.plan, entry.plan = &mould.call, &mould.entry
                call += 1
                entry += 1
                for value in one[1:]:
                    to = take_one(to, value)
            else:
                values = one[1]
                call = rows_at(call, to, len(values), self.widths[CALLS])
                to = take(to, values)
                values = one[2]
                entry = rows_at(entry, to, len(values), self.widths[ENTRIES])
                to = take(to, values)
        return 0

    cdef int step_all(self, int table, Row *row, Py_ssize_t rows) noexcept nogil:
        """Each row of one table bound and written. 0, or SQLite's code for the first statement that was not."""
        cdef int size, place, code = OK
        for size in range(SIZES):
            while rows >= SIZE[size]:
                for place in range(SIZE[size]):
                    code |= self.bind_row(table, size, place, row)
                    row += 1
                if code == OK:
                    code = step(self.statements[table][size])
                if code != OK:
                    return code
                rows -= SIZE[size]
        return OK

    cdef int bind_row(self, int table, int size, int place, Row *row) noexcept nogil:
        """What a row differs in from what was bound in this place of this statement before."""
        cdef void *statement = self.statements[table][size]
        cdef Plan *plan = row.plan
        cdef int at, code = OK, width = self.widths[table], before = place * width + 1
        if plan == NULL or self.bound[table][size][place] != plan:
            self.bound[table][size][place] = NULL
            for at in range(width):
                code |= bind(statement, before + at, (row.values if plan == NULL else plan.common) + at)
            self.bindings += width
        if plan != NULL and code == OK:
            for at in range(plan.own):
                code |= bind(statement, before + plan.column[at], row.values + plan.value[at])
            self.bindings += plan.own
            self.bound[table][size][place] = plan
        return code


cdef Row *rows_at(Row *row, Value *values, Py_ssize_t count, int width) noexcept:
    """Rows that stand one after the other; behind them."""
    cdef Py_ssize_t at
    for at in range(count // width):
        row.values = values + at * width
        row.plan = NULL
        row += 1
    return row


cdef Value *take(Value *to, list values) except NULL:
    """What is to be bound, without a copy of any text: the list keeps it."""
    for value in values:
        to = take_one(to, value)
    return to


cdef inline Value *take_one(Value *to, object value) except NULL:
    cdef Py_ssize_t size
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
    return to + 1


cdef inline int bind(void *statement, int at, Value *value) noexcept nogil:
    if value.kind == TEXT_VALUE:
        return LIBRARY.bind_text(statement, at, value.text, value.size, NULL)  # SQLITE_STATIC
    if value.kind == INT_VALUE:
        return LIBRARY.bind_int(statement, at, value.whole)
    if value.kind == DOUBLE_VALUE:
        return LIBRARY.bind_double(statement, at, value.real)  # a NaN is NULL to SQLite
    return LIBRARY.bind_null(statement, at)


cdef void finish(void **statement) noexcept:
    if statement[0] != NULL:
        LIBRARY.finalize(statement[0])
        statement[0] = NULL


cdef inline int step(void *statement) noexcept nogil:
    """Run what gives no rows. 0, or SQLite's code."""
    cdef int code = LIBRARY.step(statement)
    LIBRARY.reset(statement)
    return OK if code == DONE else code
