"""What Anthropic's Messages API refuses, with its own words, for both API versions.

Model rules are known for names of the form ``claude-FAMILY-MAJOR-MINOR``; other names are taken as they come.
"""

import base64
import hashlib
import re
from typing import Any

from penstock.simulate.reply import Call, Refused
from penstock.simulate.untyped import as_int, as_list, as_number, as_object, as_text, is_list, is_object
from penstock.wire.http import header

VERSIONS = ("2023-06-01", "2026-10-21")
_FIELDS_TEXT = (
    "model max_tokens messages system stop_sequences stream metadata tools tool_choice thinking "
    "output_config service_tier speed cache_control container inference_geo diagnostics user_profile_id "
    "workspace_id temperature top_p top_k context_management mcp_servers"
)
FIELDS = frozenset(_FIELDS_TEXT.split())
_COUNT_FIELDS = FIELDS - {"max_tokens", "stream"}
_SAMPLING = ("temperature", "top_p", "top_k")
_NAME = re.compile(r"^[a-zA-Z0-9_-]{1,128}$")
_TOOL_USE_ID = re.compile(r"^[a-zA-Z0-9_-]+$")
_MODEL = re.compile(r"claude-(?:opus|sonnet|haiku)-(\d+)(?:-(\d{1,2}))?(?![0-9])")
_OLD_MODEL = re.compile(r"claude-(\d)(?:[.-](\d))?")
_USER_BLOCKS = frozenset({"text", "image", "document", "search_result", "tool_result"})
_ASSISTANT_BLOCKS = frozenset({"text", "thinking", "redacted_thinking", "tool_use", "document", "image"})
_MEDIA = ("image/jpeg", "image/png", "image/gif", "image/webp")
_SIGNATURE_SALT = b"simulated-thinking:"
REDACTED_DATA = base64.b64encode(b"simulated-redacted-thinking").decode()


def bad(message: str) -> Refused:
    """A 400 invalid_request_error."""
    return Refused(400, message)


def sign(thinking: str) -> str:
    """The signature of a thinking block as it is shown."""
    return base64.b64encode(_SIGNATURE_SALT + hashlib.sha256(thinking.encode()).digest()).decode()


def model_version(model: str) -> tuple[int, int] | None:
    """(4, 5) for claude-haiku-4-5; None where the name does not say."""
    found = _MODEL.search(model) or _OLD_MODEL.search(model)
    return (int(found[1]), int(found[2] or 0)) if found else None


def check(body: dict[str, Any], call: Call, *, counting: bool = False) -> None:
    """Raise Refused as the vendor would. ``counting``: the request is for count_tokens."""
    version = header(call.headers, b"anthropic-version")
    if version is None:
        raise bad("anthropic-version: header is required")
    if version.decode("latin-1") not in VERSIONS:
        raise bad(f"anthropic-version: {version.decode('latin-1')!r} is not a valid version")
    _check_fields(body, call, counting=counting)
    messages = as_list(body["messages"])
    if not messages:
        raise bad("messages: at least one message is required")
    _check_sampling(body, call.model, new=version == b"2026-10-21")
    _check_thinking(body, call.model)
    _check_tools(body)
    for index, raw in enumerate(messages):
        _check_message(as_object(raw), index, messages, new=version == b"2026-10-21")
    _check_order(messages, has_tools=bool(as_list(body.get("tools"))))
    _check_last_turn(body, messages, call.model)
    _check_system(body)


def _check_fields(body: dict[str, Any], call: Call, *, counting: bool) -> None:
    required = ("model", "messages") if counting else ("model", "max_tokens", "messages")
    for name in required:
        if name not in body:
            raise bad(f"{name}: Field required")
    known = _COUNT_FIELDS if counting else FIELDS
    for name in body:
        if name not in known and call.settings.unknown_fields == "refuse":
            raise bad(f"{name}: Extra inputs are not permitted")
    cap = as_int(body.get("max_tokens"))
    if not counting and (cap is None or cap < 0):
        raise bad("max_tokens: Input should be a valid integer")
    for name in as_object(body.get("metadata")):
        if name != "user_id":
            raise bad(f"metadata.{name}: Extra inputs are not permitted")
    for index, stop in enumerate(as_list(body.get("stop_sequences"))):
        if not as_text(stop).strip():
            raise bad(f"stop_sequences.{index}: each stop sequence must contain non-whitespace")


def _check_sampling(body: dict[str, Any], model: str, *, new: bool) -> None:
    version = model_version(model)
    for name in _SAMPLING:
        if name not in body:
            continue
        if new:
            raise bad(f"{name}: Extra inputs are not permitted in anthropic-version 2026-10-21")
        if version is not None and version > (4, 6):
            raise bad(f"`{name}` is deprecated for this model.")
    temperature = as_number(body.get("temperature"))
    if temperature is not None and not 0 <= temperature <= 1:
        raise bad("temperature: range: 0..1")
    thinking = as_object(body.get("thinking"))
    if thinking.get("type") == "enabled" and temperature not in (None, 1):
        raise bad("`temperature` may only be set to 1 when thinking is enabled.")
    if (
        version is not None
        and version >= (4, 5)
        and temperature is not None
        and body.get("top_p") is not None
    ):
        raise bad("`temperature` and `top_p` cannot both be specified for this model. Please use only one.")


def _check_thinking(body: dict[str, Any], model: str) -> None:
    if "thinking" not in body:
        return
    thinking = as_object(body["thinking"])
    kind = thinking.get("type")
    version = model_version(model)
    if kind not in ("enabled", "adaptive", "disabled"):
        raise bad(f"thinking: Input tag '{kind}' found using 'type' does not match any of the expected tags")
    if kind == "adaptive" and version is not None and version <= (4, 5):
        raise bad("adaptive thinking is not supported on this model")
    if kind != "enabled":
        return
    if version is not None and version > (4, 6):
        raise bad(
            "thinking.type.enabled: is not supported on this model. Use thinking.type.adaptive instead."
        )
    budget = as_int(thinking.get("budget_tokens"))
    if budget is None:
        raise bad("thinking.enabled.budget_tokens: Field required")
    if budget < 1024:
        raise bad("thinking.enabled.budget_tokens: Input should be greater than or equal to 1024")
    cap = as_int(body.get("max_tokens"))
    if cap is not None and budget >= cap:
        raise bad("`max_tokens` must be greater than `thinking.budget_tokens`.")
    if as_object(body.get("tool_choice")).get("type") in ("any", "tool"):
        raise bad("Thinking may not be enabled when tool_choice forces tool use.")


def _check_tools(body: dict[str, Any]) -> None:
    names: list[str] = []
    for index, raw in enumerate(as_list(body.get("tools"))):
        tool = as_object(raw)
        name = as_text(tool.get("name"))
        if not _NAME.match(name):
            raise bad(f"tools.{index}.custom.name: String should match pattern '^[a-zA-Z0-9_-]{{1,128}}$'")
        if tool.get("type") in (None, "custom"):
            if "input_schema" not in tool:
                raise bad(f"tools.{index}.custom.input_schema: Field required")
            if as_object(tool["input_schema"]).get("type") != "object":
                raise bad(f"tools.{index}.custom.input_schema.type: Input should be 'object'")
        names.append(name)
    if len(set(names)) != len(names):
        raise bad("tools: Tool names must be unique.")
    choice = as_object(body.get("tool_choice"))
    kind = choice.get("type")
    if not choice:
        return
    if kind not in ("auto", "any", "tool", "none"):
        raise bad(
            f"tool_choice: Input tag '{kind}' found using 'type' does not match any of the expected tags"
        )
    if not names and kind != "none":
        raise bad("tool_choice: tool_choice may only be specified while providing tools.")
    if kind == "tool" and as_text(choice.get("name")) not in names:
        raise bad(f"Tool '{choice.get('name')}' not found in provided tools")


def _check_message(message: dict[str, Any], index: int, messages: list[Any], *, new: bool) -> None:
    role = as_text(message.get("role"))
    if role == "system":
        raise bad(
            'messages: Unexpected role "system". The Messages API accepts a top-level `system` parameter, not "system" '
            "as an input message role."
        )
    if role not in ("user", "assistant"):
        raise bad(f"messages.{index}.role: Input should be 'user' or 'assistant'")
    for name in message:
        if name not in ("role", "content"):
            raise bad(f"messages.{index}.{name}: Extra inputs are not permitted")
    content = message.get("content")
    last_assistant = index == len(messages) - 1 and role == "assistant"
    if not content and not last_assistant:
        raise bad(
            f"messages.{index}: all messages must have non-empty content except for the optional final assistant message"
        )
    if not isinstance(content, str) and not is_list(content):
        raise bad(f"messages.{index}.content: Input should be a valid string or list")
    for number, raw in enumerate(as_list(content)):
        _check_block(as_object(raw), role, f"messages.{index}.content.{number}", new=new)


def _check_block(block: dict[str, Any], role: str, place: str, *, new: bool) -> None:
    kind = as_text(block.get("type"))
    if kind not in (_USER_BLOCKS if role == "user" else _ASSISTANT_BLOCKS):
        raise bad(f"{place}: Input tag '{kind}' found using 'type' does not match any of the expected tags")
    match kind:
        case "text":
            text = as_text(block.get("text"))
            if not text:
                raise bad("messages: text content blocks must be non-empty")
            if not text.strip():
                raise bad("messages: text content blocks must contain non-whitespace text")
            if new and role == "user" and as_list(block.get("citations")):
                raise bad(f"{place}.text.citations: must be empty in a user message")
        case "document" if role == "assistant" and new:
            raise bad(f"{place}: `document` blocks are not permitted in assistant messages")
        case "image":
            _check_source(as_object(block.get("source")), place)
        case "tool_use":
            if not _TOOL_USE_ID.match(as_text(block.get("id"))):
                raise bad(f"{place}.tool_use.id: String should match pattern '^[a-zA-Z0-9_-]+$'")
            if not is_object(block.get("input")):
                raise bad(f"{place}.tool_use.input: Input should be a valid dictionary")
        case "tool_result":
            if not as_text(block.get("tool_use_id")):
                raise bad(f"{place}.tool_result.tool_use_id: Field required")
        case "thinking":
            for name in ("thinking", "signature"):
                if name not in block:
                    raise bad(f"{place}.thinking.{name}: Field required")
        case _:
            pass


def _check_source(source: dict[str, Any], place: str) -> None:
    kind = source.get("type")
    if kind == "base64":
        media = source.get("media_type")
        if media not in _MEDIA:
            shown = ", ".join(f"'{name}'" for name in _MEDIA)
            raise bad(f"{place}.image.source.base64.media_type: Input should be {shown}")
        try:
            base64.b64decode(as_text(source.get("data")), validate=True)
        except ValueError as error:
            raise bad(f"{place}.image.source.base64.data: invalid base64 data") from error
    elif kind == "url":
        if not as_text(source.get("url")).startswith("https://"):
            raise bad(f"{place}.image.source.url.url: Only HTTPS URLs are supported.")
    elif kind != "file":
        raise bad(
            f"{place}.image.source: Input tag '{kind}' found using 'type' does not match any of the expected tags"
        )


def _turns(messages: list[Any]) -> list[tuple[str, int, list[dict[str, Any]]]]:
    """(role, index of its first message, blocks), same roles merged as the server does."""
    turns: list[tuple[str, int, list[dict[str, Any]]]] = []
    for index, raw in enumerate(messages):
        message = as_object(raw)
        content = message.get("content")
        blocks = [{"type": "text", "text": content}] if isinstance(content, str) else as_list(content)
        role = as_text(message.get("role"))
        if turns and turns[-1][0] == role:
            turns[-1][2].extend(as_object(block) for block in blocks)
        else:
            turns.append((role, index, [as_object(block) for block in blocks]))
    return turns


def _check_order(messages: list[Any], *, has_tools: bool) -> None:
    turns = _turns(messages)
    if turns[0][0] != "user":
        raise bad('messages: first message must use the "user" role')
    open_ids: list[str] = []
    for role, index, blocks in turns:
        results = [
            as_text(block.get("tool_use_id")) for block in blocks if block.get("type") == "tool_result"
        ]
        uses = [as_text(block.get("id")) for block in blocks if block.get("type") == "tool_use"]
        if (results or uses) and not has_tools:
            raise bad("Requests which include `tool_use` or `tool_result` blocks must define tools")
        if role == "user":
            _check_results(index, blocks, results, open_ids)
        open_ids = uses


def _check_results(index: int, blocks: list[dict[str, Any]], results: list[str], open_ids: list[str]) -> None:
    for found in results:
        if found not in open_ids:
            raise bad(
                f"messages.{index}.content.0: unexpected `tool_use_id` found in `tool_result` blocks: {found}. Each "
                "`tool_result` block must have a corresponding `tool_use` block in the previous message."
            )
    missing = [known for known in open_ids if known not in results]
    if missing:
        raise bad(
            f"messages.{index - 1}: `tool_use` ids were found without `tool_result` blocks immediately after: "
            f"{', '.join(missing)}. Each `tool_use` block must have a corresponding `tool_result` block in the next "
            "message."
        )
    leading = [block.get("type") == "tool_result" for block in blocks[: len(results)]]
    if not all(leading):
        raise bad(
            f"messages.{index}: Did not find {len(open_ids)} `tool_result` block(s) at the beginning of this message. "
            "Messages following `tool_use` blocks must begin with a matching number of `tool_result` blocks."
        )


def _check_last_turn(body: dict[str, Any], messages: list[Any], model: str) -> None:
    turns = _turns(messages)
    version = model_version(model)
    if turns[-1][0] == "assistant":
        if version is not None and version >= (4, 6):
            raise bad(
                "This model does not support assistant message prefill. The conversation must end with a user message."
            )
        last = turns[-1][2][-1] if turns[-1][2] else {}
        if as_text(last.get("text")).endswith((" ", "\n")):
            raise bad("messages: final assistant content cannot end with trailing whitespace")
    for role, index, blocks in reversed(turns):
        if role != "assistant":
            continue
        _check_signatures(index, blocks)
        uses_tools = any(block.get("type") == "tool_use" for block in blocks)
        enabled = as_object(body.get("thinking")).get("type") == "enabled"
        first = blocks[0].get("type") if blocks else None
        if enabled and uses_tools and first not in ("thinking", "redacted_thinking"):
            raise bad(
                f"messages.{index}.content.0.type: Expected `thinking` or `redacted_thinking`, but found `{first}`. When "
                "`thinking` is enabled, a final `assistant` message must start with a thinking block (preceeding the "
                "lastmost set of `tool_use` and `tool_result` blocks)."
            )
        return


def _check_signatures(index: int, blocks: list[dict[str, Any]]) -> None:
    for number, block in enumerate(blocks):
        place = f"messages.{index}.content.{number}"
        if block.get("type") == "thinking" and block.get("signature") != sign(as_text(block.get("thinking"))):
            raise bad(f"{place}: Invalid `signature` in `thinking` block")
        if block.get("type") == "redacted_thinking" and block.get("data") != REDACTED_DATA:
            raise bad(f"{place}: Invalid `data` in `redacted_thinking` block")


def _check_system(body: dict[str, Any]) -> None:
    for index, raw in enumerate(as_list(body.get("system"))):
        block = as_object(raw)
        if block.get("type") != "text":
            raise bad(f"system.{index}.type: Input should be 'text'")
        if not as_text(block.get("text")):
            raise bad("system: text content blocks must be non-empty")
