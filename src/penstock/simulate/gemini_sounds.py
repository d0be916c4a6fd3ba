"""Gemini's speech models in the simulator: who asks for responseModalities AUDIO gets samples, at what they cost there."""

import base64
from math import ceil
from typing import Any

from msgspec.structs import replace

from penstock.simulate.content import Answer
from penstock.simulate.reply import Refused
from penstock.simulate.sound import pcm
from penstock.simulate.untyped import as_list, as_object, as_text

TOKENS_PER_S = 25
"""Of sound that is made (ai.google.dev, "Token counting", read 2026-11)."""
_PIECE_BYTES = 9600
_CHARACTERS_PER_S = 15


def check(config: dict[str, Any], model: str) -> None:
    """Speech models speak, and no others do."""
    speaks, wanted = "tts" in model, "AUDIO" in as_list(config.get("responseModalities"))
    if speaks != wanted:
        raise Refused(
            400,
            f"Model {model} does not support the requested response modalities: "
            + ("TEXT" if speaks else "AUDIO"),
        )
    speech = as_object(config.get("speechConfig"))  # google-genai 3.4 writes what is inside in snake case
    voice = as_object(speech.get("voiceConfig", speech.get("voice_config")))
    preset = as_object(voice.get("prebuiltVoiceConfig", voice.get("prebuilt_voice_config")))
    named = as_text(preset.get("voiceName", preset.get("voice_name")))
    if wanted and not named[:1].isupper():
        raise Refused(400, f"Voice name {named} is not supported.")


def spoken(answer: Answer, prompt: str, config: dict[str, Any]) -> tuple[Answer, list[dict[str, Any]]]:
    """The parts with the prompt's sound, instead of words."""
    if "AUDIO" not in as_list(config.get("responseModalities")) or answer.stop != "stop":
        return answer, []
    seconds = len(prompt) / _CHARACTERS_PER_S
    data = pcm(seconds)
    parts = [
        {
            "inlineData": {
                "mimeType": "audio/L16;codec=pcm;rate=24000",
                "data": base64.b64encode(data[at : at + _PIECE_BYTES]).decode(),
            }
        }
        for at in range(0, len(data), _PIECE_BYTES)
    ]
    answer.text = []
    answer.usage = replace(answer.usage, output=0, output_audio=ceil(seconds * TOKENS_PER_S))
    return answer, parts
