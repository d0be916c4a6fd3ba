"""What a model's name tells: OpenAI's own picture models take OpenAI's fields, and answer 400 to any other."""

import re

_OWN = re.compile(r"(?:.*/)?(?:chatgpt-image|gpt-image|dall-e)", re.IGNORECASE)


def is_own(model: str) -> bool:
    """One of OpenAI's, whoever serves it."""
    return _OWN.match(model) is not None
