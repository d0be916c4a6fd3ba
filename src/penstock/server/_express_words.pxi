# What the express lane writes: numbers, ids and money as text. Part of _express.pyx.

cdef bytes _POOL = b""
cdef Py_ssize_t _POOL_AT = 0


cdef str request_id(double unix_s):
    """As server.app.App.request_id makes them: 12 hex of milliseconds, 80 random bits."""
    global _POOL, _POOL_AT
    cdef char out[40]
    cdef const unsigned char *raw
    cdef int k
    if _POOL_AT >= PyBytes_GET_SIZE(_POOL):
        _POOL = urandom(2560)
        _POOL_AT = 0
    cdef uint64_t ms = <uint64_t>(unix_s * 1000.0)
    memcpy(out, b"gen-", 4)
    for k in range(12):
        out[15 - k] = b"0123456789abcdef"[(ms >> (4 * k)) & 15]
    raw = <const unsigned char *>PyBytes_AS_STRING(_POOL) + _POOL_AT
    _POOL_AT += 10
    for k in range(10):
        out[16 + 2 * k] = b"0123456789abcdef"[raw[k] >> 4]
        out[17 + 2 * k] = b"0123456789abcdef"[raw[k] & 15]
    return out[:36].decode("ascii")


cdef char *put_int(char *out, int64_t value) noexcept:
    """The digits of what is not negative; behind them."""
    cdef char digits[20]
    cdef int n = 0
    while True:
        digits[n] = <char>(48 + value % 10)
        n += 1
        value //= 10
        if not value:
            break
    while n:
        n -= 1
        out[0] = digits[n]
        out += 1
    return out


cdef char *put_ms(char *out, double value) noexcept:
    """Milliseconds to the microsecond, as ``%.3f`` has them; behind them."""
    cdef int64_t us = <int64_t>(value * 1000 + 0.5) if value > 0 else 0
    out = put_int(out, us // 1000)
    out[0] = 46
    out[1] = <char>(48 + us // 100 % 10)
    out[2] = <char>(48 + us // 10 % 10)
    out[3] = <char>(48 + us % 10)
    return out + 4


cdef inline char *put(char *out, const char *text, Py_ssize_t size) noexcept nogil:
    memcpy(out, text, size)
    return out + size


cdef char *put_usd(char *out, int64_t nusd) noexcept:
    """base.money.usd_text, for what is not negative; behind it."""
    cdef int64_t rest = nusd % 1000000000, unit = 100000000
    out = put_int(out, nusd // 1000000000)
    if rest:
        out[0] = 46
        out += 1
        while rest:
            out[0] = <char>(48 + rest // unit)
            out += 1
            rest %= unit
            unit //= 10
    return out


cdef int64_t line_cost(int64_t quantity, int64_t pico_usd, int64_t per) noexcept:
    """base.money.line_cost_nusd: half-even, in 128 bits."""
    cdef int64_t whole = per * 1000
    cdef int64_t amount = quantity * pico_usd
    cdef int64_t cost = amount // whole, rest = amount % whole
    if 2 * rest > whole or (2 * rest == whole and cost & 1):
        cost += 1
    return cost
