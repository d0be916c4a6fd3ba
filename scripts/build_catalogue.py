"""Builds the model catalogue's data file from public price tables. No network: it reads files you give it.

    python scripts/build_catalogue.py --litellm MAP.json --litellm-version 1.109.1 \
        --genai data.py --genai-version 0.2.3 --date 2026-11-21

Sources: the price map in the ``litellm`` wheel (MIT) and the table in the ``genai-prices`` wheel (MIT); see
docs/how-to/update-the-catalogue.md. Facts only: numbers, names, dates and links; no text, no code. The second
table is a Python file; it is parsed, never run.

Rules
- A row is (provider, model id as that provider takes it). The first table wins; the second adds (provider, model)
  pairs that the first lacks, and its figures for pairs that both have become the fixture of the cross-check.
- A regional id (``us.``, ``eu/``, ``bedrock/eu-west-1/`` ...) with the figures of its plain id is a twin: it
  becomes an alias (``same``), not a row. With other figures it is a row, marked regional, and never counted.
- Rows of one image size or quality ("low/1024-x-1024/gpt-image-1") become units of their model.
- A row whose figures are all 0 is a placeholder in these tables: its price is unknown, except where FREE says
  that the model really costs nothing.
- *Distinct priced pairs* counts rows with at least one figure above 0, without regional rows, and counts once what
  only differs in spelling: same provider, same last path segment without its date, same figures.
- Commitment (provisioned throughput) prices, web-search products, DBU figures and prices converted from another
  currency are left out.
"""

import argparse
import json
import re
import sys
from collections import Counter
from decimal import Decimal
from pathlib import Path
from typing import Any

from catalogue_sources import COMPARE_ONLY, Draft, Rows, read_genai, read_litellm

DATA = Path(__file__).parent.parent / "src" / "penstock" / "config" / "data"
FIXTURE = Path(__file__).parent.parent / "tests" / "config" / "fixtures" / "second_table.json"

FREE = [  # (provider, model pattern): a 0 that is meant. Everything else that is all 0 is unknown.
    ("ollama", ".*"),  # runs on the caller's own machine
    ("lemonade", ".*"),
    ("openrouter", ".*:free"),
    ("opencode_go", ".*-free"),
    ("openai", "omni-moderation.*"),  # free of charge per OpenAI's pricing page
    ("zai", r"glm-4\.\d-flash"),  # free per docs.z.ai
]
WITHHELD = [  # (provider, model pattern): prices that would be wrong as they stand, so they are unknown
    ("azure", "model-router"),  # a surcharge on the routed model's own price, given as output 0
    ("azure_ai", "model[-_]router"),
    ("perplexity", "pplx-7.?b-online|sonar-(?:small|medium)-online"),  # input 0 beside a request fee; retired
]
PREFER_SECOND = [  # (provider, model pattern, why): the second table's figures stand, and are not cross-checked
    ("ovhcloud", ".*", "the first table has the vendor's euro figures as dollars (0.67 EUR = 0.74 USD)"),
    ("cloudflare", ".*", "the first table rounds from neurons, or has one placeholder for input and output"),
    ("mistral", "mistral-large-4", "list price changed on 2026-10-29; the first table has the one before"),
]
EUROS = {"ovhcloud"}  # rows that only the first table has are unknown here, for the reason above
DISAGREE = {  # both tables looked at, row by row; the first stands. A new disagreement stops the build.
    "deepseek/deepseek-chat": "id retired 2026-07-24; second table still has the V3 hours-of-day prices",
    "deepseek/deepseek-reasoner": "id retired 2026-07-24; second table still has the R1 hours-of-day prices",
    "deepseek/deepseek-v3.2": "not on the vendor's current page; second table has a reseller's discounted figure",
    "novita/mindai/macaron-v1-tall": "second table has a 45 % promotional discount",
    "novita/mindai/macaron-v1-venti": "second table has a 45 % promotional discount",
    "novita/mistralai/mistral-nemo": "second table has the old price, input equal to output",
    "together/NousResearch/Nous-Hermes-2-Mixtral-8x7B-DPO": "retired 2025-08-28; prices of different times",
    "together/Qwen/Qwen3.7-Max": "cut to 60 % after launch; second table has the launch price",
    "together/meta-llama/Llama-3.3-70B-Instruct-Turbo": "retired 2026-10-22; second table has the earlier price",
    "together/mistralai/Mixtral-8x7B-Instruct-v0.1": "retired 2026-04-16; prices of different times",
    "vertex/claude-3-5-haiku": "retired 2026-07-05; first table has the price of its last months",
    "xai/grok-code-fast-1": "retired 2026-05-15 and served by its successor; second table has the launch price",
}
REGION = re.compile(
    r"^(?:(?:us|eu|apac|global|jp|au|ca|in|us-gov|global-standard)[./]"
    r"|(?:us|eu|ap|sa|ca|me|af|il|mx)-(?:gov-)?[a-z]+-\d/)"
)
REGIONAL_PROVIDERS = {"azure", "bedrock", "bedrock_mantle"}
DATED = re.compile(r"(?:[-@](?:20\d{2}-?\d{2}-?\d{2}|latest|default|\d{3}))$")

CAPABILITY = {  # litellm flag -> letter in the data file
    "supports_function_calling": "t",
    "supports_response_schema": "j",
    "supports_parallel_function_calling": "p",
    "supports_assistant_prefill": "f",
    "supports_native_streaming": "s",
}
MODALITY = {"text": "t", "image": "i", "audio": "a", "video": "v", "document": "d"}


def is_free(provider: str, model: str) -> bool:
    """Whether a price of 0 is meant for this model."""
    return any(provider == name and re.fullmatch(pattern, model) for name, pattern in FREE)


def all_zero(draft: Draft) -> bool:
    """Whether every figure of the row is 0."""
    figures = [text for units in draft.prices.values() for text in units.values()]
    return bool(figures) and all(Decimal(text) == 0 for text in figures)


def drop_plain_reasoning(rows: Rows) -> None:
    """Reasoning at the output price is left out: that is what a missing one means, in every tier and class."""
    for draft in rows.values():
        for units in draft.prices.values():
            if units.get("reasoning") == units.get("output"):
                units.pop("reasoning", None)


def price_text(prices: dict[tuple[str, int], dict[str, str]]) -> str:
    """``input=3e-07 output=... >200000 input=... ~batch input=... ~batch>200000 ...``: one line per row."""
    words: list[str] = []
    for service, above in sorted(prices):
        units = prices[service, above]
        if not units:
            continue
        mark = (f"~{service}" if service else "") + (f">{above}" if above else "")
        words += [mark] if mark else []
        words += [f"{unit}={units[unit]}" for unit in sorted(units)]
    return " ".join(words)


def fold_regions(rows: Rows) -> dict[str, dict[str, str]]:
    """Turns regional twins into aliases and marks the other regional rows. Returns provider -> alias -> model."""
    same: dict[str, dict[str, str]] = {}
    plain_of: dict[tuple[str, str], list[str]] = {}
    for provider, model in rows:
        if provider in REGIONAL_PROVIDERS:
            plain = REGION.sub("", model)
            if plain != model:
                plain_of.setdefault((provider, plain), []).append(model)
    for (provider, plain), regional in plain_of.items():
        base = plain
        if (provider, plain) not in rows:  # sold regionally only: the widest region stands for the model
            base = min(
                regional, key=lambda name: (not name.startswith("global"), not name.startswith("us."), name)
            )
            same.setdefault(provider, {})[plain] = base
        figures = price_text(rows[provider, base].prices)
        for model in regional:
            if model == base:
                continue
            if price_text(rows[provider, model].prices) == figures:
                del rows[provider, model]
                same.setdefault(provider, {})[model] = base
            else:
                rows[provider, model].regional = True
    return same


def distinct(rows: Rows) -> int:
    """How many distinct priced pairs there are, by the rule in this module's docstring."""
    seen: set[tuple[str, str, str]] = set()
    for (provider, model), draft in rows.items():
        text = price_text(draft.prices)
        if draft.regional or not text or all_zero(draft):
            continue
        seen.add((provider, DATED.sub("", model.rsplit("/", 1)[-1]).lower(), text))
    return len(seen)


# ------------------------------------------------------------------ facts beyond prices


def load_overlay() -> list[dict[str, Any]]:
    """Curated facts, in the order they are applied."""
    return json.loads((DATA / "overlay.json").read_text("utf-8"))


def apply_overlay(rows: Rows, rules: list[dict[str, Any]]) -> None:
    """Each rule that fits a chat row sets its facts; a later rule wins."""
    for rule in rules:
        pattern, hits = re.compile(rule["model"]), 0
        for (provider, model), draft in rows.items():
            if provider not in rule["providers"] or not pattern.fullmatch(model):
                continue
            if draft.mode not in {"chat", "responses"} and not rule.get("any_mode"):
                continue
            hits += 1
            draft.facts |= rule["set"]
            draft.then = rule.get("then", draft.then)
            draft.hours = rule.get("hours", draft.hours)
            for unit, text in rule.get("prices", {}).items():
                draft.put(unit, text)
            draft.capabilities -= set(rule.get("without", []))
            draft.capabilities |= set(rule.get("with", []))
            draft.notes.append(rule["source"])
        if not hits:
            sys.exit(f"overlay rule fits no row: {rule['providers']} {rule['model']}")


def borrow(rows: Rows, providers: list[dict[str, Any]]) -> int:
    """A row without limits or capabilities takes them from its maker's row of the same name; prices never."""
    makers = {author: row["name"] for row in providers for author in row.get("authors", [])}
    index: Rows = {}
    for (provider, model), draft in rows.items():
        if draft.limits_known:
            index.setdefault((provider, model.lower().replace(".", "-")), draft)
    count = 0
    for (provider, model), draft in rows.items():
        author, _, bare = model.lower().partition("/")
        maker = makers.get(author.lstrip("~"), "")
        if not bare and provider in {"quicksilverpro", "github_copilot"}:
            bare = author
            maker = next(
                (
                    m
                    for p, m in (("claude", "anthropic"), ("gpt", "openai"), ("gemini", "gemini"))
                    if p in bare
                ),
                "",
            )
        found = index.get((maker, bare.partition(":")[0].replace(".", "-")))
        if found is None or found is draft or draft.limits_known:
            continue
        draft.context = draft.context or found.context
        draft.output = draft.output or found.output
        draft.modalities_in, draft.modalities_out = set(found.modalities_in), set(found.modalities_out)
        draft.capabilities, draft.capabilities_known = set(found.capabilities), found.capabilities_known
        if "budget" in found.facts:
            draft.facts["budget"] = found.facts["budget"]
        draft.notes.append(f"limits of {maker}")
        count += 1
    return count


# ------------------------------------------------------------------ writing


def write_data(rows: Rows, same: dict[str, dict[str, str]]) -> Path:
    """One JSON file, one row a line, in name order: the same input gives the same bytes."""
    notes = sorted({note for draft in rows.values() for note in draft.all_notes()})
    number = {note: index for index, note in enumerate(notes)}
    lines = ['{"sources":' + json.dumps(notes, ensure_ascii=False, indent=0).replace("\n", "\n ")]
    lines.append(',"same":' + json.dumps(same, ensure_ascii=False, sort_keys=True, separators=(",", ":")))
    lines.append(',"models":{')
    first_provider = True
    for provider in sorted({name for name, _ in rows}):
        lines.append(("" if first_provider else ",") + json.dumps(provider) + ":{")
        first_provider = False
        body = [
            json.dumps(model, ensure_ascii=False) + ":" + row_json(rows[provider, model], number)
            for name, model in sorted(rows)
            if name == provider
        ]
        lines.append(",\n".join(body) + "}")
    lines.append("}}")
    path = DATA / "models.json"
    path.write_text("\n".join(lines) + "\n", "utf-8")
    return path


def row_json(draft: Draft, number: dict[str, int]) -> str:
    """The row as a compact array; see penstock.config.catalogue.Row for the order. Trailing defaults are cut."""
    facts = draft.facts
    fields: list[Any] = [
        draft.mode,
        draft.context or 0,
        draft.output or 0,
        letters(draft.modalities_in),
        letters(draft.modalities_out),
        "".join(sorted(draft.capabilities)) if draft.capabilities_known else "?",
        " ".join(filter(None, (price_text(draft.prices), draft.hours, draft.then))),
        [number[note] for note in draft.all_notes()],
        draft.date,
        facts.get("retires", draft.retires),
        facts.get("deprecated", draft.deprecated),
        facts.get("reasoning", ""),
        facts.get("budget", []),
        facts.get("cap", ""),
    ]
    defaults: list[Any] = [None] * 9 + ["", "", "", [], ""]
    while len(fields) > 9 and fields[-1] == defaults[len(fields) - 1]:
        fields.pop()
    return json.dumps(fields, ensure_ascii=False, separators=(",", ":"))


def letters(modalities: set[str]) -> str:
    """Modalities as letters, in a fixed order."""
    return "".join(letter for name, letter in MODALITY.items() if name in modalities)


def write_fixture(first: Rows, second: Rows, source: str) -> str:
    """The second table's input and output price of every chat row that both tables have, compared."""
    table: dict[str, list[str | None]] = {}
    differ: dict[str, str] = {}
    for provider, model in sorted(first.keys() & second.keys()):
        row, theirs = first[provider, model], second[provider, model].prices.get(("", 0), {})
        ours = row.prices.get(("", 0), {})
        if row.mode not in {"chat", "responses"} or "input" not in ours or "input" not in theirs:
            continue
        if prefers_second(provider, model):
            continue
        name = f"{provider}/{model}"
        table[name] = [theirs["input"], theirs.get("output")]
        if not (
            close(ours.get("input"), theirs["input"]) and close(ours.get("output"), theirs.get("output"))
        ):
            differ[name] = f"ours {ours.get('input')}/{ours.get('output')}, theirs {table[name]}"
    if differ.keys() != DISAGREE.keys():
        new = [f"  new: {name}: {differ[name]}" for name in sorted(differ.keys() - DISAGREE.keys())]
        gone = [f"  gone: {name}" for name in sorted(DISAGREE.keys() - differ.keys())]
        sys.exit(
            "\n".join(["the tables disagree in other rows than DISAGREE lists; look at each:", *new, *gone])
        )
    body = ",\n".join(f"  {json.dumps(name)}: {json.dumps(pair)}" for name, pair in table.items())
    listed = json.dumps(DISAGREE, indent=1, sort_keys=True).replace("\n", "\n ")
    text = f'{{\n "source": {json.dumps(source)},\n "disagree": {listed},\n "usd_per_token": {{\n{body}\n }}\n}}\n'
    FIXTURE.write_text(text, "utf-8")
    return f"{len(table)} chat rows in both tables, {len(differ)} of them listed as disagreeing"


def prefers_second(provider: str, model: str) -> bool:
    """Whether the second table's figures stand for this row."""
    return any(provider == name and re.fullmatch(pattern, model) for name, pattern, _ in PREFER_SECOND)


def merge(first: Rows, second: Rows) -> tuple[Rows, int]:
    """The first table, with the second's rows where the first has none, no price, or a figure known to be wrong."""
    rows, added = dict(first), 0
    for (provider, model), draft in second.items():
        mine = rows.get((provider, model))
        if mine is None:
            if provider in COMPARE_ONLY:
                continue
            rows[provider, model] = draft
        elif draft.prices and (not mine.prices or prefers_second(provider, model)):
            mine.prices, mine.source = draft.prices, draft.source
        else:
            continue
        added += 1
    for (provider, model), draft in rows.items():
        stale_euros = provider in EUROS and draft.source.startswith("litellm")
        if stale_euros or any(provider == name and re.fullmatch(p, model) for name, p in WITHHELD):
            draft.prices = {}
    return rows, added


def close(ours: str | None, theirs: str | None) -> bool:
    """Whether two figures agree within 0.1 %; an absent one agrees only with an absent one or 0."""
    left, right = Decimal(ours or 0), Decimal(theirs or 0)
    return abs(left - right) <= Decimal("0.001") * max(left, right)


def main() -> None:
    """Reads both tables, merges them and writes data and fixture."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0] if __doc__ else "")
    parser.add_argument(
        "--litellm", type=Path, required=True, help="model_prices_and_context_window_backup.json"
    )
    parser.add_argument("--litellm-version", required=True)
    parser.add_argument("--genai", type=Path, required=True, help="genai_prices/data.py")
    parser.add_argument("--genai-version", required=True)
    parser.add_argument("--date", required=True, help="the day on which the tables were taken, ISO")
    args = parser.parse_args()
    providers = json.loads((DATA / "providers.json").read_text("utf-8"))
    ignored: Counter[str] = Counter()
    first = read_litellm(args.litellm, providers, f"litellm {args.litellm_version}", args.date, ignored)
    second = read_genai(args.genai, providers, f"genai-prices {args.genai_version}", args.date, ignored)
    for rows in (first, second):
        for (provider, model), draft in rows.items():
            placeholder = all_zero(draft) and not is_free(provider, model)
            if placeholder or not draft.prices.get(("", 0)):  # a service class alone is no price list
                draft.prices = {}
    report = write_fixture(first, second, f"genai-prices {args.genai_version}, {args.date}")
    rows, added = merge(first, second)
    drop_plain_reasoning(rows)
    same = fold_regions(rows)
    apply_overlay(rows, load_overlay())
    borrowed = borrow(rows, providers)
    path = write_data(rows, same)
    priced = Counter(provider for (provider, _), draft in rows.items() if draft.prices)
    print(report)
    print("cost fields without a unit here:", dict(sorted(ignored.items())))
    print(
        f"{len(rows)} rows, {sum(priced.values())} priced at {len(priced)} providers; {added} from the second table;"
    )
    print(
        f"{sum(len(names) for names in same.values())} regional twins folded, {borrowed} rows borrowed limits;"
    )
    print(f"{distinct(rows)} distinct priced provider x model pairs; {path.stat().st_size} bytes")


if __name__ == "__main__":
    main()
