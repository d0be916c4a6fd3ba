"""The audio dialects: any split, any truncation; usage that adds up; subtitles; forms that stay what they were."""

import base64
import json
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.base.audio import SpeechRequest, TranscriptionRequest
from penstock.base.decisions import Rejected
from penstock.base.errors import (
    BadRequest,
    UpstreamError,
    UpstreamFault,
    UpstreamMalformed,
    UpstreamTruncated,
)
from penstock.base.events import (
    Event,
    Finished,
    Lawful,
    MediaMade,
    SegmentMade,
    Started,
    Stopped,
    TextDelta,
    fold,
)
from penstock.base.models import ModelFacts, PriceRow, Target
from penstock.base.money import Price
from penstock.base.sound_fees import heard_fees
from penstock.dialects.gemini.hearing import GEMINI_HEARING, VERTEX_HEARING
from penstock.dialects.gemini.speaking import GEMINI_SPEAKING
from penstock.dialects.openai_audio import HEARING, SPEAKING, HearingCaller, SpeakingCaller
from penstock.dialects.openai_audio.subtitles import ends_s, srt, vtt
from penstock.dialects.openai_audio.usage import UsageField, read_usage, written
from penstock.simulate.sound import pcm, sound, wav
from penstock.wire.form_edit import edit_form
from penstock.wire.multipart import FormPart, read_form, write_form
from penstock.wire.ports import Identity
from penstock.wire.sounds import listen

IDENTITY = Identity("req_1", 0, "m")
ROW = PriceRow("v", {"second_input": Price(100, text="0.0001")})


def target(model: str = "whisper-1", row: PriceRow | None = ROW, dialect: str = "openai") -> Target:
    return Target("p", model, dialect, ModelFacts("openai", model, price=row))


def form(**fields: str) -> tuple[bytes, bytes]:
    parts = [FormPart(name, value.encode()) for name, value in fields.items()]
    return write_form([*parts, FormPart("file", wav(2.0), "talk.wav", "audio/wav")])


def heard(**fields: str) -> tuple[HearingCaller, Any]:
    content_type, body = form(**{"model": "p/whisper-1", **fields})
    caller = HearingCaller("transcribe", content_type)
    return caller, caller.read_request(body)


def event(body: dict[str, Any]) -> bytes:
    return b"event: %b\ndata: %b\n\n" % (body["type"].encode(), json.dumps(body).encode())


USAGE = {
    "type": "tokens",
    "input_tokens": 30,
    "input_token_details": {"text_tokens": 10, "audio_tokens": 20},
    "output_tokens": 5,
    "total_tokens": 35,
}
HEARD = b"".join(
    [
        *(event({"type": "transcript.text.delta", "delta": word}) for word in ("the ", "mill 水", " turns")),
        event({"type": "transcript.text.done", "text": "the mill 水 turns", "usage": USAGE}),
    ]
)
SPOKEN = b"".join(
    [
        event({"type": "speech.audio.delta", "audio": base64.b64encode(pcm(0.01)).decode()}),
        event({"type": "speech.audio.delta", "audio": base64.b64encode(pcm(0.02)).decode()}),
        event(
            {
                "type": "speech.audio.done",
                "usage": {"input_tokens": 4, "output_tokens": 9, "total_tokens": 13},
            }
        ),
    ]
)


def cut(data: bytes, at: list[int]) -> list[bytes]:
    ends = sorted({one % (len(data) + 1) for one in at} | {len(data)})
    return [data[start:end] for start, end in zip([0, *ends], ends, strict=False)]


def read(reader: Any, pieces: list[bytes]) -> list[Event]:
    events: list[Event] = []
    for piece in pieces:
        events += reader.feed(piece)
    events += reader.close()
    law = Lawful()
    for one in events:
        law.see(one)
    assert law.state == "done"
    return events


def drain(relay: Any, data: bytes) -> None:
    relay.feed(data)
    relay.close()


# -- streams


@given(st.lists(st.integers(0, 10_000), max_size=12))
def test_a_transcripts_stream_is_the_same_however_it_is_split(at: list[int]):
    _, ask = heard(stream="true")
    HEARING.splice_request(ask, target(), "")
    relay = HEARING.relay(ask, stream=True)
    out = b"".join(relay.feed(piece) for piece in cut(HEARD, at)) + relay.close()
    assert out == HEARD
    assert relay.usage is not None
    assert (relay.usage.input, relay.usage.input_audio, relay.usage.output) == (10, 20, 5)
    folded = fold(read(HEARING.reader(target(), stream=True), cut(HEARD, at)))
    assert folded.text == "the mill 水 turns"


@given(st.integers(0, len(HEARD) - 3))
def test_a_transcript_that_was_cut_is_never_whole(end: int):
    _, ask = heard(stream="true")
    relay = HEARING.relay(ask, stream=True)
    with pytest.raises(UpstreamError):
        drain(relay, HEARD[:end])
    assert not relay.finished
    with pytest.raises((UpstreamTruncated, UpstreamMalformed)):
        read(HEARING.reader(target(), stream=True), [HEARD[:end]])


@given(st.lists(st.integers(0, 10_000), max_size=12), st.booleans())
def test_speech_is_the_same_however_it_is_split(at: list[int], events: bool):
    caller = SpeakingCaller()
    body = {"model": "m", "input": "a mill", "voice": "alloy", "response_format": "pcm"}
    ask: Any = caller.read_request(
        json.dumps({**body, "stream_format": "sse" if events else "audio"}).encode()
    )
    data = SPOKEN if events else pcm(0.1)
    relay = SPEAKING.relay(ask, stream=True)
    assert b"".join(relay.feed(piece) for piece in cut(data, at)) + relay.close() == data
    assert relay.usage is not None
    assert relay.finished
    made = [
        one
        for one in read(SPEAKING.reader(target(), stream=True), cut(data, at))
        if isinstance(one, MediaMade)
    ]
    samples = b"".join(base64.b64decode(one.data) for one in made)
    assert samples == (pcm(0.01) + pcm(0.02) if events else data)


@given(st.integers(0, len(SPOKEN) - 3))
def test_speech_in_events_that_was_cut_is_never_whole(end: int):
    ask: Any = SpeakingCaller().read_request(
        b'{"model":"m","input":"a","voice":"v","response_format":"pcm","stream_format":"sse"}'
    )
    relay = SPEAKING.relay(ask, stream=True)
    with pytest.raises(UpstreamError):
        drain(relay, SPOKEN[:end])
    assert not relay.finished


@pytest.mark.parametrize(
    "page", [b'{"error": {"message": "no", "type": "server_error"}}', b"<html>no</html>"]
)
@pytest.mark.parametrize("size", [1, 1000])
def test_an_error_where_sound_was_promised(page: bytes, size: int):
    """None of it reaches the caller."""
    ask: Any = SpeakingCaller().read_request(b'{"model":"m","input":"a","voice":"v","response_format":"pcm"}')
    for reader in (SPEAKING.relay(ask, stream=True), SPEAKING.reader(target(), stream=True)):
        passed = [reader.feed(page[at : at + size]) for at in range(0, len(page), size)]
        assert not any(passed)
        with pytest.raises((UpstreamFault, UpstreamMalformed)):
            reader.close()


def test_an_error_where_a_text_was_promised():
    _, ask = heard(response_format="text")
    relay = HEARING.relay(ask, stream=False)
    relay.feed(b'{"error": {"message": "no", "type": "server_error"}}')
    with pytest.raises(UpstreamFault):
        relay.close()
    relay = HEARING.relay(ask, stream=False)
    relay.feed(b"{braces} are words, too\n")
    assert relay.close() == b"{braces} are words, too\n"


# -- usage


@given(
    st.integers(0, 10**7),
    st.integers(0, 10**7),
    st.one_of(st.none(), st.integers(0, 10**7)),
    st.one_of(st.none(), st.integers(0, 10**7)),
    st.sampled_from(["words", "sound"]),
)
def test_the_parts_are_the_whole(given_: int, made: int, audio: int | None, cached: int | None, kind: Any):
    seen = msgspec.convert(
        {
            "type": "tokens",
            "input_tokens": given_,
            "output_tokens": made,
            "total_tokens": given_ + made,
            "input_token_details": {"audio_tokens": audio, "cached_tokens": cached},
        },
        UsageField,
    )
    usage = read_usage(seen, None, kind, "provider")
    assert usage is not None
    assert usage.total_tokens == given_ + made
    assert min(usage.input, usage.input_audio, usage.cache_read, usage.output, usage.output_audio) >= 0
    assert bool(usage.note) == ((audio or 0) + (cached or 0) > given_)
    shown = written(usage)
    assert (shown or {}).get("total_tokens", 0) == given_ + made


@given(st.floats(0.01, 1e6))
def test_seconds_are_fees(seconds: float):
    usage = read_usage(UsageField(type="duration", seconds=seconds), ROW, "words", "provider")
    assert usage is not None
    assert usage.total_tokens == 0
    [(unit, quantity)] = usage.fees
    assert unit == "second_input"
    assert seconds <= quantity < seconds + 1
    assert written(usage) == {"type": "duration", "seconds": quantity}


def test_what_a_second_is_called():
    assert heard_fees(PriceRow("v", {"second": Price(1, text="0.1")}), 1.2) == (("second", 2),)
    assert heard_fees(None, 1.2) == (("second_input", 2),)
    assert heard_fees(ROW, 0.0) == ()


# -- forms


@given(
    st.lists(st.sampled_from(["prompt", "include[]", "provider[order][]", "language"]), max_size=6),
    st.binary(max_size=64),
)
def test_a_form_keeps_what_is_not_edited(names: list[str], data: bytes):
    parts = [FormPart(name, f"value {at}".encode()) for at, name in enumerate(names)]
    content_type, body = write_form(
        [*parts, FormPart("model", b"p/m"), FormPart("file", data, "a.wav", "audio/wav")]
    )
    told, out = edit_form(
        content_type,
        body,
        [*names, "model", "file"],
        lambda name: name.partition("[")[0] in ("model", "provider"),
        [FormPart("model", b"m")],
    )
    assert told == content_type
    kept = [
        part
        for part in read_form(content_type, body)
        if part.name.partition("[")[0] not in ("model", "provider")
    ]
    assert read_form(told, out) == [FormPart("model", b"m"), *kept]


@pytest.mark.parametrize(
    "head", [b"form-data; name=model", b'form-data; filename="; name=\\"file"; name="model"']
)
def test_an_odd_form_is_written_anew(head: bytes):
    """A part whose name stands where it is not looked for."""
    content_type, body = write_form([FormPart("model", b"a"), FormPart("file", b"x", "a.wav")])
    body = body.replace(b'form-data; name="model"', head)
    names = [part.name for part in read_form(content_type, body)]
    told, out = edit_form(content_type, body, names, lambda name: name == "model", [FormPart("model", b"b")])
    assert [(part.name, part.data) for part in read_form(told, out)] == [("model", b"b"), ("file", b"x")]


def test_lists_and_objects_of_a_form():
    caller, ask = heard(
        response_format="json",
        chunking_strategy='{"type": "server_vad"}',
        provider='{"only": ["p"]}',
        **{"include[]": "logprobs"},
    )
    request = caller.expand(ask)
    assert request.chunking == {"type": "server_vad"}
    assert request.include == ("logprobs",)
    assert ask.provider.only == ("p",)
    assert b"provider" not in HEARING.splice_request(ask, target(), "").body
    assert dict(ask.units) == {"second_input": 2, "second": 2, "second_input_audio": 2}
    with pytest.raises(BadRequest, match="not JSON"):
        heard(provider="{")


# -- replies that are made here


SEGMENTS = [
    SegmentMade("segment", " the mill", 0.0, 61.5),
    SegmentMade("segment", "turns\n\n--> on", 61.5, 3661.0005),
]


def test_subtitles():
    assert srt(SEGMENTS) == (
        "1\n00:00:00,000 --> 00:01:01,500\nthe mill\n\n2\n00:01:01,500 --> 01:01:01,000\nturns\n-> on\n\n"
    )
    assert vtt(SEGMENTS).startswith("WEBVTT\n\n00:00:00.000 --> 00:01:01.500\nthe mill\n\n")
    assert ends_s(srt(SEGMENTS).encode()) == ends_s(vtt(SEGMENTS).encode()) == 3661.0
    assert ends_s(b"") == 0.0


@pytest.mark.parametrize("wanted", ["srt", "vtt", "verbose_json", "diarized_json"])
def test_timestamps_are_never_invented(wanted: str):
    caller, ask = heard(response_format=wanted)
    events: list[Event] = [Started(), TextDelta("the mill"), Stopped("stop"), Finished()]
    with pytest.raises(UpstreamMalformed, match="no timestamps"):
        caller.writer(ask, IDENTITY).whole(events)
    made = caller.writer(ask, IDENTITY).whole(
        [Started(), TextDelta("the mill turns"), *SEGMENTS, *events[2:]]
    )
    assert b"the mill" in made


def test_a_whole_transcript_both_ways():
    """What OpenAI's format says survives the neutral form."""
    body = {
        "task": "transcribe",
        "language": "english",
        "duration": 2.0,
        "text": "the mill",
        "segments": [{"id": 0, "seek": 0, "start": 0.0, "end": 2.0, "text": "the mill", "avg_logprob": -0.2}],
        "usage": {"type": "duration", "seconds": 2},
    }
    caller, ask = heard(response_format="verbose_json")
    events = read(HEARING.reader(target(), stream=False), [json.dumps(body).encode()])
    assert json.loads(caller.writer(ask, IDENTITY).whole(events)) == body


@given(st.integers(0, 200))
def test_a_whole_transcript_that_was_cut(end: int):
    body = json.dumps({"text": "the mill turns at the river", "usage": USAGE}).encode()
    reader = HEARING.reader(target(), stream=False)
    reader.feed(body[: min(end, len(body) - 1)])
    with pytest.raises((UpstreamTruncated, UpstreamMalformed)):
        reader.close()


# -- Gemini


def gemini(*parts: dict[str, Any], finish: str | None = "STOP", **usage: Any) -> bytes:
    candidate: dict[str, Any] = {"content": {"role": "model", "parts": list(parts)}}
    if finish:
        candidate["finishReason"] = finish
    return b"data: " + json.dumps({"candidates": [candidate], "usageMetadata": usage}).encode() + b"\r\n\r\n"


def blob(seconds: float) -> dict[str, Any]:
    data = base64.b64encode(pcm(seconds)).decode()
    return {"inlineData": {"mimeType": "audio/L16;codec=pcm;rate=24000", "data": data}}


SOUNDS = gemini(blob(0.01), finish=None) + gemini(
    blob(0.02),
    promptTokenCount=5,
    candidatesTokenCount=9,
    totalTokenCount=14,
    candidatesTokensDetails=[{"modality": "AUDIO", "tokenCount": 9}],
)


@given(st.lists(st.integers(0, 10_000), max_size=12))
def test_geminis_sound_is_the_same_however_it_is_split(at: list[int]):
    caller = SpeakingCaller()
    ask: Any = caller.read_request(b'{"model":"m","input":"a","voice":"v","response_format":"wav"}')
    writer = caller.writer(ask, IDENTITY)
    events = read(GEMINI_SPEAKING.reader(target(), stream=True), cut(SOUNDS, at))
    out = writer.write(events)
    assert out[44:] == pcm(0.01) + pcm(0.02)
    usage = fold(events).usage
    assert usage is not None
    assert (usage.input, usage.output_audio, usage.total_tokens) == (5, 9, 14)


@given(st.integers(0, len(SOUNDS) - 5))
def test_geminis_sound_that_was_cut_fails(end: int):
    with pytest.raises(UpstreamError):
        read(GEMINI_SPEAKING.reader(target(), stream=True), [SOUNDS[:end]])


def test_a_transcript_at_the_models_limit_is_none():
    reader = GEMINI_HEARING.reader(target(), stream=True)
    events = [*reader.feed(gemini({"text": "the mill"}, finish="MAX_TOKENS")), *reader.close()]
    assert Stopped("error", "MAX_TOKENS") in events
    reader = GEMINI_HEARING.reader(target(), stream=True)
    reader.feed(gemini(finish="SAFETY"))
    with pytest.raises(UpstreamError, match="content filter"):
        reader.close()
    speaker = GEMINI_SPEAKING.reader(target(), stream=True)
    speaker.feed(gemini({"text": "I would rather not."}))
    with pytest.raises(UpstreamFault, match="made no sound"):
        speaker.close()


def test_geminis_requests():
    request = TranscriptionRequest("m", wav(1.0), "talk.bin", language="de", translate=True, temperature=0.2)
    sent = GEMINI_HEARING.write_request(request, target("gemini-2.5-flash"), "k")
    body = json.loads(sent.body)
    words, recording = body["contents"][0]["parts"]
    assert words["text"].startswith(
        "Translate what is said in this recording into English. The language is de."
    )
    assert recording["inlineData"]["mimeType"] == "audio/wav"
    assert body["generationConfig"] == {"temperature": 0.2}
    assert body["store"] is False
    assert sent.adjusted == ("language-as-instruction",)
    no = GEMINI_HEARING.refuse(TranscriptionRequest("m", b"\x1a\x45\xdf\xa3"), target())
    assert isinstance(no, Rejected)
    assert (no.param, no.caller_fault) == ("file", True)
    assert VERTEX_HEARING.refuse(request, target()) is not None
    speech = SpeechRequest("m", "a mill", "alloy", format="pcm")
    spoken = json.loads(GEMINI_SPEAKING.write_request(speech, target("gemini-3.8-flash-tts"), "k").body)
    voice = spoken["generationConfig"]["speechConfig"]["voiceConfig"]["prebuiltVoiceConfig"]["voiceName"]
    assert voice == "Kore"


# -- sounds


@given(st.binary(max_size=200), st.sampled_from(["wav", "mp3", "flac", "opus", "aac", "m4a", "webm", ""]))
def test_listening_never_fails(noise: bytes, kind: str):
    starts = {"m4a": b"\0\0\0\x18ftypM4A mvhd", "webm": b"\x1a\x45\xdf\xa3\x44\x89", "": b""}
    head = starts[kind] if kind in starts else sound(kind, 0.05)[:60]
    heard_sound = listen(head + noise)
    assert heard_sound is None or heard_sound.seconds >= 0


def test_lengths():
    mvhd = b"mvhd" + bytes(4) + bytes(8) + (1000).to_bytes(4, "big") + (2500).to_bytes(4, "big")
    found = listen(b"\0\0\0\x18ftypM4A " + mvhd)
    assert found is not None
    assert (found.format, found.seconds) == ("m4a", 2.5)
    webm = listen(b"\x1a\x45\xdf\xa3\x2a\xd7\xb1\x83\x0f\x42\x40\x44\x89\x84\x45\x1c\x40\x00")
    assert webm is not None
    assert (webm.format, webm.seconds) == ("webm", 2.5)
