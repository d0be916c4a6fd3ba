"""The official ``openai`` client, pointed straight at the simulator's audio, and ``google-genai`` at its speech."""

from collections.abc import Iterator
from typing import Any

import openai
import pytest
from google import genai
from google.genai import types

from penstock.simulate import Simulator, running_simulator
from penstock.simulate.sound import pcm, sound, wav
from penstock.wire.sounds import listen

RECORDING = ("talk.wav", wav(5.0), "audio/wav")


@pytest.fixture(scope="module")
def sim() -> Iterator[Simulator]:
    with running_simulator() as sim:
        yield sim


@pytest.fixture
def client(sim: Simulator) -> Iterator[openai.OpenAI]:
    sim.clear()
    with openai.OpenAI(base_url=f"{sim.url}/v1", api_key="k", max_retries=0) as made:
        yield made


def test_all_formats(client: openai.OpenAI):
    create: Any = client.audio.transcriptions.create
    verbose = create(model="whisper-1", file=RECORDING, response_format="verbose_json")
    assert (verbose.duration, len(verbose.segments), verbose.usage.seconds) == (5.0, 2, 5)
    assert create(model="whisper-1", file=RECORDING, response_format="text").strip() == verbose.text
    assert "-->" in create(model="whisper-1", file=RECORDING, response_format="srt")
    assert create(model="whisper-1", file=RECORDING, response_format="vtt").startswith("WEBVTT")
    diarized = create(model="gpt-4o-transcribe-diarize", file=RECORDING, response_format="diarized_json")
    assert [one.speaker for one in diarized.segments] == ["A", "B"]
    with pytest.raises(openai.BadRequestError, match="not compatible"):
        create(model="gpt-4o-transcribe", file=RECORDING, response_format="srt")


def test_a_stream(client: openai.OpenAI):
    events = list(client.audio.transcriptions.create(model="gpt-transcribe", file=RECORDING, stream=True))
    assert {event.type for event in events} == {"transcript.text.delta", "transcript.text.done"}
    done: Any = events[-1]
    assert done.usage.total_tokens == done.usage.input_tokens + done.usage.output_tokens


@pytest.mark.filterwarnings("ignore:deprecated:DeprecationWarning")
def test_translations(client: openai.OpenAI):
    create: Any = client.audio.translations.create  # pyright: ignore[reportDeprecated]
    made: Any = create(model="whisper-1", file=RECORDING, response_format="verbose_json")
    assert (made.language, made.duration) == ("english", 5.0)


@pytest.mark.parametrize("form", ["mp3", "opus", "aac", "flac", "wav", "pcm"])
def test_speech(client: openai.OpenAI, form: Any):
    made = client.audio.speech.create(model="tts-1", input="a" * 60, voice="alloy", response_format=form)
    assert made.content == sound(form, 4.0)
    heard = listen(made.content)
    assert form == "pcm" or (heard is not None and heard.format in (form, "ogg"))


def test_refusals(client: openai.OpenAI):
    with pytest.raises(openai.BadRequestError, match="voice"):
        client.audio.speech.create(model="tts-1", input="a", voice="nobody")
    with pytest.raises(openai.BadRequestError, match="sse"):
        client.audio.speech.create(model="tts-1", input="a", voice="alloy", stream_format="sse")
    with pytest.raises(openai.BadRequestError, match="corrupted"):
        client.audio.transcriptions.create(model="whisper-1", file=("talk.wav", b"nothing"))


def test_gemini_speaks(sim: Simulator):
    """Whole and streamed; and only speech models do."""
    client = genai.Client(api_key="k", http_options=types.HttpOptions(base_url=sim.url))
    voice = types.VoiceConfig(prebuilt_voice_config=types.PrebuiltVoiceConfig(voice_name="Kore"))
    config = types.GenerateContentConfig(
        response_modalities=["AUDIO"], speech_config=types.SpeechConfig(voice_config=voice)
    )
    asked: Any = {"model": "gemini-3.8-flash-tts", "contents": "a" * 45, "config": config}
    with pytest.raises(genai.errors.ClientError, match="modalities"):
        client.models.generate_content(model="gemini-2.5-flash", contents="a", config=config)
    whole = client.models.generate_content(**asked)
    pieces = list(client.models.generate_content_stream(**asked))
    parts = [part for piece in (whole, *pieces) for part in (piece.parts or ())]
    data = b"".join(part.inline_data.data or b"" for part in parts if part.inline_data is not None)
    assert data == pcm(3.0) * 2
    assert len(pieces) > 2
    usage = whole.usage_metadata
    assert usage is not None
    assert usage.total_token_count == (usage.prompt_token_count or 0) + (usage.candidates_token_count or 0)
    client.close()
