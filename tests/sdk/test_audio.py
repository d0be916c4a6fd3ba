"""Recordings written down and words spoken, through the official client, to every door that can."""

import base64
import io
import json
import wave
from collections.abc import Iterator
from typing import Any, cast

import httpx
import httpx2
import openai
import pytest
from openai.types.audio import (
    Transcription,
    TranscriptionDiarized,
    TranscriptionTextDeltaEvent,
    TranscriptionTextDoneEvent,
    TranscriptionTextSegmentEvent,
    TranscriptionVerbose,
    TranslationVerbose,
)

from penstock.gateway.ports import end_failed
from penstock.server.inner import Gathered
from penstock.simulate.sound import pcm, sound, wav
from penstock.wire.sounds import listen
from tests.behaviours.gateway import THREE_DIALECTS, Gateway, running_gateway

CONFIG = (
    THREE_DIALECTS
    + """
  vertex:
    dialect: vertex
    project: simulated-project
    location: us-east5
    credentials: "file:{account}"
    network: {base_url: "{sim}/p/vertex", retry: {max_retries: 0}}
fallbacks:
  - {primary: openai/gpt-4o-transcribe, secondary: gemini/gemini-2.5-flash}
  - {primary: backup/whisper-1, secondary: openai/whisper-1}
  - {primary: openai/tts-1, secondary: gemini/gemini-3.8-flash-tts}
virtual_keys:
  - {name: caller, key: env.CALLER_KEY}
  - {name: thrifty, key: env.OTHER_CALLER_KEY, budgets: [{limit_usd: "0.0008", period: day}]}

"""
)
KEY = "vk-caller-000000000006"
WHISPER = "openai/whisper-1"
GPT = "openai/gpt-4o-mini-transcribe"
DIARIZE = "openai/gpt-4o-transcribe-diarize"
HEARERS = {"openai": GPT, "gemini": "gemini/gemini-2.5-flash", "vertex": "vertex/gemini-2.5-flash"}
SPEAKERS = {"gemini": "gemini/gemini-3.8-flash-tts", "vertex": "vertex/gemini-3.8-flash-tts"}
RECORDING = ("talk.wav", wav(6.4), "audio/wav")
WORDS = "The mill stands at the river, and the wheel turns slowly."


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    place = tmp_path_factory.mktemp("audio")
    with running_gateway(
        place,
        config=CONFIG,
        prepare=lambda sim: {"account": str(sim.make_service_account(place))},
    ) as gateway:
        yield gateway


@pytest.fixture
def gateway(served: Gateway) -> Gateway:
    served.fresh()
    return served


@pytest.fixture
def client(gateway: Gateway) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{gateway.url}/v1", api_key=KEY, max_retries=0) as made:
        yield made


def text_of(client: openai.OpenAI, model: str = GPT) -> str:
    return client.audio.transcriptions.create(model=model, file=RECORDING).text


# -- transcriptions


@pytest.mark.parametrize("door", HEARERS)
def test_a_recording_is_written_down(client: openai.OpenAI, gateway: Gateway, door: str):
    """Words, and usage whose parts are sounds and words, at every door; the ledger prices them."""
    made = client.audio.transcriptions.create(model=HEARERS[door], file=RECORDING, prompt="mill talk")
    assert isinstance(made, Transcription)
    assert len(made.text.split()) >= 3
    assert made.usage is not None
    assert made.usage.type == "tokens"
    details = made.usage.input_token_details
    assert details is not None
    assert details.audio_tokens == 64
    assert made.usage.total_tokens == made.usage.input_tokens + made.usage.output_tokens
    [entry] = gateway.last_record().entries
    assert entry.klass == "delivered"
    assert entry.input_audio == 64
    assert entry.input + entry.input_audio == made.usage.input_tokens
    assert entry.cost_nusd == sum(line.cost_nusd or 0 for line in entry.lines)
    assert entry.cost_nusd


@pytest.mark.parametrize("door", HEARERS)
def test_a_stream_of_words(client: openai.OpenAI, gateway: Gateway, door: str):
    events = list(client.audio.transcriptions.create(model=HEARERS[door], file=RECORDING, stream=True))
    deltas = [event.delta for event in events if isinstance(event, TranscriptionTextDeltaEvent)]
    done = events[-1]
    assert isinstance(done, TranscriptionTextDoneEvent)
    assert len(deltas) >= 3
    assert "".join(deltas) == done.text
    assert done.usage is not None
    [entry] = gateway.last_record().entries
    assert (entry.klass, entry.input_audio) == ("delivered", 64)
    assert done.usage.total_tokens == done.usage.input_tokens + done.usage.output_tokens


def test_every_format_of_whisper(client: openai.OpenAI, gateway: Gateway):
    """Bytes go through in each format, with the content type that it has; seconds are what is charged."""
    create = client.audio.transcriptions.with_raw_response.create
    text = create(model=WHISPER, file=RECORDING, response_format="text")
    assert text.headers["content-type"] == "text/plain; charset=utf-8"
    words = text.text.strip()
    srt = create(model=WHISPER, file=RECORDING, response_format="srt")
    assert srt.headers["content-type"].startswith("text/plain")
    assert "00:00:04,000 --> 00:00:06,400" in srt.text
    vtt = create(model=WHISPER, file=RECORDING, response_format="vtt").text
    assert vtt.startswith("WEBVTT\n\n00:00:00.000 --> 00:00:04.000\n")
    verbose = client.audio.transcriptions.create(
        model=WHISPER,
        file=RECORDING,
        response_format="verbose_json",
        timestamp_granularities=["word", "segment"],
    )
    assert isinstance(verbose, TranscriptionVerbose)
    assert verbose.segments is not None
    assert verbose.words is not None
    assert (len(verbose.segments), verbose.segments[1].end) == (2, 6.4)
    assert [word.word for word in verbose.words] == words.split()
    assert verbose.usage is not None
    assert verbose.usage.seconds == 7
    plain = client.audio.transcriptions.create(model=WHISPER, file=RECORDING)
    assert plain.text == verbose.text == words
    records = [gateway.entry(reply.headers["x-request-id"]) for reply in (text, srt)]
    assert [[(line.unit, line.quantity) for line in entry.lines] for entry in records] == [
        [("second_input", 7)],
        [("second_input", 7)],
    ]
    assert {entry.cost_nusd for entry in records} == {700_000}


def test_speakers_are_told_apart(client: openai.OpenAI):
    made = client.audio.transcriptions.create(
        model=DIARIZE, file=RECORDING, response_format="diarized_json", chunking_strategy="auto"
    )
    assert isinstance(made, TranscriptionDiarized)
    assert [one.speaker for one in made.segments] == ["A", "B"]
    events = list(
        client.audio.transcriptions.create(
            model=DIARIZE, file=RECORDING, response_format="diarized_json", stream=True
        )
    )
    segments = [event for event in events if isinstance(event, TranscriptionTextSegmentEvent)]
    assert [one.text for one in segments] == [one.text for one in made.segments]


def test_a_model_without_streams_is_streamed_all_the_same(client: openai.OpenAI, gateway: Gateway):
    """whisper-1 answers a stream with JSON: the client would read no event of that."""
    events = list(client.audio.transcriptions.create(model=WHISPER, file=RECORDING, stream=True))
    assert [event.type for event in events] == ["transcript.text.delta", "transcript.text.done"]
    assert cast("TranscriptionTextDoneEvent", events[1]).text == text_of(client, WHISPER)
    assert gateway.last_record().entries[0].lines[0].unit == "second_input"


@pytest.mark.filterwarnings("ignore:deprecated:DeprecationWarning")
def test_translations(client: openai.OpenAI, gateway: Gateway):
    raw = client.audio.translations.with_raw_response.create(
        model=WHISPER, file=RECORDING, response_format="verbose_json"
    )
    made: Any = raw.parse()
    assert isinstance(made, TranslationVerbose)
    assert made.language == "english"
    assert gateway.sim.requests[-1].path == "/p/openai/v1/audio/translations"
    told = client.audio.translations.with_raw_response.create(model=HEARERS["gemini"], file=RECORDING)
    assert told.parse().text
    assert b"Translate what is said in this recording into English." in gateway.sim.requests[-1].body


def test_the_form_goes_through_with_another_model(client: openai.OpenAI, gateway: Gateway):
    """Every byte but the model's part is the caller's."""
    client.audio.transcriptions.create(model=GPT, file=RECORDING, include=["logprobs"], language="en")
    body = gateway.sim.requests[-1].body
    assert b'name="model"\r\n\r\ngpt-4o-mini-transcribe\r\n' in body
    assert b"openai/gpt-4o-mini-transcribe" not in body
    assert b'name="include[]"\r\n\r\nlogprobs\r\n' in body
    assert RECORDING[1] in body


@pytest.mark.parametrize("form", ["srt", "vtt", "verbose_json", "diarized_json"])
def test_no_timestamps_are_invented(client: openai.OpenAI, gateway: Gateway, form: Any):
    with pytest.raises(openai.BadRequestError, match="no measured timestamps") as caught:
        client.audio.transcriptions.create(model=HEARERS["gemini"], file=RECORDING, response_format=form)
    assert caught.value.param == "response_format"  # pyright: ignore[reportUnknownMemberType]
    assert not gateway.sim.requests


def test_hints_become_instructions(client: openai.OpenAI, gateway: Gateway):
    raw = client.audio.transcriptions.with_raw_response.create(
        model=HEARERS["gemini"],
        file=RECORDING,
        language="de",
        prompt="Kornmühle",
        response_format="text",
        chunking_strategy="auto",
    )
    assert raw.headers["x-penstock-adjusted"].split(",") == [
        "language-as-instruction",
        "prompt-as-instruction",
        "chunking_strategy-dropped",
    ]
    assert raw.headers["content-type"] == "text/plain; charset=utf-8"
    assert raw.text.strip()


def test_a_file_over_openais_bound_is_refused_before_the_call(client: openai.OpenAI, gateway: Gateway):
    """Who else can take it may."""
    large = ("talk.wav", wav(600), "audio/wav")
    assert len(large[1]) > 25 * 1024 * 1024
    with pytest.raises(openai.BadRequestError, match="25 MB") as caught:
        client.audio.transcriptions.create(model=WHISPER, file=large)
    assert caught.value.param == "file"  # pyright: ignore[reportUnknownMemberType]
    assert not gateway.sim.requests
    raw = client.audio.transcriptions.with_raw_response.create(model="openai/gpt-4o-transcribe", file=large)
    assert raw.headers["x-penstock-provider"] == "gemini"


BAD_FORMS: list[tuple[dict[str, Any], str]] = [
    ({"temperature": 2}, "temperature"),
    ({"response_format": "docx"}, "response_format"),
    ({"timestamp_granularities": ["word"]}, "timestamp_granularities"),
    ({"stream": True, "response_format": "srt"}, "response_format"),
    ({"file": ("talk.wav", b"")}, "file"),
]


@pytest.mark.parametrize(("fields", "param"), BAD_FORMS)
def test_wrong_forms_name_the_field(
    client: openai.OpenAI, gateway: Gateway, fields: dict[str, Any], param: str
):
    create: Any = client.audio.transcriptions.create
    with pytest.raises(openai.BadRequestError) as caught:
        create(**{"model": WHISPER, "file": RECORDING, **fields})
    assert caught.value.param == param  # pyright: ignore[reportUnknownMemberType]
    assert not gateway.sim.requests


def test_a_body_that_is_no_form(gateway: Gateway):
    reply = httpx.post(
        f"{gateway.url}/v1/audio/transcriptions", json={}, headers={"authorization": f"Bearer {KEY}"}
    )
    assert (reply.status_code, reply.json()["error"]["param"]) == (400, "file")


def test_another_provider_answers(client: openai.OpenAI, gateway: Gateway):
    """Of the same dialect and of another: what the first could not do the second does."""
    gateway.sim.set_faults([{"kind": "status", "status": 503, "when": {"providers": ["backup"]}}])
    raw = client.audio.transcriptions.with_raw_response.create(
        model="backup/whisper-1", file=RECORDING, response_format="srt"
    )
    assert (raw.headers["x-penstock-provider"], raw.headers["x-penstock-attempts"]) == ("openai", "2")
    gateway.sim.set_faults([{"kind": "status", "status": 503, "when": {"providers": ["openai"]}}])
    raw = client.audio.transcriptions.with_raw_response.create(
        model="openai/gpt-4o-transcribe", file=RECORDING
    )
    assert raw.headers["x-penstock-provider"] == "gemini"
    assert raw.parse().text


def test_errors_of_a_provider(client: openai.OpenAI, gateway: Gateway):
    with pytest.raises(openai.BadRequestError, match="corrupted"):
        client.audio.transcriptions.create(model=WHISPER, file=("talk.wav", b"not a sound at all"))
    gateway.sim.set_faults([{"kind": "status", "status": 429}])
    with pytest.raises(openai.RateLimitError):
        client.audio.transcriptions.create(model=WHISPER, file=RECORDING)


def test_a_stream_that_is_cut_raises(client: openai.OpenAI, gateway: Gateway):
    gateway.sim.set_faults([{"kind": "close_mid_stream", "after": 3}])
    seen: list[str] = []
    with pytest.raises(openai.APIError):
        seen.extend(
            event.type for event in client.audio.transcriptions.create(model=GPT, file=RECORDING, stream=True)
        )
    assert "transcript.text.done" not in seen
    assert seen


# -- speech


@pytest.mark.parametrize("form", ["mp3", "opus", "aac", "flac", "wav", "pcm"])
def test_words_are_spoken(client: openai.OpenAI, gateway: Gateway, form: Any):
    """The provider's bytes as they came, with their type; characters are what is charged."""
    raw = client.audio.speech.with_raw_response.create(
        model="openai/tts-1", input=WORDS, voice="alloy", response_format=form
    )
    assert raw.content == sound(form, len(WORDS) / 15)
    assert raw.headers["content-type"] == {"mp3": "audio/mpeg"}.get(form, f"audio/{form}")
    entry = gateway.entry(raw.headers["x-request-id"])
    assert [(line.unit, line.quantity) for line in entry.lines] == [("character_input", len(WORDS))]
    assert entry.cost_nusd == len(WORDS) * 15_000


def test_sound_comes_as_it_is_made(client: openai.OpenAI, gateway: Gateway):
    """The first piece is here while the provider still pauses."""
    gateway.sim.set_faults([{"kind": "stall", "after": 2, "ms": 50}])
    with client.audio.speech.with_streaming_response.create(
        model="openai/gpt-4o-mini-tts", input=WORDS, voice="alloy", response_format="pcm"
    ) as reply:
        pieces = list(reply.iter_bytes())
    assert b"".join(pieces) == pcm(len(WORDS) / 15)
    assert len(pieces) > 1
    [entry] = gateway.last_record().entries
    assert [(line.unit, line.quantity) for line in entry.lines] == [("second", 4)]
    assert entry.cost_nusd == 4 * 250_000


def test_speech_in_events(gateway: Gateway):
    body = {"model": "openai/gpt-4o-mini-tts", "input": WORDS, "voice": "alloy", "stream_format": "sse"}
    reply = httpx.post(
        f"{gateway.url}/v1/audio/speech", json=body, headers={"authorization": f"Bearer {KEY}"}
    )
    assert reply.headers["content-type"].startswith("text/event-stream")
    events = [json.loads(line[6:]) for line in reply.text.splitlines() if line.startswith("data: ")]
    data = b"".join(base64.b64decode(event["audio"]) for event in events[:-1])
    assert data == sound("mp3", len(WORDS) / 15)
    assert events[-1]["type"] == "speech.audio.done"
    [entry] = gateway.last_record().entries
    assert entry.input + entry.output_audio == events[-1]["usage"]["total_tokens"]


@pytest.mark.parametrize("door", SPEAKERS)
def test_gemini_speaks(client: openai.OpenAI, gateway: Gateway, door: str):
    """PCM as it is, and WAV around it."""
    raw = client.audio.speech.with_raw_response.create(
        model=SPEAKERS[door],
        input=WORDS,
        voice="alloy",
        response_format="wav",
        speed=1.5,
        instructions="Say calmly",
    )
    assert raw.headers["x-penstock-adjusted"].split(",") == [
        "instructions-in-text",
        "voice-approximated",
        "speed-dropped",
    ]
    with wave.open(io.BytesIO(raw.content)) as file:
        assert (file.getframerate(), file.getnchannels(), file.getsampwidth()) == (24_000, 1, 2)
    samples = client.audio.speech.create(
        model=SPEAKERS[door], input=f"Say calmly: {WORDS}", voice="Kore", response_format="pcm"
    ).content
    assert raw.content[44:] == samples == pcm(len(f"Say calmly: {WORDS}") / 15)
    [entry] = gateway.last_record().entries
    assert entry.output_audio > 0
    assert entry.cost_nusd


def test_gemini_encodes_no_mp3(client: openai.OpenAI, gateway: Gateway):
    with pytest.raises(openai.BadRequestError, match="wav or pcm") as caught:
        client.audio.speech.create(model=SPEAKERS["gemini"], input=WORDS, voice="Kore")
    assert caught.value.param == "response_format"  # pyright: ignore[reportUnknownMemberType]
    assert not gateway.sim.requests


def test_another_provider_speaks(client: openai.OpenAI, gateway: Gateway):
    gateway.sim.set_faults([{"kind": "status", "status": 500, "when": {"providers": ["openai"]}}])
    raw = client.audio.speech.with_raw_response.create(
        model="openai/tts-1", input=WORDS, voice="Kore", response_format="wav"
    )
    assert raw.headers["x-penstock-provider"] == "gemini"
    assert raw.content[:4] == b"RIFF"


BAD_BODIES: list[tuple[dict[str, Any], str]] = [
    ({"input": "a" * 4097}, "input"),
    ({"input": ""}, "input"),
    ({"speed": 4.5}, "speed"),
    ({"speed": 0.2}, "speed"),
    ({"response_format": "midi"}, "response_format"),
    ({"voice": ""}, "voice"),
]


@pytest.mark.parametrize(("fields", "param"), BAD_BODIES)
def test_wrong_bodies_name_the_field(
    client: openai.OpenAI, gateway: Gateway, fields: dict[str, Any], param: str
):
    create: Any = client.audio.speech.create
    with pytest.raises(openai.BadRequestError) as caught:
        create(**{"model": "openai/tts-1", "input": WORDS, "voice": "alloy", **fields})
    assert caught.value.param == param  # pyright: ignore[reportUnknownMemberType]
    assert not gateway.sim.requests


def test_sound_that_is_cut_is_never_ended_properly(client: openai.OpenAI, gateway: Gateway):
    """Nothing in a sound says that it is whole: the connection is cut, and the client raises."""
    gateway.sim.set_faults([{"kind": "close_mid_stream", "after": 4}])
    with (
        pytest.raises(httpx2.RemoteProtocolError),
        client.audio.speech.with_streaming_response.create(
            model="openai/tts-1", input=WORDS, voice="alloy", response_format="pcm"
        ) as reply,
    ):
        list(reply.iter_bytes())
    assert gateway.last_record().entries[-1].klass != "delivered"


def test_a_caller_hangs_up(client: openai.OpenAI, gateway: Gateway):
    """What was asked for is what is charged: all its characters may have been spoken."""
    gateway.sim.set_faults([{"kind": "stall", "after": 3, "ms": 60000}])
    with client.audio.speech.with_streaming_response.create(
        model="openai/tts-1", input=WORDS, voice="alloy", response_format="pcm"
    ) as reply:
        assert next(reply.iter_bytes())
    record = gateway.last_record()
    assert record.entries[0].klass != "delivered"
    assert [(line.unit, line.quantity) for line in record.entries[0].lines] == [
        ("character_input", len(WORDS))
    ]


def test_a_budget_holds_what_a_call_will_cost(gateway: Gateway):
    """Seven seconds and 58 characters are known before: who cannot pay them is refused before the call."""
    with openai.OpenAI(
        base_url=f"{gateway.url}/v1", api_key="vk-other-000000000007", max_retries=0
    ) as client:
        with pytest.raises(openai.APIStatusError) as caught:
            client.audio.speech.create(model="openai/tts-1", input=WORDS, voice="alloy")
        assert caught.value.status_code == 402
        assert not gateway.sim.requests
        assert text_of(client, WHISPER)
        with pytest.raises(openai.APIStatusError) as caught:
            text_of(client, WHISPER)
        assert caught.value.status_code == 402
    assert len(gateway.sim.requests) == 1


def test_a_job_whose_sound_broke_off_has_failed():
    """It is kept, not sent: there is no connection to cut."""
    gathered = Gathered()
    gathered.start(200, b"content-type: audio/pcm\r\n", b"half a sound")
    end_failed(gathered, b"")
    assert (gathered.status, gathered.ended) == (502, True)
    assert b"broke off" in gathered.body


def test_what_is_heard_is_what_the_recording_says():
    """The lengths that are charged where no provider says one."""
    for form in ("wav", "flac", "opus", "mp3"):
        heard = listen(sound(form, 6.4))
        assert heard is not None
        assert heard.seconds == pytest.approx(6.4, abs=0.03)
