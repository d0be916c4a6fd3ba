"""The pages of ``docs/reference``, made from the code."""

import argparse
import re
from importlib import import_module
from typing import Any, cast

from starlette.routing import Route

from penstock.base import errors
from penstock.base.events import LAW
from penstock.cli.main import COMMANDS
from penstock.config.catalogue import Catalogue
from penstock.dialects import CALLERS, UPSTREAMS
from penstock.observe.names import BREAKER_STATES, METRICS
from penstock.server.app import CHAT_ROUTES
from penstock.server.jobs import Jobs
from penstock.server.left import left_routes
from penstock.server.pages import PREFIXES, build_pages
from penstock.server.responses_pages import PREFIXES as RESPONSES_PREFIXES
from reference_coverage import coverage
from reference_knobs import SAME, SHARED, sections
from reference_pairs import pairs
from reference_source import adjustments, raised_codes, refusals
from reference_tables import ADJUSTMENT_WORDS, API_PATHS, CLASSES, REQUEST_HEADERS, RESPONSE_HEADERS

MARK = "<!-- Written by scripts/build_reference.py from the code; `make docs` renews it. Do not edit. -->"


def configuration() -> str:
    """Every knob."""
    parts = [
        (
            "The configuration is one YAML file. Unknown fields are refused with the nearest known name; `penstock check` "
            "says all faults at once. Durations carry their unit in the name. Secrets are written `env.NAME` or "
            "`file:PATH` (relative to the file's folder), never as themselves."
        ),
        "In dotted names `NAME` stands for a name of yours and `[]` for an element of a list. "
        + " ".join(f"`{place}` takes the fields of `{other}`." for place, other in SAME.items())
        + f" `{SHARED_NAME}` is described at the end.",
    ]
    for section in sections():
        parts.append(f"## {f'`{section.name}`' if section.name else 'The file'}")
        parts.append(_plain(section.purpose))
        rows = [(f"`{knob.name}`", knob.kind, knob.default, _cell(knob.meaning)) for knob in section.knobs]
        parts.append(_table(("knob", "type", "default", "meaning"), rows))
    return _page("Configuration", parts)


SHARED_NAME = next(iter(SHARED.values()))


def cli() -> str:
    """Every command with its options."""
    parts = [
        (
            "stdout is for data, stderr for people. Exit status 0: done; 1: a fault that was said; 2: a wrong call. "
            "`--json` is there where a program may read. Money in tables is exact; an unknown price is said, never 0."
        )
    ]
    for name, (module, summary) in COMMANDS.items():
        command = import_module(module)
        parser = argparse.ArgumentParser(prog=f"penstock {name}", add_help=False)
        command.add_arguments(parser)
        parts += [f"## penstock {name}", summary, f"`{_usage(name, parser)}`"]
        told = [
            one for one in parser._actions if one.help != argparse.SUPPRESS
        ]  # argparse has no public list
        rows = [_option(action) for action in told]
        parts.append(_table(("option", "default", "meaning"), rows))
    return _page("Command line", parts)


def _usage(name: str, parser: argparse.ArgumentParser) -> str:
    words = [f"penstock {name}"]
    for action in parser._actions:
        if not action.option_strings:
            shown = str(action.metavar or action.dest.upper())
            words.append({"*": f"[{shown} ...]", "?": f"[{shown}]"}.get(str(action.nargs), shown))
    return " ".join([*words, "[options]"])


def _option(action: argparse.Action) -> tuple[str, str, str]:
    value = "" if action.nargs == 0 else f" {action.metavar or action.dest.upper()}"
    name = ", ".join(f"`{one}{value}`" for one in action.option_strings)
    if not name:
        name = f"`{action.metavar or action.dest.upper()}`"
    default = "-" if action.default in (None, False, []) else f"`{action.default}`"
    choices = f" One of {', '.join(f'`{one}`' for one in action.choices)}." if action.choices else ""
    return name, default, _cell(_sentence(action.help or "") + choices)


def error_page() -> str:
    """The tree, its attributes, the codes, and the reasons of refusals."""
    tree = (errors.__doc__ or "").split("Rules")[0].splitlines()[2:]
    parts = [
        (
            "Every error is one of this tree, says who is to blame, and carries a sentence that is safe to show: no secrets, "
            "no provider's headers. The caller gets it in its own dialect with the request id."
        ),
        "```text\n" + "\n".join(line[4:] for line in tree).rstrip() + "\n```",
        "## Classes",
        (
            "*Another key*: another key of the same provider is tried at once. *Next target*: the chain goes on. *Fault*: it "
            "counts against the target's health."
        ),
    ]
    rows: list[tuple[str, ...]] = []
    for name, kind in vars(errors).items():
        if isinstance(kind, type) and issubclass(kind, errors.PenstockError):
            upstream = issubclass(kind, errors.UpstreamError)
            rows.append(
                (
                    f"`{name}`",
                    kind.blame,
                    str(kind.default_status),
                    f"`{kind.default_code}`",
                    _yes(kind.retryable),
                    _yes(upstream and getattr(kind, "rotates_key", False)),
                    _yes(upstream and getattr(kind, "default_falls_back", False)),
                    _yes(upstream and getattr(kind, "is_fault", False)),
                    _cell(_plain((kind.__doc__ or "").split("\n\n")[0])),
                )
            )
    titles = ("class", "blame", "status", "code", "retry", "another key", "next target", "fault", "meaning")
    parts.append(_table(titles, rows))
    parts += ["## Codes of their own", "… stands for what is filled in."]
    codes = [
        (f"`{one.code}`", f"`{one.error}`", one.status or "the class's", _cell(one.sentence) or "-")
        for one in raised_codes()
    ]
    codes += [
        (f"`upstream_timeout_{phase}`", "`UpstreamTimeout`", "504", f"The deadline `{phase}` ran out.")
        for phase in ("connect", "first_byte", "idle", "total")
    ]
    parts.append(_table(("code", "class", "status", "sentence"), codes))
    parts += [
        "## Refusals",
        (
            "Why a target, a key or a call was left out: `penstock explain` prints these; where every target refuses for the "
            "request's own sake, the caller gets 400 with the same code."
        ),
        _table(
            ("code", "sentence", "said by"),
            [(f"`{one.code}`", _cell(one.sentence) or "-", f"`{one.module}`") for one in refusals()],
        ),
    ]
    return _page("Errors", parts)


def metrics() -> str:
    """Every metric."""
    rows = [
        (
            f"`{one.name}`",
            one.kind,
            ", ".join(f"`{label}`" for label in one.labels) or "-",
            _cell(one.help)
            + (f" Buckets: {', '.join(f'{b:g}' for b in one.buckets)} s." if one.buckets else ""),
        )
        for one in METRICS
    ]
    states = ", ".join(f"{name} {number}" for name, number in BREAKER_STATES.items() if "_" not in name)
    parts = [
        (
            "`GET /metrics` gives Prometheus text. Values of labels are bounded: past a limit of distinct series the rest is "
            "counted under `other`. A caller's word becomes a label once a provider has delivered under it, or where the "
            "configuration or the catalogue has it; until then its `route` and `model` are `other`, so that invented names "
            "take no room. Names of the configuration have room always."
        ),
        _table(("metric", "type", "labels", "meaning"), rows),
        f"States of a breaker: {states}.",
    ]
    return _page("Metrics", parts)


def headers() -> str:
    """What the gateway reads and says beside the body."""
    return _page(
        "Headers",
        [
            "## Requests",
            "Other headers of a caller are neither read nor forwarded.",
            _table(("header", "meaning"), [(f"`{name}`", text) for name, text in REQUEST_HEADERS.items()]),
            "## Replies",
            "A provider's own headers are not forwarded.",
            _table(("header", "meaning"), [(f"`{name}`", text) for name, text in RESPONSE_HEADERS.items()]),
        ],
    )


def api_paths() -> dict[str, list[str]]:
    """``METHOD /v1/path`` -> every path under which it is served, from the routes themselves."""
    served: dict[str, list[str]] = {
        "POST /v1/chat/completions": [path.decode() for path in CHAT_ROUTES],
        "POST /v1/completions": [f"{prefix}/completions" for prefix in RESPONSES_PREFIXES],
        "POST /v1/responses": [f"{prefix}/responses" for prefix in RESPONSES_PREFIXES],
        "POST /v1/messages": ["/v1/messages", "/anthropic/v1/messages"],
    }
    for verb in ("generations", "edits"):
        served[f"POST /v1/images/{verb}"] = [f"{prefix}/images/{verb}" for prefix in RESPONSES_PREFIXES]
    for verb in ("generateContent", "streamGenerateContent", "batchEmbedContents"):
        served[f"POST /v1beta/models/{{model}}:{verb}"] = [f"{path}:{verb}" for path in _GEMINI_MODELS]
    pages = build_pages(cast("Any", None), cast("Any", None), "admin", None, cast("Any", None))
    nothing = cast("Any", None)
    left = left_routes(nothing, nothing, Jobs(nothing, nothing), nothing)
    served |= {"* /raw/{provider}/{path}": [], "* /v1/fine_tuning/{path}": []}
    for route in [*cast("list[Route]", pages.routes), *left]:
        method = next(iter(sorted((route.methods or {"GET"}) - {"HEAD"})))
        prefix = next((one for one in PREFIXES if one and route.path.startswith(one + "/")), "")
        bare = route.path.removeprefix(prefix)
        name = f"{method} /v1{bare}"
        key = name if name in API_PATHS else _of_gemini(method, route.path)
        served.setdefault(key, []).append(route.path)
    return served


_GEMINI_MODELS = (
    "/v1/models/{model}",
    "/v1beta/models/{model}",
    "/v1beta1/projects/{project}/locations/{location}/publishers/{publisher}/models/{model}",
    "/v1/projects/{project}/locations/{location}/publishers/{publisher}/models/{model}",
    "/v1/publishers/{publisher}/models/{model}",
)


def _of_gemini(method: str, path: str) -> str:
    """One row for all versions of one of Gemini's paths."""
    if path.endswith(":countTokens"):
        return "POST /v1beta/models/{model}:countTokens"
    if path.startswith(("/v1beta", "/v1alpha", "/v1/publishers")):
        return "GET /v1beta/models/{model}" if "{rest:path}" in path else "GET /v1beta/models"
    return f"{method} {path}"


def api() -> str:
    """Every path."""
    rows = [
        (f"`{name.replace('{model:path}', '{model}')}`", _cell(API_PATHS.get(name, "?")), _also(name, paths))
        for name, paths in api_paths().items()
    ]
    classes = [(f"`{name}`", text) for name, text in CLASSES.items()]
    return _page(
        "HTTP API",
        [
            (
                "A caller of OpenAI, XRoute, OpenRouter, Anthropic or Gemini changes only the host. Errors have the shape that "
                "the path's callers read: OpenRouter's below `/api/v1`, Anthropic's at `/v1/messages`, below `/anthropic` and "
                "wherever `anthropic-version` is sent, Gemini's at its own paths, OpenAI's anywhere else. Every reply carries `x-request-id`: see [headers](headers.md)."
            ),
            _table(("path", "meaning", "also at"), rows),
            "## Classes of a ledger entry",
            "An attempt is one entry of the ledger. Its class says what became of it:",
            _table(("class", "the attempt"), classes),
        ],
    )


def _also(name: str, paths: list[str]) -> str:
    own = name.partition(" ")[2]
    return (
        ", ".join(
            f"`{path.replace('{model:path}', '{model}')}`" for path in dict.fromkeys(paths) if path != own
        )
        or "-"
    )


def dialects() -> str:
    """Who speaks what, what is kept, and which providers are known."""
    catalogue = Catalogue.load()
    rows = [
        (f"`{name}`", "yes" if name in CALLERS else "-", _upstream(name), _passes(name))
        for name in {**CALLERS, **UPSTREAMS}
    ]
    table = coverage(catalogue)
    columns = next(iter(table.values())).keys()
    words = [(f"`{word}`", ", ".join(who)) for word, who in adjustments().items()]
    known = sorted(catalogue.providers(), key=lambda one: (one.dialect not in UPSTREAMS, one.name))
    providers = [
        (
            f"`{one.name}`",
            one.dialect,
            f"`{one.base_url}`" if one.base_url else "yours",
            f"`{one.env}`" if one.env else "-",
        )
        for one in known
    ]
    return _page(
        "Dialects",
        [
            (
                "A *dialect* is a wire format. Callers speak one, providers speak one; the gateway translates, or passes the "
                "bytes through where both are of one family."
            ),
            _table(("dialect", "spoken by callers", "spoken to providers", "pass-through"), rows),
            "## What becomes of a request",
            (
                "Tried out with the model in brackets; *yes*: it arrives as asked. A word in `code` stands in the reply's "
                "`x-penstock-adjusted`. Whether a *model* takes pictures or tools is a fact of the catalogue, and checked before."
            ),
            _table(
                ("asked by an OpenAI client", *columns),
                [(name, *row.values()) for name, row in table.items()],
            ),
            "With `provider: {require_parameters: true}` a target that cannot take a parameter is left out instead.",
            "## Words of `x-penstock-adjusted`",
            _table(("ending", "meaning"), [(f"`{end}`", text) for end, text in ADJUSTMENT_WORDS.items()]),
            "… stands for a field's or a part's name.",
            _table(("word", "said by"), words),
            "## Known providers",
            (
                "These names need no `dialect` and, where a base URL stands here, no `network.base_url`. *other*: no dialect "
                "of ours; such a provider loads and is left out. Any other OpenAI-compatible server works with "
                "`dialect: openai` and its `base_url`."
            ),
            _table(("provider", "dialect", "base URL", "usual key variable"), providers),
        ],
    )


def _upstream(name: str) -> str:
    dialect = UPSTREAMS.get(name)
    return "-" if dialect is None else f"yes, default `{dialect.default_base_url}`"


def _passes(name: str) -> str:
    return "yes" if hasattr(UPSTREAMS.get(name), "splice_request") else "-"


def law() -> str:
    """The lawful order of events as a table, for the architecture page."""
    names = list(dict.fromkeys(kind.__name__ for row in LAW.values() for kind in row))
    rows = [
        (f"`{state}`", *({kind.__name__: to for kind, to in row.items()}.get(name, "-") for name in names))
        for state, row in LAW.items()
    ]
    return _table(("state", *names), rows)


def pages() -> dict[str, str]:
    """File name -> text."""
    return {
        "api.md": api(),
        "cli.md": cli(),
        "configuration.md": configuration(),
        "dialects.md": dialects(),
        "errors.md": error_page(),
        "headers.md": headers(),
        "metrics.md": metrics(),
        "pairs.md": _page("Pairs of dialects", pairs(_table)),
    }


def _page(title: str, parts: list[str]) -> str:
    return "\n\n".join([f"# {title}", MARK, *parts]) + "\n"


def _table(titles: tuple[str, ...], rows: Any) -> str:
    lines = [titles, tuple("---" for _ in titles), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")


def _plain(text: str) -> str:
    return re.sub(r"``", "`", " ".join(text.split()))


def _sentence(text: str) -> str:
    text = text.replace("%%", "%").strip()
    return text + ("" if text.endswith((".", ")")) or not text else ".")


def _yes(value: object) -> str:
    return "yes" if value else "-"
