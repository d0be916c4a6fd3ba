"""What Bedrock's Converse refuses, with its own words.

Sources: botocore 1.44's service model of bedrock-runtime 2023-09-30 (names, types, limits) and the API reference of Converse,
read 2026-11. What is a Claude's own (thinking) is refused as Anthropic does.
"""

import base64
import binascii
import re
from typing import Any

from penstock.simulate import anthropic_rules
from penstock.simulate.reply import Call, Refused
from penstock.simulate.untyped import as_int, as_list, as_number, as_object, as_text, is_object

_FIELDS = frozenset(
    [
        "messages",
        "system",
        "inferenceConfig",
        "toolConfig",
        "guardrailConfig",
        "additionalModelRequestFields",
        "promptVariables",
        "additionalModelResponseFieldPaths",
        "requestMetadata",
        "performanceConfig",
        "serviceTier",
        "outputConfig",
    ]
)
_BLOCKS = frozenset(
    [
        "text",
        "image",
        "document",
        "video",
        "audio",
        "toolUse",
        "toolResult",
        "guardContent",
        "cachePoint",
        "reasoningContent",
        "citationsContent",
        "searchResult",
    ]
)
_FORMATS = {
    "image": frozenset({"png", "jpeg", "gif", "webp"}),
    "document": frozenset({"pdf", "csv", "doc", "docx", "xls", "xlsx", "html", "txt", "md"}),
    "video": frozenset({"mkv", "mov", "mp4", "webm", "flv", "mpeg", "mpg", "wmv", "three_gp"}),
    "audio": frozenset(
        [
            "mp3",
            "opus",
            "wav",
            "aac",
            "flac",
            "mp4",
            "ogg",
            "mkv",
            "mka",
            "x-aac",
            "m4a",
            "mpeg",
            "mpga",
            "pcm",
            "webm",
        ]
    ),
}
_TOOL_NAME = re.compile(r"^[a-zA-Z0-9_-]{1,64}$")
_TOOL_ID = re.compile(r"^[a-zA-Z0-9_.:-]{1,64}$")
_DOCUMENT_NAME = re.compile(r"^(?!.*\s\s)[A-Za-z0-9\s\-()\[\]]{1,200}$")
_MAX_DOCUMENTS = 5
_MAX_IMAGES = 20
_MAX_POINTS = 4


def bad(message: str) -> Refused:
    """A ValidationException."""
    return Refused(400, message)


def check(body: dict[str, Any], call: Call) -> None:
    """Raise Refused as the vendor would."""
    for name in body:
        if name not in _FIELDS and call.settings.unknown_fields == "refuse":
            raise bad(
                f"Malformed input request: #: extraneous key [{name}] is not permitted, please reformat your input."
            )
    messages = [as_object(raw) for raw in as_list(body.get("messages"))]
    if not messages:
        raise bad("The messages field is required and must hold at least one message.")
    _check_inference(as_object(body.get("inferenceConfig")))
    _check_tools(body, messages)
    for index, message in enumerate(messages):
        _check_message(message, index)
    _check_order(messages)
    _check_counts(body, messages)
    for index, raw in enumerate(as_list(body.get("system"))):
        block = as_object(raw)
        if "text" in block and not as_text(block["text"]):
            raise bad(
                f"The text field at system.{index} is blank. Add text to the text field, and try again."
            )
    if "claude" in call.model:
        _check_claude(body, call.model, messages)


def _check_inference(config: dict[str, Any]) -> None:
    for name in config:
        if name not in ("maxTokens", "temperature", "topP", "stopSequences"):
            raise bad(f"Malformed input request: #/inferenceConfig: extraneous key [{name}] is not permitted")
    cap = config.get("maxTokens")
    if cap is not None and (as_int(cap) or 0) < 1:
        raise bad(
            "Value at 'inferenceConfig.maxTokens' failed to satisfy constraint: Member must be at least 1"
        )
    for name in ("temperature", "topP"):
        value = as_number(config.get(name))
        if value is not None and not 0 <= value <= 1:
            raise bad(
                f"Value at 'inferenceConfig.{name}' failed to satisfy constraint: Member must be between 0 and 1"
            )


def _check_tools(body: dict[str, Any], messages: list[dict[str, Any]]) -> None:
    config = as_object(body.get("toolConfig"))
    if not config:
        used = any(
            "toolUse" in as_object(block) or "toolResult" in as_object(block)
            for message in messages
            for block in as_list(message.get("content"))
        )
        if used:
            raise bad(
                "The toolConfig field must be defined when using toolUse and toolResult content blocks."
            )
        return
    names: list[str] = []
    for index, raw in enumerate(as_list(config.get("tools"))):
        tool = as_object(raw)
        if "cachePoint" in tool:
            continue
        spec = as_object(tool.get("toolSpec"))
        name = as_text(spec.get("name"))
        if not _TOOL_NAME.match(name):
            raise bad(
                f"Value at 'toolConfig.tools.{index}.member.toolSpec.name' failed to satisfy constraint"
            )
        if spec.get("description") == "":
            raise bad(
                f"Value at 'toolConfig.tools.{index}.member.toolSpec.description' failed to satisfy constraint"
            )
        schema = as_object(as_object(spec.get("inputSchema")).get("json"))
        if schema.get("type") != "object":
            raise bad(
                f"The value at toolConfig.tools.{index}.toolSpec.inputSchema.json.type must be one of the following: object."
            )
        names.append(name)
    if not names:
        raise bad(
            "Value at 'toolConfig.tools' failed to satisfy constraint: Member must have length greater than or equal to 1"
        )
    if len(set(names)) != len(names):
        raise bad("The tool names in toolConfig must be unique.")
    choice = as_object(config.get("toolChoice"))
    if choice and (len(choice) != 1 or next(iter(choice)) not in ("auto", "any", "tool")):
        raise bad("Malformed input request: #/toolConfig/toolChoice: exactly one of auto, any, tool")
    if "tool" in choice and as_text(as_object(choice["tool"]).get("name")) not in names:
        raise bad("The tool in toolChoice is not in toolConfig.tools.")


def _check_message(message: dict[str, Any], index: int) -> None:
    role = message.get("role")
    if role not in ("user", "assistant"):
        raise bad(
            f"Value '{role}' at 'messages.{index}.member.role' failed to satisfy constraint: [user, assistant]"
        )
    blocks = as_list(message.get("content"))
    if not blocks:
        raise bad(
            f"The content field in the Message object at messages.{index} is empty. Add a ContentBlock object."
        )
    kinds: set[str] = set()
    for number, raw in enumerate(blocks):
        block = as_object(raw)
        where = f"messages.{index}.content.{number}"
        if len(block) != 1 or next(iter(block)) not in _BLOCKS:
            raise bad(
                f"The ContentBlock object at {where} must set one of the following keys: text, image, toolUse, ..."
            )
        kind = next(iter(block))
        kinds.add(kind)
        _check_block(kind, block[kind], where, role == "user")
    if "document" in kinds and "text" not in kinds:
        raise bad(f"A text block is required in the user message that has a document, at messages.{index}.")


def _check_block(kind: str, value: Any, where: str, user: bool) -> None:
    if kind == "text":
        if not as_text(value).strip():
            raise bad(
                f"The text field in the ContentBlock object at {where} is blank. Add text to the text field, and try again."
            )
    elif kind in _FORMATS:
        if not user:
            raise bad(f"The {kind} at {where} may only be sent with the user role.")
        _check_media(kind, as_object(value), where)
    elif kind == "toolUse":
        use = as_object(value)
        if user or not _TOOL_ID.match(as_text(use.get("toolUseId"))) or not is_object(use.get("input")):
            raise bad(f"The toolUse at {where} is not valid: toolUseId, input, or its role.")
        if not _TOOL_NAME.match(as_text(use.get("name"))):
            raise bad(f"Value at '{where}.toolUse.name' failed to satisfy constraint")
    elif kind == "toolResult":
        result = as_object(value)
        if not user or not as_list(result.get("content")):
            raise bad(f"The content field at {where}.toolResult is empty.")
        for number, raw in enumerate(as_list(result.get("content"))):
            part = as_object(raw)
            if "text" in part and not as_text(part["text"]):
                raise bad(f"The text field at {where}.toolResult.content.{number} is blank.")
            if "image" in part:
                _check_media("image", as_object(part["image"]), f"{where}.toolResult.content.{number}")


def _check_media(kind: str, block: dict[str, Any], where: str) -> None:
    if as_text(block.get("format")) not in _FORMATS[kind]:
        raise bad(f"Value '{block.get('format')}' at '{where}.{kind}.format' failed to satisfy constraint")
    source = as_object(block.get("source"))
    if "s3Location" not in source:
        try:
            data = base64.b64decode(as_text(source.get("bytes")), validate=True)
        except (binascii.Error, ValueError) as error:
            raise bad(f"The bytes at {where}.{kind}.source are not valid base64.") from error
        if not data:
            raise bad(f"Value at '{where}.{kind}.source.bytes' failed to satisfy constraint")
    if kind == "document" and not _DOCUMENT_NAME.match(as_text(block.get("name"))):
        raise bad(
            "The file name can only contain alphanumeric characters, whitespace characters, hyphens, parentheses, and square "
            "brackets. The name can't contain more than one consecutive whitespace character."
        )


def _check_order(messages: list[dict[str, Any]]) -> None:
    if messages[0]["role"] != "user":
        raise bad(
            "A conversation must start with a user message. Try again with a conversation that starts with a user message."
        )
    open_ids: list[str] = []
    for index, message in enumerate(messages):
        if index and message["role"] == messages[index - 1]["role"]:
            raise bad(
                "A conversation must alternate between user and assistant roles. Make sure the conversation alternates."
            )
        blocks = [as_object(raw) for raw in as_list(message["content"])]
        results = [
            as_text(as_object(block["toolResult"]).get("toolUseId"))
            for block in blocks
            if "toolResult" in block
        ]
        if message["role"] == "user":
            missing = [known for known in open_ids if known not in results]
            if missing:
                raise bad(
                    f"Expected toolResult blocks at messages.{index}.content for the following Ids: {', '.join(missing)}"
                )
            if len(results) > len(open_ids):
                raise bad(
                    f"The number of toolResult blocks at messages.{index}.content exceeds the number of toolUse blocks of "
                    "previous turn."
                )
        open_ids = [
            as_text(as_object(block["toolUse"]).get("toolUseId")) for block in blocks if "toolUse" in block
        ]
    if open_ids:
        raise bad(
            f"Expected toolResult blocks after messages.{len(messages) - 1} for the following Ids: {', '.join(open_ids)}"
        )


def _check_counts(body: dict[str, Any], messages: list[dict[str, Any]]) -> None:
    blocks = [as_object(block) for message in messages for block in as_list(message["content"])]
    names = [as_text(as_object(block["document"]).get("name")) for block in blocks if "document" in block]
    if len(names) > _MAX_DOCUMENTS or sum("image" in block for block in blocks) > _MAX_IMAGES:
        raise bad("Too many documents or images in the conversation.")
    if len(set(names)) != len(names):
        raise bad("Your request contains duplicate document names. Provide unique names and try again.")
    others = [*as_list(body.get("system")), *as_list(as_object(body.get("toolConfig")).get("tools"))]
    points = sum("cachePoint" in as_object(block) for block in [*blocks, *others])
    if points > _MAX_POINTS:
        raise bad(f"A maximum of {_MAX_POINTS} cachePoint blocks may be provided. Found {points}.")


def _check_claude(body: dict[str, Any], model: str, messages: list[dict[str, Any]]) -> None:
    fields = as_object(body.get("additionalModelRequestFields"))
    thinking = as_object(fields.get("thinking"))
    inference = as_object(body.get("inferenceConfig"))
    version = anthropic_rules.model_version(model)
    sampled = [name for name in ("temperature", "topP") if name in inference] + ["top_k"] * (
        "top_k" in fields
    )
    if version is not None and version > (4, 6) and sampled:
        raise bad(f"The model returned the following errors: `{sampled[0]}` is deprecated for this model.")
    if thinking.get("type") in ("enabled", "adaptive") and sampled and inference.get("temperature") != 1:
        raise bad(
            "The model returned the following errors: `temperature` may only be set to 1 when thinking is enabled."
        )
    if version is not None and version >= (4, 5) and {"temperature", "topP"} <= set(inference):
        raise bad(
            "The model returned the following errors: `temperature` and `top_p` cannot both be specified for this model."
        )
    choice = as_object(as_object(body.get("toolConfig")).get("toolChoice"))
    if thinking.get("type") == "enabled":
        budget, cap = as_int(thinking.get("budget_tokens")) or 0, as_int(inference.get("maxTokens"))
        if budget < 1024 or (cap is not None and budget >= cap):
            raise bad(
                "The model returned the following errors: `max_tokens` must be greater than `thinking.budget_tokens`."
            )
        if "any" in choice or "tool" in choice:
            raise bad(
                "The model returned the following errors: Thinking may not be enabled when tool_choice forces tool use."
            )
    if messages[-1]["role"] == "assistant" and version is not None and version >= (4, 6):
        raise bad(
            "The model returned the following errors: This model does not support assistant message prefill."
        )
    for message in messages:
        for raw in as_list(message["content"]):
            _check_reasoning(as_object(as_object(raw).get("reasoningContent")))


def _check_reasoning(reasoning: dict[str, Any]) -> None:
    text = as_object(reasoning.get("reasoningText"))
    if text and text.get("signature") != anthropic_rules.sign(as_text(text.get("text"))):
        raise bad("The model returned the following errors: Invalid `signature` in `thinking` block")
    redacted = reasoning.get("redactedContent")
    if redacted is not None and redacted != anthropic_rules.REDACTED_DATA:
        raise bad("The model returned the following errors: Invalid `data` in `redacted_thinking` block")
