# What the express lane makes of a reply: its figures, and the words of the ledger's rows. Part of _express.pyx.

cdef str explain_text(Way way, double tried_ms, double delivered_ms):
    """The explanation's JSON, with the moments at which something happened."""
    cdef bytes one = way.explained_1, two = way.explained_2, three = way.explained_3
    cdef Py_ssize_t room = PyBytes_GET_SIZE(one) + PyBytes_GET_SIZE(two) + PyBytes_GET_SIZE(three) + 64
    cdef bytes text = PyBytes_FromStringAndSize(NULL, room)
    cdef char *start = PyBytes_AS_STRING(text)
    cdef char *to = put_ms(put(start, PyBytes_AS_STRING(one), PyBytes_GET_SIZE(one)), tried_ms)
    to = put_ms(put(to, PyBytes_AS_STRING(two), PyBytes_GET_SIZE(two)), delivered_ms)
    to = put(to, PyBytes_AS_STRING(three), PyBytes_GET_SIZE(three))
    return PyUnicode_DecodeUTF8(start, to - start, NULL)


cdef str lines_text(Shape shape, int64_t input, int64_t output):
    """The entry's lines as JSON: ledger.entry.Line for each quantity."""
    cdef char text[1024]
    cdef char *to = put(text, b"[", 1)
    if input > 0:
        to = put_line(put(to, b"[\"input\",", 9), shape, input, shape.in_pico, shape.in_per)
    if output > 0:
        if input > 0:
            to = put(to, b",", 1)
        to = put_line(put(to, b"[\"output\",", 10), shape, output, shape.out_pico, shape.out_per)
    to = put(to, b"]", 1)
    return PyUnicode_DecodeUTF8(text, to - text, NULL)


cdef char *put_line(char *to, Shape shape, int64_t quantity, int64_t pico_usd, int64_t per) noexcept:
    """The rest of a line: quantity, price, version and source (``lines_1``: at most 300 bytes), cost."""
    to = put(put_int(to, quantity), b",", 1)
    to = put(put_int(to, pico_usd), b",", 1)
    to = put(put_int(to, per), b",", 1)
    to = put(to, PyBytes_AS_STRING(shape.lines_1), PyBytes_GET_SIZE(shape.lines_1))
    return put(put_int(to, line_cost(quantity, pico_usd, per)), b"]", 1)


cdef frozenset SAYS_NOTHING = frozenset((b"null", b"false", b'""', b"{}", b"[]"))


cdef class Reading:
    """What is billed and told of a reply."""

    cdef int64_t input, output
    cdef str model, id, finish, native_finish


cdef Reading understood(Shape shape, bytes body):
    """A reply with one choice of text and plain usage; None: the dialect's own reader must look."""
    cdef object chunk, usage, choices, choice, piece, native
    cdef Reading reading
    cdef int64_t prompt, completion
    if shape.app.draining or PyBytes_AS_STRING(body)[0] != 123:
        return None
    try:
        chunk = shape.decode(body)
    except Exception:
        return None
    usage, choices = chunk.usage, chunk.choices
    if usage is None or choices is None or len(<list>choices) != 1 or says(chunk.error):
        return None
    if chunk.service_tier is not None and shape.tiers(chunk.service_tier):
        return None
    choice = (<list>choices)[0]
    piece, native = choice.message, choice.finish_reason
    if (
        piece is None or says(choice.error) or native == "error"
        or piece.tool_calls or piece.refusal or says(piece.reasoning_details) or says(piece.images) or piece.audio
        or piece.function_call or says(piece.annotations)
    ):
        return None
    prompt, completion = quantity(usage.prompt_tokens), quantity(usage.completion_tokens)
    if prompt < 0 or completion < 0 or prompt > shape.tier_above:
        return None
    if usage.total_tokens is not None and quantity(usage.total_tokens) != prompt + completion:
        return None
    if usage.prompt_cache_hit_tokens or not nothing(usage.prompt_tokens_details) or not nothing(usage.completion_tokens_details):
        return None
    if (
        usage.server_tool_use is not None or usage.search_context_size is not None or usage.num_search_queries is not None
        or usage.num_sources_used is not None or usage.server_tool_use_details is not None or usage.citation_tokens is not None
    ):
        return None
    reading = Reading.__new__(Reading)
    reading.input, reading.output = prompt, completion
    reading.model, reading.id = chunk.model or "", chunk.id or ""
    if native:
        reading.finish = shape.stops(native)
        reading.native_finish = choice.native_finish_reason or native
    else:
        reading.finish, reading.native_finish = None, ""
    return reading


def figures(Shape shape, bytes body):
    """What ``understood`` reads of a reply, or None; and what each quantity costs (for tests)."""
    cdef Reading it = understood(shape, body)
    if it is None:
        return None
    cost = line_cost(it.input, shape.in_pico, shape.in_per) + line_cost(it.output, shape.out_pico, shape.out_per)
    lines = lines_text(shape, it.input, it.output)
    return it.input, it.output, it.model, it.id, it.finish, it.native_finish, cost, lines


cdef bint says(raw) except -1:
    """A field that is there and says something: OpenAI sends ``"annotations":[]`` with each reply (shapes.present)."""
    cdef Py_ssize_t size = len(raw)
    return size > 0 and (size > 5 or bytes(raw) not in SAYS_NOTHING)


cdef int64_t quantity(value) except? -1:
    """A count of tokens; 0 where it is not told, -1 where it is none of ours."""
    if value is None:
        return 0
    if not 0 <= value < MOST_TOKENS:
        return -1
    return value


cdef bint nothing(details) except -1:
    """No details, or none but zeros."""
    if details is None:
        return True
    for value in astuple(details):
        if value:
            return False
    return True


cdef learn(Shape shape, int64_t input_bytes, int64_t tokens):
    """routing.estimate.TokenEstimator.learn, for a model that has been taught."""
    cdef object ratio
    cdef double sample, weight, before
    cdef int64_t samples
    if tokens < LEARNABLE_TOKENS or input_bytes <= 0:
        return
    ratio = (<dict>shape.ratios).pop(shape.model, None)
    if ratio is None:
        shape.house.estimator.learn(shape.model, input_bytes, tokens)
        return
    sample = <double>input_bytes / <double>tokens
    sample = min(16.0, max(0.5, sample))
    samples = <int64_t>ratio.samples + 1
    ratio.samples = samples
    weight = max(0.05, 1.0 / samples)
    before = ratio.bytes_per_token
    ratio.bytes_per_token = before + (sample - before) * weight
    (<dict>shape.ratios)[shape.model] = ratio
