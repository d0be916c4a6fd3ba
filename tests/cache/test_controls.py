"""What callers say of the cache: read strictly, tightening only, cut out of the body to the byte."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.base.errors import BadRequest
from penstock.cache.controls import DEFAULT, Controls, block_of, controls_of, tightened

H = b"x-penstock-cache"


def test_nothing_said_is_the_default_itself() -> None:
    assert controls_of({b"authorization": b"Bearer x", b"x-penstock-user": b"a"}, None) is DEFAULT


def test_every_header_is_read() -> None:
    told = {
        H: b"semantic",
        H + b"-ttl": b" 60 ",
        H + b"-min-score": b"0.97",
        H + b"-namespace": "böten".encode(),
        H + b"-tags": b"a, b ,a",
        H + b"-no-store": b"true",
    }
    assert controls_of(told, None) == Controls("semantic", 60, 0.97, "böten", ("a", "b"), True)


def test_every_field_is_read() -> None:
    block = {
        "mode": "refresh",
        "ttl": 60,
        "min_score": 1,
        "namespace": "n",
        "tags": ["a", "b"],
        "no_store": False,
    }
    assert controls_of({}, block) == Controls("refresh", 60, 1.0, "n", ("a", "b"), False)
    assert controls_of({}, dict.fromkeys(block)) is DEFAULT


def test_a_string_alone_is_the_mode() -> None:
    assert controls_of({}, "off").mode == "off"


def test_a_header_wins_field_by_field() -> None:
    block = {"mode": "exact", "ttl": 5, "namespace": "body", "no_store": True}
    told = {H + b"-ttl": b"7", H: b"off", H + b"-no-store": b"false"}
    assert controls_of(told, block) == Controls("off", 7, None, "body", (), False)


def test_no_store_of_http_is_heard() -> None:
    assert controls_of({b"cache-control": b"max-age=0, No-Store"}, None).no_store
    assert controls_of({b"cache-control": b"no-cache"}, None) == DEFAULT
    told = {b"cache-control": b"no-store", H + b"-no-store": b"false"}
    assert not controls_of(told, None).no_store


@pytest.mark.parametrize("mode", ["default", "off", "exact", "semantic", "refresh", "only"])
def test_modes(mode: str) -> None:
    assert controls_of({H: mode.encode()}, None).mode == mode
    assert controls_of({}, {"mode": mode}).mode == mode


@pytest.mark.parametrize(
    ("name", "values"),
    [
        (b"", [b"of", b"OFF", b"", b"off,exact", b"1"]),
        (b"-ttl", [b"0", b"-1", b"1.5", b"60s", b"", b"+5", b"1_0", b"9" * 5000, "٣".encode()]),
        (
            b"-min-score",
            [b"1.01", b"-0.1", b"nan", b"inf", b"", b".", b"e-1", b"0x1", b"1_0", b"0.9 0.9", b"9e99"],
        ),
        (b"-namespace", [b"a" * 129, b"a\x00b", b"a\x7f", b"\xff", "a\u2028".encode()]),
        (b"-tags", [b"a,,b", b",", b",".join(b"t%d" % i for i in range(17)), b"a" * 129, b"a\x01"]),
        (b"-no-store", [b"yes", b"", b"TRUE", b"2"]),
        (b"-score", [b"1"]),
        (b"s", [b"off"]),
    ],
)
def test_what_a_header_may_not_be_is_refused_by_name(name: bytes, values: list[bytes]) -> None:
    for value in values:
        with pytest.raises(BadRequest) as caught:
            controls_of({H + name: value}, None)
        assert caught.value.param == (H + name).decode()
        assert caught.value.hint
        assert len(caught.value.message) < 200
        assert caught.value.message.isprintable()


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("mode", ["of", "OFF", "", 1, True, ["off"]]),
        ("ttl", [0, -1, 1.5, "60", True, 10**30]),
        ("min_score", [1.01, -0.1, "0.9", True, []]),
        ("namespace", ["a" * 129, "a\x00b", 5, []]),
        ("tags", ["a", [""], ["a,b"], [1], ["a" * 129], [f"t{i}" for i in range(17)], {}]),
        ("no_store", ["true", 1, 0, []]),
        ("Mode", ["off"]),
        ("no-store", [True]),
    ],
)
def test_what_a_field_may_not_be_is_refused_by_name(name: str, values: list[object]) -> None:
    for value in values:
        with pytest.raises(BadRequest) as caught:
            controls_of({}, {name: value})
        assert caught.value.param == f"penstock.cache.{name}"
        assert caught.value.hint


@pytest.mark.parametrize("block", [5, True, [], "of", ["off"]])
def test_a_block_of_another_kind_is_refused(block: object) -> None:
    with pytest.raises(BadRequest) as caught:
        controls_of({}, block)
    assert caught.value.param == "penstock.cache"


def test_sixteen_tags_and_a_long_namespace_are_taken() -> None:
    tags = [f"t{i}" for i in range(16)]
    assert controls_of({}, {"tags": tags}).tags == tuple(tags)
    assert controls_of({H + b"-tags": ",".join(tags).encode()}, None).tags == tuple(tags)
    assert controls_of({}, {"namespace": "n" * 128}).namespace == "n" * 128


def test_no_tags_is_no_tags() -> None:
    assert controls_of({H + b"-tags": b""}, {"tags": ["a"]}).tags == ()


@given(
    st.one_of(st.none(), st.integers(1, 10**9)),
    st.one_of(st.none(), st.floats(0, 1)),
    st.integers(1, 10**7),
    st.floats(0, 1),
)
def test_a_caller_may_only_tighten__bifrost_header_raised_hits(
    ttl: int | None, score: float | None, ttl_s: int, threshold: float
) -> None:
    life, least = tightened(Controls(ttl_s=ttl, min_score=score), ttl_s, threshold)
    assert life <= ttl_s
    assert least >= threshold
    assert life in (ttl, ttl_s)
    assert least in (score, threshold)


@given(st.floats(0, 1))
def test_any_score_that_python_or_json_writes_is_read(score: float) -> None:
    assert controls_of({H + b"-min-score": repr(score).encode()}, None).min_score == score


# The body.

WORDS = st.sampled_from(
    ["penstock", "cache", "a", "model", '"penstock"', "penstock\\", "é", '{"cache":"off"}']
)
LEAF = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | WORDS
VALUE = st.recursive(
    LEAF, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(WORDS, inner, max_size=3), max_leaves=6
)
SPACES = st.sampled_from(["", " ", "\n\t"])


@st.composite
def bodies(draw: st.DrawFn) -> tuple[bytes, dict[str, Any]]:
    """A body, its members in any order, spaced and escaped anyhow."""
    fields: dict[str, Any] = draw(
        st.dictionaries(WORDS.filter(lambda word: word != "penstock"), VALUE, max_size=4)
    )
    if draw(st.booleans()):
        fields["penstock"] = draw(st.none() | st.dictionaries(WORDS, VALUE, max_size=3))
    names = draw(st.permutations(list(fields)))
    space = draw(SPACES)
    pieces = [
        f"{space}{json.dumps(name)}{space}:{space}{json.dumps(fields[name], ensure_ascii=draw(st.booleans()), indent=draw(st.sampled_from([None, 1])))}{space}"
        for name in names
    ]
    return ("{" + ",".join(pieces) + "}").encode(), fields


@given(bodies())
def test_stripping_is_deleting(made: tuple[bytes, dict[str, Any]]) -> None:
    body, fields = made
    block, left = block_of(body)
    said = fields.get("penstock") or {}
    expected = dict(fields)
    if "cache" in said:
        rest = {name: value for name, value in said.items() if name != "cache"}
        expected["penstock"] = rest
        if not rest:
            del expected["penstock"]
        assert block == said["cache"]
        assert len(left) < len(body)
    else:
        assert block is None
        assert left is body
    assert json.loads(left) == expected


def test_every_other_byte_stays() -> None:
    body = b'{ "model" : "m",\n "penstock":{"cache":{"mode":"off"}} , "x":1e2, "t":"\\"penstock\\": {\\"cache\\": 1}"}'
    block, left = block_of(body)
    assert block == {"mode": "off"}
    assert left == b'{ "model" : "m" , "x":1e2, "t":"\\"penstock\\": {\\"cache\\": 1}"}'


def test_other_members_of_penstock_stay() -> None:
    block, left = block_of(b'{"penstock":{"later":1,"cache":"off"},"model":"m"}')
    assert block == "off"
    assert left == b'{"penstock":{"later":1},"model":"m"}'


@pytest.mark.parametrize(
    "body",
    [
        b'{"model":"m"}',
        b'{"messages":[{"role":"user","content":"say \\"penstock\\": {}"}]}',
        b'{"messages":[{"penstock":{"cache":"off"}}]}',
        b'{"a":"penstock"}',
        b'{"penstock":null}',
        b'{"penstock":{}}',
        b'{"penstock":{"later":1}}',
        b'["penstock"]',
        b'{"penstock"',
        b'"penstock"',
        b'{"penstock":{"cache":"off"}',
        b'\xff"penstock"',
        b'{"penstock":{"cache":"\\ud800"}}',
        b"",
    ],
)
def test_a_body_that_says_nothing_is_the_same_object(body: bytes) -> None:
    block, left = block_of(body)
    assert block is None
    assert left is body


@pytest.mark.parametrize("value", [b'"off"', b"1", b"[]", b"true"])
def test_penstock_must_be_an_object(value: bytes) -> None:
    with pytest.raises(BadRequest) as caught:
        block_of(b'{"penstock":' + value + b"}")
    assert caught.value.param == "penstock"


@pytest.mark.parametrize("value", [b'{"cache":"off","cache":"only"}', b'{"cache":"\xff"}'])
def test_what_cannot_be_read_one_way_is_refused(value: bytes) -> None:
    with pytest.raises(BadRequest):
        block_of(b'{"model":"m","penstock":' + value + b"}")


def test_a_null_block_says_nothing_and_is_cut() -> None:
    assert block_of(b'{"a":1,"penstock":{"cache":null}}') == (None, b'{"a":1}')


def test_a_deep_body_is_for_its_reader_to_refuse() -> None:
    body = b'{"penstock":' + b"[" * 100_000 + b"]" * 100_000 + b"}"
    assert block_of(body) == (None, body)
