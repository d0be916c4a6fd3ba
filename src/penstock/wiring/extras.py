"""Optional libraries that a configuration needs and this installation lacks: told before anything is built.

``penstock check`` asks here what ``build`` would refuse. The libraries are looked for, not loaded.
"""

from collections.abc import Callable, Iterator
from importlib.util import find_spec

from penstock.config.catalogue import Catalogue
from penstock.config.fault import Fault
from penstock.config.load import Loaded
from penstock.config.schema import ProviderConfig
from penstock.dialects.bedrock import is_key_pair

Found = Callable[[str], bool]


def installed(module: str) -> bool:
    """The module can be imported."""
    return find_spec(module) is not None


def missing_extras(loaded: Loaded, catalogue: Catalogue, found: Found = installed) -> list[Fault]:
    """One fault for each library that a provider needs and that is not there. Nothing for a faulty configuration."""
    providers = {} if loaded.config is None else loaded.config.providers
    return [
        fault
        for name, settings in providers.items()
        for fault in _of(name, settings, loaded, catalogue, found)
    ]


def _of(
    name: str, settings: ProviderConfig, loaded: Loaded, catalogue: Catalogue, found: Found
) -> Iterator[Fault]:
    path = f"$.providers.{name}"
    facts = catalogue.provider(name)
    dialect = settings.dialect or (facts.dialect if facts is not None else None)
    signed = _signed(path, settings, loaded) if dialect == "bedrock" else None
    if signed is not None and not found("botocore"):
        yield Fault(
            signed,
            "AWS access keys are signed with by botocore, which is not installed.",
            "Install penstock[bedrock], or use a Bedrock API key (AWS_BEARER_TOKEN_BEDROCK).",
        )
    if settings.tokenizer is not None and not found("tokenizers"):
        yield Fault(
            f"{path}.tokenizer",
            "The library tokenizers is not installed.",
            "Install penstock[tokenizers], or take the field out.",
        )


def _signed(path: str, settings: ProviderConfig, loaded: Loaded) -> str | None:
    """Where an identity stands that requests are signed with."""
    if settings.aws is not None:
        return f"{path}.aws"
    pairs = (is_key_pair(loaded.secrets[key.value].reveal()) for key in settings.keys)
    return next((f"{path}.keys[{i}].value" for i, pair in enumerate(pairs) if pair), None)
