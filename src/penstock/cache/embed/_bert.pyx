# cython: language_level=3, boundscheck=False, wraparound=False, nonecheck=False, cdivision=True, binding=False
"""The embedder's BERT in native code: what ``graph`` writes for onnxruntime, for processors with AVX2. See native.py."""

from cpython.buffer cimport PyBUF_C_CONTIGUOUS, PyBuffer_Release, PyObject_GetBuffer
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize
from libc.stdlib cimport calloc, free, malloc

include "_bert_product.pxi"
include "_bert_layers.pxi"

SOURCES = PENSTOCK_SOURCES.decode("ascii")  # a digest of what this was built of (hatch_build.py)
COLUMNS, GROUP = 16, 8
MOST_SPARE = 4194304  # bytes of working memory that are kept from one text to the next


def able():
    """This processor has what it needs."""
    return bool(bert_able())


cdef class Bert:
    """One model. ``parts``: its arrays in the order of native.py, aligned to 32 bytes and held here."""

    cdef bert_model model
    cdef Py_buffer *buffers
    cdef int held
    cdef int pieces, window
    cdef char *spare
    cdef size_t spare_bytes

    def __cinit__(self, sizes, double epsilon, parts):
        cdef int layers, heads, hidden, wide
        layers, heads, hidden, wide, self.pieces, self.window = sizes
        if hidden % 32 or wide % 32 or hidden % heads or hidden // heads % 32 or layers < 1:
            raise ValueError("A model of this form is not computed natively.")
        if len(parts) != 5 + 24 * layers:
            raise ValueError("Another number of arrays was expected.")
        self.model.layers, self.model.heads, self.model.hidden, self.model.wide = layers, heads, hidden, wide
        self.model.epsilon = epsilon
        self.buffers = <Py_buffer *>calloc(len(parts), sizeof(Py_buffer))
        self.model.each = <bert_layer *>calloc(layers, sizeof(bert_layer))
        if self.buffers is NULL or self.model.each is NULL:
            raise MemoryError
        each = iter(parts)
        self.model.words = <const signed char *>self.take(next(each), self.pieces * hidden)
        self.model.words_scale = <const float *>self.take(next(each), 4 * self.pieces)
        self.model.places = <const float *>self.take(next(each), 4 * self.window * hidden)
        self.model.norm_weight = <const float *>self.take(next(each), 4 * hidden)
        self.model.norm_bias = <const float *>self.take(next(each), 4 * hidden)
        for number in range(layers):
            self.layer(&self.model.each[number], each)

    cdef int layer(self, bert_layer *it, each) except -1:
        cdef int hidden = self.model.hidden
        self.product(&it.joined, each, hidden, 3 * hidden)
        self.product(&it.attended, each, hidden, hidden)
        it.first_weight = <const float *>self.take(next(each), 4 * hidden)
        it.first_bias = <const float *>self.take(next(each), 4 * hidden)
        self.product(&it.wide, each, hidden, self.model.wide)
        self.product(&it.narrow, each, self.model.wide, hidden)
        it.second_weight = <const float *>self.take(next(each), 4 * hidden)
        it.second_bias = <const float *>self.take(next(each), 4 * hidden)
        return 0

    cdef int product(self, bert_product *it, each, int rows, int columns) except -1:
        it.columns_in, it.columns_out = rows, columns
        it.packed = <const signed char *>self.take(next(each), rows * columns)
        it.order = <const int *>self.take(next(each), 4 * (rows // GROUP + 1) * (columns // COLUMNS))
        it.sums = <const int *>self.take(next(each), 4 * columns)
        it.scale = <const float *>self.take(next(each), 4 * columns)
        it.bias = <const float *>self.take(next(each), 4 * columns)
        return 0

    cdef const void *take(self, part, Py_ssize_t size) except NULL:
        cdef Py_buffer *buffer = &self.buffers[self.held]
        PyObject_GetBuffer(part, buffer, PyBUF_C_CONTIGUOUS)
        self.held += 1
        if buffer.len != size or <size_t>buffer.buf % 32:
            raise ValueError("An array has not the size or the alignment that was expected.")
        return buffer.buf

    def embed(self, pieces):
        """float32, of length 1, of these word pieces. Other threads run meanwhile, and may call it, too."""
        cdef int rows = len(pieces)
        if not 0 < rows <= self.window:
            raise ValueError("More word pieces than the window, or none.")
        cdef size_t needs = bert_needs(&self.model, rows) + 4 * rows
        cdef char *memory = self.spare
        cdef size_t has = self.spare_bytes
        self.spare, self.spare_bytes = NULL, 0
        if has < needs:
            free(memory)
            has, memory = needs, <char *>malloc(needs)
            if memory is NULL:
                raise MemoryError
        cdef int *numbers = <int *>(memory + needs - 4 * rows)
        cdef long piece
        cdef int at = 0
        for piece in pieces:
            if not 0 <= piece < self.pieces:
                free(memory)
                raise ValueError("A word piece is none of the vocabulary.")
            numbers[at] = <int>piece
            at += 1
        made = PyBytes_FromStringAndSize(NULL, 4 * self.model.hidden)
        cdef float *vector = <float *>PyBytes_AS_STRING(made)
        with nogil:
            bert_embed(&self.model, numbers, rows, memory, vector)
        if self.spare is NULL and has <= MOST_SPARE:
            self.spare, self.spare_bytes = memory, has
        else:
            free(memory)
        return made

    def __dealloc__(self):
        for number in range(self.held):
            PyBuffer_Release(&self.buffers[number])
        free(self.buffers)
        free(self.model.each)
        free(self.spare)
