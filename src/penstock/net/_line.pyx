# cython: language_level=3, boundscheck=False, wraparound=False, nonecheck=False, binding=False
"""What a socket calls with bytes of a reply, in native code: usual events of a stream never touch a Python frame. See line.py."""

cdef extern from *:
    """
    #ifndef PENSTOCK_SOURCES
    #define PENSTOCK_SOURCES ""
    #endif
    """
    const char *PENSTOCK_SOURCES

SOURCES = PENSTOCK_SOURCES.decode("ascii")  # a digest of what this was built of (hatch_build.py)


cdef class Line:
    """The same as line.Line."""

    cdef public object exchange
    cdef public object shortcut

    def __init__(self):
        self.exchange = None
        self.shortcut = None

    def data_received(self, data):
        """asyncio: bytes."""
        exchange, shortcut = self.exchange, self.shortcut
        if shortcut is None or exchange is None:
            self.received(data)
            return
        try:
            taken = shortcut(data)
        except BaseException as error:
            exchange.fail(error)
            if not isinstance(error, Exception):
                raise
            return
        if taken:
            exchange.touched = True
        else:
            self.received(data)
