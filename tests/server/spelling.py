"""JSON in all the spellings that one value has: spaces, escapes, the order of keys, and what is only nearly right."""

import json
from random import Random
from typing import Any

from hypothesis import strategies as st

SLIPS = [b"", b'"', b"\\", b",", b":", b"]", b"}", b"[", b"\x80", b"\xff", b"\x00", b"0", b'"role":', b"null"]
SPACES = ["", "", "", " ", "\n", "\t ", "\r\n  "]
SHORT = {
    '"': '\\"',
    "\\": "\\\\",
    "/": "\\/",
    "\b": "\\b",
    "\f": "\\f",
    "\n": "\\n",
    "\r": "\\r",
    "\t": "\\t",
}


def escaped(letter: str, *, upper: bool = False) -> str:
    """As ``\\u`` and four digits, or twice that."""
    units = letter.encode("utf-16-be", "surrogatepass")
    words = [units[at : at + 2].hex() for at in range(0, len(units), 2)]
    return "".join("\\u" + (word.upper() if upper else word) for word in words)


def spelled_text(text: str, how: Random) -> str:
    """A string in one of its spellings. Letters are written as escapes only now and then."""
    out: list[str] = []
    plainly, disguised = bool(how.randrange(3)), not how.randrange(80)
    for letter in text:
        must = letter < " " or letter in '"\\' or 0xD800 <= ord(letter) < 0xE000
        may = disguised or not (letter == "_" or (letter.isascii() and letter.isalpha()))
        way = 0 if plainly or not may else how.randrange(4)
        if must:
            way = how.randrange(1, 4)
        if way == 0:
            out.append(letter)
        elif way <= 1 and letter in SHORT:
            out.append(SHORT[letter])
        else:
            out.append(escaped(letter, upper=way == 3))
    return '"' + "".join(out) + '"'


def spelled(value: Any, how: Random) -> str:
    """A value in one of its spellings; a key may come to stand there twice."""
    if isinstance(value, str):
        return spelled_text(value, how)
    if isinstance(value, tuple):  # a number, or what stands for one: as it is
        return value[0]
    gap, comma = how.choice(SPACES), how.choice(SPACES) + "," + how.choice(SPACES)
    if isinstance(value, dict):
        pairs = list(value.items())
        if pairs and not how.randrange(40):
            pairs.append(how.choice(pairs))
        how.shuffle(pairs)
        inner = [f"{spelled(key, how)}{how.choice(SPACES)}:{gap}{spelled(one, how)}" for key, one in pairs]
        return "{" + gap + comma.join(inner) + gap + "}"
    if isinstance(value, list):
        return "[" + gap + comma.join(spelled(one, how) for one in value) + gap + "]"
    return json.dumps(value)


TEXT = st.text(max_size=12) | st.sampled_from(
    ["", " ", "json", "é", "\U0001f30d", "\u2028\x7f\x00\x1f", 'a "b" \\ /', "\ud800", "\udc00x", "model", "1h", "messages", "text"]
)  # fmt: skip
ROLE = st.sampled_from(["user", "user", "user", "assistant", "system", "tool", "User", ""])
PART = st.fixed_dictionaries(
    {"type": st.sampled_from(["text", "text", "text", "text", "image", "thinking"]), "text": TEXT}
)
ODD = st.sampled_from([None, True, 0, [], {}, ("1e2",), ("-0",), ("1E400",), ("0.10",), ("01",), ("[1,]",), {"type": "text", "text": "alone"}])  # fmt: skip
CONTENT = TEXT | TEXT | st.lists(PART, max_size=3) | ODD
TURN = st.fixed_dictionaries(
    {"role": ROLE, "content": CONTENT},
    optional={"name": st.none(), "cache_control": st.just({"type": "ephemeral"})},
) | st.fixed_dictionaries({"role": ROLE, "content": CONTENT})
PLAIN_TEXT = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=12)
PLAIN_PART = st.fixed_dictionaries({"type": st.just("text"), "text": PLAIN_TEXT})
PLAIN_TURNS = st.lists(
    st.fixed_dictionaries(
        {
            "role": st.sampled_from(["user", "assistant", "system"]),
            "content": PLAIN_TEXT | st.lists(PLAIN_PART, min_size=1, max_size=3),
        }
    ),
    min_size=1,
    max_size=4,
)


def conversation(turns: list[Any], seed: int) -> bytes:
    """These turns in one spelling of theirs; now and then something is put in or left out."""
    how = Random(seed)
    raw = bytearray(spelled(turns, how).encode("utf-8", "surrogatepass"))
    if not how.randrange(8):
        at = how.randrange(len(raw))
        raw[at : at + how.randrange(3)] = how.choice(SLIPS)
    return bytes(raw)


SEEDS = st.integers(0, 2**32)
PLAIN_ONES = st.builds(conversation, PLAIN_TURNS, SEEDS)
CONVERSATIONS = PLAIN_ONES | st.builds(conversation, st.lists(TURN, max_size=4), SEEDS)
"""Lists of turns, or what passes for one."""
