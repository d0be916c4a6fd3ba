# Which key serves a call, and what it takes and pays. Part of _express.pyx.

cdef class Way:
    """How a call leaves with one provider key, and the words that explain it."""

    cdef public str key, secret, tried
    cdef public bytes block
    """The request's head, up to the content-length's digits."""
    cdef public bytes explained_1, explained_2, explained_3
    """The explanation's JSON around the two moments at which something happened."""


cdef Way way_of(Shape shape, double now_s):
    """The draw among the keys, as the short lane draws (routing.keys) while none is in trouble."""
    cdef tuple sums = shape.sums
    cdef Py_ssize_t at = 0, last = len(sums) - 1
    cdef double drawn
    if last > 0:
        drawn = <double>shape.random() * <double>sums[last]
        while at < last and <double>sums[at] <= drawn:
            at += 1
    return (<list>shape.drawn)[at]


cdef object charge(Shape shape, str id, Py_ssize_t body_bytes, int64_t tokens, double now_s):
    """Rates, places and money. False: there is not enough of something, and nothing was taken."""
    if shape.toll is not None:
        return shape.toll.take(id, body_bytes, tokens, now_s)
    if shape.limits is not None and shape.limits.admit(tokens, now_s) is not None:
        return False
    return None


cdef pay(Call call, object cost_nusd, int64_t used, double now_s):
    """Settle what the call has taken, once: what it cost (None: all that was held), and the tokens it used."""
    cdef Shape shape = call.shape
    if call.paid:
        return
    call.paid = True
    if shape.toll is not None:
        if call.hold is not True:
            call.hold.settle(cost_nusd)
        shape.toll.leave(call.id, call.tokens, used, now_s)
    elif shape.limits is not None:
        shape.limits.settle(call.tokens, used, now_s)
