"""``penstock models`` reads well at 80 columns, wide, and in a file; names and prices are never cut."""

import json
import re

import pytest

from penstock.base.money import Price
from penstock.cli import models_text
from penstock.cli.models_text import brief, units_text
from penstock.config.catalogue import Catalogue

NAMES = [f"{facts.provider}/{facts.model}" for facts in Catalogue.load().find("gemini-2.5-flash")]


def row_of(lines, name):
    """The line with a model's figures: its own, or the one below a name that has a line to itself."""
    at = next(place for place, line in enumerate(lines) if line.split(" ")[0] == name)
    return lines[at] if len(lines[at].split()) >= 7 else lines[at + 1]


@pytest.mark.parametrize("columns", [80, 120, 200])
def test_a_terminal_gets_a_row_a_model_that_fits(screen, columns):
    """Every hit with its whole name, no line wider than the terminal, limits and prices short."""
    lines = screen.lines(columns, "models", "gemini-2.5-flash")
    assert max(map(len, lines)) <= columns
    assert {line.split(" ")[0] for line in lines} >= set(NAMES)
    row = row_of(lines, "gemini/gemini-2.5-flash").split()
    assert row[1:7] == ["1.05M", "65.5k", "tiavd>t", "0.3", "0.03", "2.5"]
    # A model that is asked for by its name comes before those that only contain it.
    assert lines[1].startswith("gemini/gemini-2.5-flash ")
    assert "$ per million tokens" in " ".join(lines)
    assert len(lines) < 3 * len(NAMES)


def test_the_date_of_an_end_stands_by_the_model(screen):
    """Beside it where there is room, else under it; with the days that are left, or that it is over."""
    wide = screen.lines(200, "models", "gemini-2.5-flash")
    note = next(line for line in wide if line.startswith("gemini/gemini-2.5-flash "))[len(wide[0].rstrip()) :]
    assert "retire" in note
    narrow = screen.lines(80, "models", "gemini-2.5-flash")
    assert narrow[2].strip() == note.strip()


def test_a_pipe_gets_one_whole_line_a_model(screen):
    """For grep and files: nothing folded, no trailing blanks, columns in one place."""
    lines = screen.lines(None, "models", "gemini-2.5-flash")
    rows = lines[1 : 1 + len(NAMES)]
    assert {line.split(" ")[0] for line in rows} == set(NAMES)
    assert all(line == line.rstrip() for line in lines)
    assert len({line.index(">") for line in rows}) < 4  # right-aligned: "t>t" and "tiavd>ti"
    assert lines[0].split()[:3] == ["model", "context", "output"]


def test_all_of_it_can_be_written_to_a_file(screen):
    """``--all`` has every model of the catalogue, in one line each."""
    lines = screen.lines(None, "models", "--all")
    rows = [line for line in lines[1:] if line.split(" ")[0].count("/")]
    everything = {f"{facts.provider}/{facts.model}" for facts in Catalogue.load().find("")}
    assert {line.split(" ")[0] for line in rows} >= everything
    assert not any("more: add words" in line for line in lines)


@pytest.mark.parametrize("columns", [80, 200, None])
def test_no_word_gives_an_overview(screen, columns):
    """Who sells how many models, and how to go on; a screenful, not five thousand rows."""
    lines = screen.lines(columns, "models")
    assert len(lines) < 50
    assert columns is None or max(map(len, lines)) <= columns
    text = " ".join(" ".join(lines).split())
    catalogue = Catalogue.load()
    assert text.startswith(f"{len(catalogue.find('')):,} models of ")
    sold = sum(facts.provider == "anthropic" for facts in catalogue.find("anthropic/"))
    assert f"anthropic {sold}," in text
    for way, _ in models_text.WAYS:
        assert way in text


@pytest.mark.parametrize("columns", [80, 200, None])
def test_one_model_is_told_in_full(screen, columns):
    """Every price class has its line, each price beside its unit; limits, reasoning, budget, source and date."""
    lines = screen.lines(columns, "models", "gemini/gemini-2.5-pro")
    assert columns is None or max(map(len, lines)) <= columns
    head = next(place for place, line in enumerate(lines) if line.split(" ")[0] == "gemini/gemini-2.5-pro")
    block = lines[head : lines.index("", head)]
    labels = [line[:26].strip() for line in block[1:] if line[:26].strip()]
    assert labels[:6] == ["kind", "limits", "in > out", "capabilities", "reasoning", "price"]
    assert labels[6:13] == [
        "standard", "above 200,000", "batch", "batch above 200,000", "flex", "priority", "priority above 200,000",
    ]  # fmt: skip
    text = " ".join(" ".join(block).split())
    for piece in (
        "context 1,048,576 tokens; output 65,536 tokens",
        "text, image, audio, video, document > text",
        "by a budget of tokens; 128 to 32,768 tokens, cannot be turned off, -1 leaves it to the model",
        "in 1.25, cached 0.125, out 10",
        "0.035 per web search",
        "source litellm",
    ):
        assert piece in text, piece
    assert any(line.strip().startswith("above 200,000") and "in 2.5" in line for line in block)


def test_details_of_many(screen):
    """``--details`` gives the block for each hit, without the table."""
    lines = screen.lines(80, "models", "anthropic/claude-haiku-4-5", "--details")
    assert any("cache write 5m 1.25, cache write 1h 2" in line for line in lines)
    assert sum(line.startswith("  capabilities") for line in lines) == len(
        Catalogue.load().find("anthropic/claude-haiku-4-5")
    )
    assert not any(line.startswith("model ") for line in lines)


def test_json_is_complete_without_a_word_too(screen):
    """A program gets everything."""
    code, out = screen.show(80, "models", "--json")
    assert code == 0
    assert len(json.loads(out)["models"]) == len(Catalogue.load().find(""))


def test_what_is_sold_by_the_piece_says_so(screen):
    """An image model without token prices has its price in the note, not a question mark."""
    rows = [line for line in screen.lines(200, "models", "imagen") if "/imagen-3.0" in line]
    assert rows
    assert all(re.search(r" - +- +- +image generation; \$0\.\d+ per image", line) for line in rows)


@pytest.mark.parametrize(
    ("tokens", "text"),
    [
        (None, "?"), (0, "0"), (512, "512"), (999, "999"), (1000, "1k"), (4096, "4.1k"), (65_536, "65.5k"),
        (131_072, "131k"), (200_000, "200k"), (999_499, "999k"), (999_950, "1M"), (1_048_576, "1.05M"),
        (2_000_000, "2M"), (10_485_760, "10.5M"),
    ],
)  # fmt: skip
def test_tokens_in_short(tokens, text):
    """Three digits at most, and never 1e+03."""
    assert brief(tokens) == text


def test_a_price_is_stuck_to_its_unit():
    """A fold never comes between them."""
    words = units_text(
        {"input": Price(300_000), "cache_write_1h": Price(6_000_000), "image:low": Price(4 * 10**10)}
    )
    assert words.replace(models_text.STUCK, " ") == "in 0.3, cache write 1h 6, 0.04 per image"
    assert words.count(" ") == 2
