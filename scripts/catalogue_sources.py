"""Readers of the two public price tables that build_catalogue.py merges.

Both yield ``(provider, model) -> Draft``. Figures become canonical decimal text in dollars per unit, rounded to 12
significant digits (the tables carry binary-float noise such as 2.9999999999999997e-07).
"""

import ast
import json
import re
from collections import Counter
from dataclasses import dataclass, field
from decimal import ROUND_HALF_EVEN, Context, Decimal
from pathlib import Path
from typing import Any

Rows = dict[tuple[str, str], "Draft"]
_DIGITS = Context(prec=12, rounding=ROUND_HALF_EVEN)


@dataclass
class Draft:
    """One row while it is being put together. ``prices`` maps (service, above_tokens) to unit -> decimal text."""

    source: str
    date: str
    mode: str = "chat"
    context: int | None = None
    output: int | None = None
    modalities_in: set[str] = field(default_factory=lambda: {"text"})
    modalities_out: set[str] = field(default_factory=lambda: {"text"})
    capabilities: set[str] = field(default_factory=set)
    capabilities_known: bool = False
    prices: dict[tuple[str, int], dict[str, str]] = field(default_factory=dict)
    retires: str = ""
    deprecated: str = ""
    regional: bool = False
    notes: list[str] = field(default_factory=list)
    facts: dict[str, Any] = field(default_factory=dict)
    then: str = ""
    hours: str = ""

    @property
    def limits_known(self) -> bool:
        """Whether the table said anything about limits and capabilities."""
        return self.capabilities_known

    def all_notes(self) -> list[str]:
        """Where the row's figures come from: the table, then links and curated facts."""
        return list(dict.fromkeys([self.source, *self.notes]))

    def put(self, unit: str, text: str, service: str = "", above: int = 0) -> None:
        """Sets one figure; the first one given wins."""
        self.prices.setdefault((service, above), {}).setdefault(unit, text)


def canonical(value: Any) -> str:
    """Decimal text without float noise: "2.9999999999999997e-07" -> "3e-7"."""
    number = _DIGITS.plus(Decimal(str(value))).normalize()
    return "0" if number == 0 else str(number).lower()


# ------------------------------------------------------------------ the litellm price map

UNITS = {  # cost field, without its tier and service suffix -> unit
    "input_cost_per_token": "input",
    "output_cost_per_token": "output",
    "cache_read_input_token_cost": "cache_read",
    "input_cost_per_token_cache_hit": "cache_read",
    "cache_creation_input_token_cost": "cache_write_5m",
    "cache_creation_input_token_cost_above_1hr": "cache_write_1h",
    "cache_creation_input_token_cost_above_12hr": "cache_write_12h",
    "explicit_cache_read_input_token_cost": "cache_read_explicit",
    "cache_read_input_audio_token_cost": "cache_read_audio",
    "cache_read_input_image_token_cost": "cache_read_image",
    "cache_creation_input_audio_token_cost": "cache_write_audio",
    "input_cost_per_audio_token": "input_audio",
    "input_cost_per_image_token": "input_image",
    "input_cost_per_video_token": "input_video",
    "output_cost_per_reasoning_token": "reasoning",
    "output_cost_per_audio_token": "output_audio",
    "output_cost_per_image_token": "output_image",
    "output_cost_per_video_token": "output_video",
    "citation_cost_per_token": "citation",
    "input_cost_per_request": "request",
    "input_cost_per_query": "query",
    "output_cost_per_image": "image",
    "input_cost_per_image": "image_input",
    "output_cost_per_pixel": "pixel",
    "input_cost_per_pixel": "pixel_input",
    "output_cost_per_second": "second",
    "output_cost_per_video_per_second": "second",
    "input_cost_per_second": "second_input",
    "input_cost_per_video_per_second": "second_input_video",
    "input_cost_per_audio_per_second": "second_input_audio",
    "input_cost_per_character": "character_input",
    "output_cost_per_character": "character",
    "ocr_cost_per_page": "page",
    "annotation_cost_per_page": "page_annotated",
    "google_maps_grounding_cost_per_query": "maps_grounding",
    "code_interpreter_cost_per_session": "code_session",
}
GOOGLE = {"gemini", "vertex_ai", "vertex_ai-language-models"}
"""Charge for a prompt with searches in it, unless the map says that they charge for each search."""
VARIANT_UNITS = re.compile(r"(output_cost_per_(?:second|image))_([0-9.]+[pkK]|512|1024|1536)")
COST = re.compile(
    r"(?P<base>.+?)(?:_above_(?P<kilo>\d+)k_tokens)?"
    r"(?:_(?P<service>priority|flex|batches|balanced|ultrafast))?"
)
SIZE = re.compile(r"(?:low|medium|high|xhigh|max|auto|standard|hd|\d+-x-\d+|max-x-max|\d+-steps|max-steps)")
MEDIA_MODES = {
    "image_generation",
    "image_edit",
    "video_generation",
    "audio_speech",
    "audio_transcription",
    "ocr",
}
PSEUDO = re.compile(
    r"(?:fireworks-ai|together-ai)-(?!.*/)|sample_spec|fallback_generalizations|openai/container"
)
PREFIXES = {"vertex": ["vertex_ai/"], "amazon_nova": ["amazon-nova/"], "fireworks": ["fireworks_ai/"]}


def read_litellm(
    path: Path, providers: list[dict[str, Any]], source: str, date: str, ignored: Counter[str]
) -> Rows:
    """Rows of the price map. Cost fields without a unit here are counted in ``ignored``."""
    table: dict[str, dict[str, Any]] = json.loads(path.read_text("utf-8"), parse_float=str)
    names = {theirs: row["name"] for row in providers for theirs in row.get("litellm", [])}
    rows: Rows = {}
    sizes: list[tuple[str, str, str, Draft]] = []
    for key, entry in table.items():
        theirs = entry.get("litellm_provider")
        if PSEUDO.match(key) or theirs not in names or entry.get("mode") == "search":
            continue
        if "commitment" in key or "/claude_platform/" in key or "cost_per_second" in entry:
            continue
        provider = names[theirs]
        model = strip_prefix(key, provider, theirs)
        segments = model.split("/")
        labels: list[str] = []
        while len(segments) > 1 and SIZE.fullmatch(segments[0]):
            labels.append(segments.pop(0).replace("-x-", "x"))
        draft = litellm_draft(entry, source, date, ignored)
        if "claude" in model and entry.get("supports_reasoning") and "reasoning" not in draft.facts:
            draft.facts |= {"reasoning": "budget", "budget": [1024, (draft.output or 64_000) - 1, 1, 0]}
        if labels:
            sizes.append(
                (provider, strip_prefix("/".join(segments), provider, theirs), ":".join(labels), draft)
            )
        elif (provider, model) not in rows or len(draft.prices) > len(rows[provider, model].prices):
            rows[provider, model] = draft
    for provider, model, label, draft in sizes:
        base = rows.setdefault((provider, model), Draft(source, date, mode=draft.mode, notes=draft.notes))
        for unit, text in draft.prices.get(("", 0), {}).items():
            if text != "0" and unit in {"image", "pixel"}:
                base.put(f"{unit}:{label}", text)
    return rows


def strip_prefix(key: str, provider: str, theirs: str) -> str:
    """The model id as the provider takes it."""
    for prefix in (*PREFIXES.get(provider, []), f"{theirs}/", f"{provider}/", "invoke/"):
        key = key.removeprefix(prefix)
    return key


def litellm_draft(entry: dict[str, Any], source: str, date: str, ignored: Counter[str]) -> Draft:
    """One entry of the map."""
    draft = Draft(source, date, mode=str(entry.get("mode") or "chat"))
    draft.context, draft.output = whole(entry.get("max_input_tokens")), whole(entry.get("max_output_tokens"))
    link = entry.get("source")
    if isinstance(link, str) and link.startswith("https://"):
        draft.notes.append(link.partition("?")[0].partition("#")[0])
    retires = str(entry.get("deprecation_date") or "")
    draft.retires = retires if re.fullmatch(r"\d{4}-\d{2}-\d{2}", retires) else ""
    litellm_prices(draft, entry, ignored)
    litellm_abilities(draft, entry)
    return draft


def litellm_prices(draft: Draft, entry: dict[str, Any], ignored: Counter[str]) -> None:
    """Cost fields -> units, with tiers and service classes."""
    for name, value in entry.items():
        if "cost" not in name or isinstance(value, (dict, bool)) or value is None or "dbu" in name:
            continue
        match = COST.fullmatch(name)
        variant = VARIANT_UNITS.fullmatch(name)
        base = match["base"] if match else name
        if variant:
            draft.put(f"{UNITS[variant[1]]}:{variant[2].lower()}", canonical(value))
        elif match and base in UNITS:
            service = {"batches": "batch"}.get(match["service"] or "", match["service"] or "")
            draft.put(UNITS[base], canonical(value), service, int(match["kilo"] or 0) * 1000)
        else:
            ignored[name] += 1
    for step in entry.get("tiered_pricing") or []:
        low = whole(step["range"][0]) if "range" in step else None
        for name, value in step.items():
            if name in UNITS and low is not None:
                draft.put(UNITS[name], canonical(value), "", low)
    by_prompt = (
        entry.get("litellm_provider") in GOOGLE and entry.get("web_search_billing_unit") != "per_query"
    )
    for size, value in (entry.get("search_context_cost_per_query") or {}).items():
        kind = "_prompt" if by_prompt else ":" + size.rsplit("_", 1)[-1]
        draft.put("web_search" + kind, canonical(value))
    if by_prompt and "maps_grounding" in draft.prices.get(("", 0), {}):
        standard = draft.prices["", 0]
        standard["maps_grounding_prompt"] = standard.pop("maps_grounding")
    for name, value in (entry.get("off_peak_pricing") or {}).items():
        if name in UNITS:
            draft.put(UNITS[name], canonical(value), "off_peak")
    standard = draft.prices.get(("", 0), {})
    if draft.mode in {"image_generation", "image_edit"}:  # the map's word for "per image made"
        for made, asked in (("image", "image_input"), ("pixel", "pixel_input")):
            if made not in standard and asked in standard:
                standard[made] = standard.pop(asked)
    if draft.mode in MEDIA_MODES and any(text != "0" for text in standard.values()):
        for unit in [unit for unit, text in standard.items() if text == "0"]:
            del standard[unit]  # a placeholder beside the real unit


FLAGS = {
    "supports_function_calling": "t",
    "supports_parallel_function_calling": "p",
    "supports_assistant_prefill": "f",
}
MODALITY_FLAGS = {
    "supports_vision": "image",
    "supports_image_input": "image",
    "supports_audio_input": "audio",
    "supports_video_input": "video",
    "supports_pdf_input": "document",
}
MADE = {
    "image_generation": "image",
    "image_edit": "image",
    "video_generation": "video",
    "audio_speech": "audio",
}


def litellm_abilities(draft: Draft, entry: dict[str, Any]) -> None:
    """Capabilities, modalities and reasoning style, as far as the map's flags say them."""
    draft.capabilities_known = any(name.startswith("supports_") for name in entry)
    yes = {name for name, value in entry.items() if value is True}
    draft.capabilities = {letter for flag, letter in FLAGS.items() if flag in yes}
    if yes & {"supports_response_schema", "supports_native_structured_output"}:
        draft.capabilities.add("j")
    if draft.mode in {"chat", "responses"}:
        draft.capabilities |= set() if entry.get("supports_native_streaming") is False else {"s"}
        draft.capabilities |= set() if entry.get("supports_sampling_params") is False else {"x"}
    draft.modalities_in |= {name for flag, name in MODALITY_FLAGS.items() if flag in yes}
    draft.modalities_in |= {
        "document" if m in {"pdf", "file"} else m for m in entry.get("supported_modalities") or []
    }
    draft.modalities_out |= set(entry.get("supported_output_modalities") or [])
    if "supports_audio_output" in yes:
        draft.modalities_out.add("audio")
    if draft.mode in MADE:
        draft.modalities_out = {MADE[draft.mode]}
    if draft.mode == "audio_transcription":
        draft.modalities_in = {"audio"}
    if "supports_adaptive_thinking" in yes:
        draft.facts["reasoning"] = "always" if "thinking_always_on" in yes else "adaptive"
        if "supports_legacy_thinking" in yes:  # takes a budget as well
            draft.facts["budget"] = [1024, (draft.output or 64_000) - 1, 1, 0]
    elif entry.get("supports_reasoning") is False:
        draft.facts["reasoning"] = "none"
    elif entry.get("reasoning_effort_levels"):
        draft.facts["reasoning"] = "effort"


def whole(value: Any) -> int | None:
    """An integer from the map's mix of integers, floats and nothing."""
    try:
        return int(Decimal(str(value)))
    except ArithmeticError:
        return None


# ------------------------------------------------------------------ the genai-prices table

GENAI_UNITS = {
    "input_mtok": "input",
    "output_mtok": "output",
    "cache_read_mtok": "cache_read",
    "cache_write_mtok": "cache_write_5m",
    "cache_write_1h_mtok": "cache_write_1h",
    "input_audio_mtok": "input_audio",
    "cache_audio_read_mtok": "cache_read_audio",
    "cache_image_read_mtok": "cache_read_image",
    "output_audio_mtok": "output_audio",
    "input_image_mtok": "input_image",
    "output_image_mtok": "output_image",
    "input_video_mtok": "input_video",
    "output_video_mtok": "output_video",
    "output_reasoning_mtok": "reasoning",
}
SERVICES = {
    '{"processing": "batch"}': "batch",
    '{"service_tier": "priority"}': "priority",
    '{"service_tier": "flex"}': "flex",
}
NOT_IDS = {  # families and other sellers' spellings that the second table files under a vendor: no ids there
    "openai": r"ft:.*-|.*\.ft-|.*:extended|gpt-[0-9.]+-image.*|gpt-oss.*|gpt-3\.5-0301|computer-use|ada|babbage|curie|davinci",
    "gemini": r"gemini-(?:flash|pro)-1\.5.*|gemini-pro|.*-maas|gemini-2\.5-flash-preview",
    "anthropic": r"claude-v1",
}
COMPARE_ONLY = {
    "azure",
    "bedrock",
}  # families and made-up regions ("regional.") there: for the cross-check only


def read_genai(
    path: Path, providers: list[dict[str, Any]], source: str, date: str, ignored: Counter[str]
) -> Rows:
    """Rows of the second table, at the prices in force on ``date``. The file is parsed, never run."""
    names = {theirs: row["name"] for row in providers for theirs in row.get("genai", [])}
    rows: Rows = {}
    for node in ast.parse(path.read_text("utf-8")).body:
        if not isinstance(node, ast.AnnAssign) or not isinstance(node.value, ast.List):
            continue
        for theirs in map(plain, node.value.elts):
            for model in theirs["models"] if theirs["id"] in names else []:
                provider, name = names[theirs["id"]], genai_id(theirs["id"], model["id"])
                if provider == "gemini" and not name.startswith(("gemini", "gemma", "imagen", "veo")):
                    provider = "vertex"
                draft = genai_draft(model, Draft(source, date), ignored)
                base, batch, _ = name.partition(":batch")
                if batch:  # OpenRouter's ":batch" ids are a service class of the plain id
                    plain_row = rows.setdefault((provider, base), Draft(source, date, mode=draft.mode))
                    plain_row.prices.setdefault(("batch", 0), draft.prices.get(("", 0), {}))
                elif provider != "openrouter" or "/" in name:  # bare names there are no ids
                    rows[provider, name] = merge_batch(draft, rows.get((provider, name)))
    return {
        (provider, name): draft
        for (provider, name), draft in rows.items()
        if draft.prices.get(("", 0)) and not re.fullmatch(NOT_IDS.get(provider, "(?!)"), name)
    }


def merge_batch(draft: Draft, earlier: Draft | None) -> Draft:
    """Keeps batch figures that were read before their plain row."""
    if earlier is not None and ("batch", 0) in earlier.prices:
        draft.prices.setdefault(("batch", 0), earlier.prices["batch", 0])
    return draft


def genai_id(theirs: str, model: str) -> str:
    """The model id as the provider takes it: Hugging Face's router names the host after a colon."""
    host = theirs.removeprefix("huggingface_")
    return f"{model}:{host}" if host != theirs else model


def plain(node: ast.expr) -> Any:
    """A constructor call as a dict, a literal as itself, a Decimal as Decimal, a date as ISO text."""
    if isinstance(node, ast.Call):
        name = ast.unparse(node.func)
        if name == "Decimal":
            return Decimal(ast.literal_eval(node.args[0]))
        if name == "datetime.date":
            year, month, day = (ast.literal_eval(arg) for arg in node.args)
            return f"{year:04}-{month:02}-{day:02}"
        return {"_": name} | {word.arg: plain(word.value) for word in node.keywords}
    if isinstance(node, ast.List):
        return [plain(item) for item in node.elts]
    if isinstance(node, ast.Dict):
        return {ast.literal_eval(k): plain(v) for k, v in zip(node.keys, node.values, strict=True) if k}
    return node.value if isinstance(node, ast.Constant) else ast.unparse(node)


def genai_draft(model: dict[str, Any], draft: Draft, ignored: Counter[str]) -> Draft:
    """One model: the last price whose start date has come; where hours of the day count, the dearest (peak)."""
    draft.context = model.get("context_window")
    prices = model["prices"]
    if isinstance(prices, list):
        active = [step for step in prices if in_force(step.get("constraint"), draft.date)] or prices[:1]
        peaks = [step for step in prices if (step.get("constraint") or {}).get("_") == "TimeOfDateConstraint"]
        prices = max([active[-1], *peaks], key=lambda step: figure(step["prices"].get("output_mtok")))[
            "prices"
        ]
    genai_units(draft, prices, "", ignored)
    for variant in model.get("price_variants") or []:
        service = SERVICES.get(json.dumps(variant["when"]))
        if service and in_force(variant.get("constraint"), draft.date):
            genai_units(draft, variant["prices"], service, ignored)
    standard = draft.prices.get(("", 0), {})
    if (
        "input" in standard
        and "output" not in standard
        and re.search("embed|rerank|bge|gte|e5-", model["id"].lower())
    ):
        draft.mode = "embedding"
    elif "input" not in standard:
        draft.mode = "other"
    return draft


def in_force(constraint: dict[str, Any] | None, date: str) -> bool:
    """Whether a constraint holds on ``date``; a time of day does not, see genai_draft."""
    if constraint is None:
        return True
    return constraint["_"] == "StartDateConstraint" and constraint["start_date"] <= date


def figure(value: Any) -> Decimal:
    """The base figure of a price, for comparison."""
    return Decimal(value["base"] if isinstance(value, dict) else value or 0)


def genai_units(draft: Draft, prices: dict[str, Any], service: str, ignored: Counter[str]) -> None:
    """Prices per million tokens -> per token, with their tiers."""
    for name, value in prices.items():
        unit = GENAI_UNITS.get(name)
        if unit is None:
            ignored[name] += name != "_"
            continue
        steps = [(0, value)]
        if isinstance(value, dict):
            steps = [(0, value["base"]), *((tier["start"], tier["price"]) for tier in value["tiers"])]
        for above, price in steps:
            draft.put(unit, canonical(price / 1_000_000), service, above)
