"""Words for tokens: a provider's configured tokenizer, for callers that embed arrays of tokens.

LangChain and others send OpenAI's tokens; a provider that reads words alone gets the words that they stand for. The file is the
user's own (nothing is fetched), and ``tokenizers`` an extra: ``pip install 'penstock[tokenizers]'``.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from penstock.base.errors import BadRequest, ConfigFault


def detokenizer(path: Path, where: str) -> Callable[[tuple[int, ...]], str]:
    """Tokens -> words. Raises ConfigFault where the library or the file is missing or unusable."""
    try:
        from tokenizers import Tokenizer  # noqa: PLC0415
    except ImportError as error:
        raise ConfigFault(
            "The library tokenizers is not installed: pip install 'penstock[tokenizers]'.", path=where
        ) from error
    try:
        tokenizer: Any = Tokenizer.from_file(str(path))
    except Exception as error:
        # The library raises bare Exceptions for a file that is missing or no tokenizer.
        raise ConfigFault(f"{path} is no tokenizer: {error}", path=where) from error

    def words(tokens: tuple[int, ...]) -> str:
        try:
            return str(tokenizer.decode(list(tokens), skip_special_tokens=False))
        except OverflowError as error:
            raise BadRequest("The field input holds a number that is no token.", param="input") from error

    return words
