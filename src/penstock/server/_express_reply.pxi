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


cdef str lines_text(Shape shape, Reading reading):
    """The entry's lines as JSON: ledger.entry.Line for each quantity."""
    cdef char text[2048]
    cdef char *to = text
    text[0] = 91
    if reading.input > 0:
        to = put_line(put(to + 1, b"[\"input\",", 9), shape, reading.input, shape.in_pico, shape.in_per)
    if reading.cached > 0:
        to = put_line(put(to + 1, b"[\"cache_read\",", 14), shape, reading.cached, shape.cached_pico, shape.cached_per)
    if reading.output > 0:
        to = put_line(put(to + 1, b"[\"output\",", 10), shape, reading.output, shape.out_pico, shape.out_per)
    if reading.thought > 0:
        to = put_line(put(to + 1, b"[\"reasoning\",", 13), shape, reading.thought, shape.thought_pico, shape.thought_per)
    if to == text:
        to += 1
    to = put(to, b"]", 1)
    return PyUnicode_DecodeUTF8(text, to - text, NULL)


cdef char *put_line(char *to, Shape shape, int64_t quantity, int64_t pico_usd, int64_t per) noexcept:
    """The rest of a line: quantity, price, version and source (``lines_1``: at most 300 bytes), cost; to the comma behind it."""
    to = put(put_int(to, quantity), b",", 1)
    to = put(put_int(to, pico_usd), b",", 1)
    to = put(put_int(to, per), b",", 1)
    to = put(to, PyBytes_AS_STRING(shape.lines_1), PyBytes_GET_SIZE(shape.lines_1))
    return put(put_int(to, line_cost(quantity, pico_usd, per)), b"],", 2) - 1


cdef int64_t cost_of(Shape shape, Reading reading) noexcept:
    """What all of it costs."""
    cdef int64_t cost = line_cost(reading.input, shape.in_pico, shape.in_per)
    cost += line_cost(reading.output, shape.out_pico, shape.out_per)
    if reading.cached > 0:
        cost += line_cost(reading.cached, shape.cached_pico, shape.cached_per)
    if reading.thought > 0:
        cost += line_cost(reading.thought, shape.thought_pico, shape.thought_per)
    return cost


cdef frozenset SAYS_NOTHING = frozenset((b"null", b"false", b'""', b"{}", b"[]"))


cdef class Reading:
    """What is billed and told of a reply: disjoint counts of tokens, as base.usage has them."""

    cdef int64_t input, cached, output, thought
    cdef str model, id, finish, native_finish
    cdef Mould mould
    cdef bytes text
    """The mould of the caller's dialect, and the words that go into it as JSON; None: the reply goes as it came."""


cdef Reading understood(Shape shape, bytes body):
    """A reply with one choice of text and plain usage; None: the dialect's own reader must look."""
    cdef object chunk, usage, choices, choice, piece, native
    cdef Reading reading
    cdef int64_t prompt, completion, cached = 0, thought = 0
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
    if usage.prompt_cache_hit_tokens:
        return None
    if usage.prompt_tokens_details is not None:
        cached = only(usage.prompt_tokens_details, usage.prompt_tokens_details.cached_tokens)
    if usage.completion_tokens_details is not None:
        thought = only(usage.completion_tokens_details, usage.completion_tokens_details.reasoning_tokens)
    if not 0 <= cached <= prompt or not 0 <= thought <= completion:
        return None
    if (cached and not shape.cached_per) or (thought and not shape.thought_per):
        return None
    if (
        usage.server_tool_use is not None or usage.search_context_size is not None or usage.num_search_queries is not None
        or usage.num_sources_used is not None or usage.server_tool_use_details is not None or usage.citation_tokens is not None
    ):
        return None
    reading = Reading.__new__(Reading)
    reading.input, reading.cached, reading.output, reading.thought = prompt - cached, cached, completion - thought, thought
    reading.model, reading.id = chunk.model or "", chunk.id or ""
    if native:
        reading.finish = shape.stops(native)
        reading.native_finish = choice.native_finish_reason or native
    else:
        reading.finish, reading.native_finish = None, ""
    return reading if shape.moulds is None else moulded(shape, reading, choice, piece)


cdef Reading moulded(Shape shape, Reading reading, choice, piece):
    """The same for a reply that is translated: words, and a usual end; else None."""
    if (
        choice.index or choice.delta is not None or choice.native_finish_reason is not None
        or not piece.content or piece.reasoning or piece.reasoning_content
    ):
        return None
    reading.mould = (<dict>shape.moulds).get(choice.finish_reason)
    if reading.mould is None:
        return None
    reading.text = encode(piece.content)
    return reading


def figures(Shape shape, bytes body):
    """What ``understood`` reads of a reply, or None; what all of it costs, and what the caller gets (for tests)."""
    cdef Reading it = understood(shape, body)
    if it is None:
        return None
    told, counts = body, (it.input, it.cached, it.output, it.thought)
    if it.mould is not None:
        told = it.mould.fill(b"gen-1", it.text, 1, *counts)
    return counts, it.model, it.id, it.finish, it.native_finish, cost_of(shape, it), lines_text(shape, it), told


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


cdef int64_t only(details, part) except? -1:
    """The part, where the details have no other; else -1."""
    cdef int others = 0
    for value in astuple(details):
        if value:
            others += 1
    if not part:
        return -1 if others else 0
    return quantity(part) if others == 1 else -1


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
