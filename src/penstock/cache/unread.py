"""What a caller's dialect passes over in a body, and its provider might not: so that it is in the key all the same.

Theory
------
A request of a provider's own dialect goes through as bytes, also the members that the neutral form has no word for. Unknown
fields at the top are in its ``extras``; within messages, tools and formats they are passed over (DeepSeek's ``prefix``, the
``description`` of a schema). Two such requests have one neutral form and two answers. The tables below name, for each
dialect, what its reader reads or what no answer hangs on; all else found in a body is told, with its place, as JSON.

A dialect that is not here says itself what it passed over (Gemini's, see ``eligible``) or has nothing within its fields.
"""

from collections.abc import Mapping
from typing import Any, cast

import msgspec

from penstock.base.chat import Ask
from penstock.cache.keys import IDLE_EXTRAS

Known = Mapping[str, Any]
"""Member -> None: read, or idle, with all that is in it; or what is known of the object, or of the objects of the list, there."""


def _names(words: str, **inner: Known) -> dict[str, Any]:
    return {**dict.fromkeys(words.split()), **inner}


_FUNCTION = _names("name description parameters strict")
_OPENAI_PART = _names(
    "type text refusal cache_control prompt_cache_breakpoint annotations logprobs",
    image_url=_names("url detail"),
    input_audio=_names("data format"),
    file=_names("file_data file_id file_url filename"),
)
_OPENAI: Known = {
    "messages": _names(
        "role name refusal reasoning reasoning_content audio tool_call_id annotations",
        content=_OPENAI_PART,
        tool_calls=_names("id type index", function=_names("name arguments")),
        function_call=_names("name arguments"),
        reasoning_details=_names("type text summary data signature format id index"),
    ),
    "tools": _names("type cache_control", function=_FUNCTION),
    "functions": _FUNCTION,
    "tool_choice": _names(
        "type",
        function=_names("name"),
        allowed_tools=_names("mode", tools=_names("type name", function=_names("name"))),
    ),
    "function_call": _names("name"),
    "response_format": _names("type", json_schema=_names("name schema strict")),
    "reasoning": _names("effort max_tokens enabled"),
}
_BLOCK = _names(
    "type text title context citations cache_control thinking signature data id name input tool_use_id is_error",
    source=_names("type media_type data url file_id content"),
)
_BLOCK["content"] = _BLOCK
_ANTHROPIC: Known = {
    "messages": _names("role", content=_BLOCK),
    "system": _BLOCK,
    "tools": _names(
        "name type description input_schema strict cache_control input_examples defer_loading allowed_callers"
    ),
    "tool_choice": _names("type name disable_parallel_tool_use"),
    "thinking": {},
}
"""``thinking`` is told whole: several of its words are one in the neutral form."""
_RESPONSES_PART = _names(
    "type text refusal image_url detail file_id file_data file_url filename prompt_cache_breakpoint annotations logprobs",
    input_audio=_names("data format"),
)
_RESPONSES: Known = {
    "input": _names(
        "type role id call_id name arguments input encrypted_content result output_format status",
        content=_RESPONSES_PART,
        output=_RESPONSES_PART,
        summary=_RESPONSES_PART,
    ),
    "tools": _names("type name description parameters strict format"),
    "tool_choice": _names("type name mode", tools=_names("type name")),
    "text": _names("verbosity", format=_names("type name schema strict")),
    "reasoning": _names("effort"),
}
_EMBEDDINGS: Known = {
    **dict.fromkeys(IDLE_EXTRAS),
    **_names(
        "model dimensions encoding_format task models fallbacks provider penstock",
        input=_names("type text image", image_url=_names("url")),
    ),
}
"""Nothing but these is read here, at the top either; of ``task`` and ``input_type`` one stands in the neutral form."""

_TABLES: dict[tuple[str, str], tuple[Known, bool]] = {
    ("openai", "chat"): (_OPENAI, False),
    ("openrouter", "chat"): (_OPENAI, False),
    ("anthropic", "chat"): (_ANTHROPIC, False),
    ("responses", "chat"): (_RESPONSES, False),
    ("openai", "embeddings"): (_EMBEDDINGS, True),
}
"""By dialect and operation; True: the fields at the top are told as well."""

_UNKNOWN: Known = {}
_NOTHING: tuple[Any, ...] = (None, [], {})
_decode = msgspec.json.Decoder().decode
_encode = msgspec.json.Encoder(order="sorted").encode


def unread(ask: Ask) -> bytes:
    """The members of the body that its reader passed over, as JSON; b"" none. The body has been read before."""
    table = _TABLES.get((ask.dialect, ask.operation))
    if table is None:
        return b""
    known, at_the_top = table
    body = cast("dict[str, Any]", _decode(ask.body))
    if not at_the_top:
        body = {name: body[name] for name in known if name in body}
    if _all_known(body, known):
        return b""
    found: dict[str, Any] = {}
    _walk(body, known, "", found)
    return _encode(found)


def _all_known(value: Any, known: Known) -> bool:
    """Nothing was passed over: the common case, without a word about where."""
    if type(value) is dict:
        for name, inner in cast("dict[str, Any]", value).items():
            below = known.get(name, _UNKNOWN)
            if below is None or type(inner) is str:
                if below is _UNKNOWN:
                    return False
            elif below is _UNKNOWN:
                if inner not in _NOTHING:
                    return False
            elif not _all_known(inner, below):
                return False
    elif type(value) is list:
        for one in cast("list[Any]", value):
            if type(one) is dict and not _all_known(one, known):
                return False
    return True


def _walk(value: Any, known: Known, at: str, found: dict[str, Any]) -> None:
    if isinstance(value, dict):
        for name, inner in cast("dict[str, Any]", value).items():
            below = known.get(name, _UNKNOWN)
            if below is _UNKNOWN:
                if inner not in _NOTHING:
                    found[f"{at}.{name!r}"] = inner
            elif below is not None:
                _walk(inner, below, f"{at}.{name!r}", found)
    elif isinstance(value, list):
        for index, one in enumerate(cast("list[Any]", value)):
            _walk(one, known, f"{at}[{index}]", found)
