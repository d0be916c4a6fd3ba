# cython: language_level=3, boundscheck=False, wraparound=False, nonecheck=False, cdivision=True, binding=False
"""The till of calls like one another, in native code: budgets.Bucket's figures, and what gateway.toll.Toll does with them.

Rules
- A call takes all or nothing, in the order of the long way: money, places, rates. All in one step: no Python code that
  could call back runs between the first budget's look and the last one's change.
- What is held stands in ``committed`` and nowhere else: whoever has a ``Held`` settles it, or has it adopted by the
  budgets (gateway.purse), once.
- Figures are nano-dollars in 64 bits: a limit is at most a million dollars (config.rates), so no sum overflows.
"""

cimport cython
from libc.stdint cimport int64_t

cdef extern from *:
    """
    #ifndef PENSTOCK_SOURCES
    #define PENSTOCK_SOURCES ""
    #endif
    """
    const char *PENSTOCK_SOURCES

SOURCES = PENSTOCK_SOURCES.decode("ascii")  # a digest of what this was built of (hatch_build.py)


cdef class Bucket:
    """budgets.Bucket: one budget in one window."""

    cdef public object account
    cdef public double start_s, end_s
    cdef public int64_t spent, committed, limit, ceiling
    cdef public bint moved

    def __init__(self, account, double start_s, double end_s):
        self.account = account
        self.start_s = start_s
        self.end_s = end_s

    @property
    def reserved(self):
        """What running calls hold."""
        return self.committed - self.spent


@cython.final
@cython.no_gc
@cython.freelist(64)
cdef class Held:
    """What one call holds, in all budgets of its path. It refers to nothing that could refer to it."""

    cdef Till till
    cdef readonly tuple buckets
    cdef readonly int64_t amount
    cdef readonly Py_ssize_t body_bytes

    def settle(self, cost_nusd):
        """What it cost; what is not known is counted as all that was held."""
        cdef int64_t spent = self.amount if cost_nusd is None else cost_nusd
        cdef int64_t back = spent - self.amount
        cdef Bucket bucket
        if spent < 0:
            raise ValueError("A cost is not negative.")
        for one in self.buckets:
            bucket = <Bucket?>one
            bucket.committed += back
            bucket.spent += spent
            if not bucket.moved:
                bucket.moved = True
                self.till.moved.add(bucket)


@cython.final
cdef class Till:
    """What calls take and pay that differ in the length of their body alone."""

    cdef object path, limits, treasury
    cdef list places
    cdef set moved
    cdef int64_t more_tokens, in_pico, in_per, others_nusd

    def __init__(self, treasury, path, tuple prices, list places, limits, set moved):
        """``prices``: tokens of the prompt beside a body's bytes, pico-dollars and per of a token of it, and what else is
        held, in nano-dollars. ``places``: the places, their dict, the most, the lease. ``moved``: buckets to be told of."""
        self.treasury, self.path, self.limits, self.places, self.moved = treasury, path, limits, places, moved
        self.more_tokens, self.in_pico, self.in_per, self.others_nusd = prices
        if not (0 <= self.in_pico < 1 << 31 and 0 < self.in_per <= 1000000 and self.more_tokens < 1 << 30):
            raise OverflowError("beyond what the till can count")

    cpdef amount(self, Py_ssize_t body_bytes):
        """Nano-dollars to be held for a body of this length."""
        cdef int64_t pico = (body_bytes + self.more_tokens) * self.in_pico, per = self.in_per * 1000
        return (pico + per - 1) // per + self.others_nusd

    def take(self, str rid, Py_ssize_t body_bytes, int64_t tokens, double now_s):
        """What is held, or False: there is not enough of something, and nothing was taken. ``now_s`` is monotonic."""
        cdef object treasury = self.treasury
        cdef tuple buckets
        cdef int64_t amount
        cdef Held held
        cdef Bucket bucket
        if body_bytes >= 1 << 30:
            return False
        if treasury.due is None:
            treasury.wake()
        buckets = self.path.at(treasury.unix_s())
        amount = self.amount(body_bytes)
        for one in buckets:
            bucket = <Bucket?>one
            if bucket.committed + amount > bucket.limit:
                return False
        if not self.enter(rid, tokens, now_s):
            return False
        for one in buckets:
            bucket = <Bucket>one
            bucket.committed += amount
        held = Held.__new__(Held)
        held.till, held.buckets, held.amount, held.body_bytes = self, buckets, amount, body_bytes
        return held

    cdef bint enter(self, str rid, int64_t tokens, double now_s) except -1:
        """A place and the rates, or nothing."""
        cdef Py_ssize_t taken = 0
        cdef bint entered = False
        cdef dict running
        try:
            for places, held, most, lease_s in self.places:
                running = held
                if running is not None and len(running) < <int64_t>most and rid not in running:
                    running[rid] = now_s + <double>lease_s
                elif places.take(rid, now_s) is not None:
                    return False
                taken += 1
            entered = self.limits is None or self.limits.admit(tokens, now_s) is None
            return entered
        finally:
            if not entered:
                self.go(rid, taken)

    cdef go(self, str rid, Py_ssize_t levels):
        cdef dict running
        for places, held, _, _ in self.places[:levels]:
            running = held
            if running is None:
                places.give(rid)
            else:
                running.pop(rid, None)

    def leave(self, str rid, int64_t estimated, int64_t used, double now_s):
        """The call is over, and has used so many tokens."""
        self.go(rid, len(self.places))
        if self.limits is not None:
            self.limits.settle(estimated, used, now_s)
