"""Webhooks of the configuration: what is wrong with an address or a secret. No message repeats either."""

import base64
from collections.abc import Iterator, Mapping

from penstock.base.endpoint import parse_hook_url
from penstock.config.fault import Fault
from penstock.config.schema import Config
from penstock.config.secrets import Secret, is_reference

MIN_SECRET_BYTES = 16
_WHSEC = "whsec_"
_ENCODED_CHARS = 32
_MAKE = 'Make one with: echo "whsec_$(openssl rand -base64 32)"'


def signing_key(secret: str) -> bytes:
    """A secret as it is written: ``whsec_`` and the Base64 of the key, which is what libraries for Standard Webhooks take; or
    any other text, whose own bytes are the key. ValueError if it cannot be used.
    """
    try:
        plain = not secret.startswith(_WHSEC)
        key = secret.encode() if plain else base64.b64decode(secret.removeprefix(_WHSEC), validate=True)
    except ValueError:
        raise ValueError("What follows whsec_ is not Base64.") from None
    if len(key) < MIN_SECRET_BYTES:
        raise ValueError(f"The secret is shorter than {MIN_SECRET_BYTES} bytes, and could be guessed.")
    return key


def webhook_faults(config: Config, secrets: Mapping[str, Secret]) -> Iterator[Fault]:
    """Of all addresses, and of the secrets that were found."""
    for i, hook in enumerate(config.alerts.webhooks):
        path = f"$.alerts.webhooks[{i}]"
        written = secrets.get(hook.url)
        if written is not None or not is_reference(hook.url):
            try:
                parse_hook_url(hook.url if written is None else written.reveal())
            except ValueError as error:
                yield Fault(f"{path}.url", str(error), "Write https://host/path?query.")
        secret = secrets.get(hook.secret)
        if secret is not None:
            try:
                signing_key(secret.reveal())
            except ValueError as error:
                yield Fault(f"{path}.secret", str(error), _MAKE)

    jobs = config.jobs
    if jobs.webhook_hosts and jobs.webhook_secret is None:
        yield Fault(
            "$.jobs.webhook_secret", "Completions cannot be signed.", f"Write env.NAME or file:PATH. {_MAKE}"
        )
    for i, host in enumerate(jobs.webhook_hosts):
        try:
            parse_hook_url(f"https://{host}/")
        except ValueError as error:
            yield Fault(f"$.jobs.webhook_hosts[{i}]", str(error), "Write host or host:port.")
    secret = secrets.get(jobs.webhook_secret or "")
    if secret is not None:
        try:
            signing_key(secret.reveal())
        except ValueError as error:
            yield Fault("$.jobs.webhook_secret", str(error), _MAKE)


def webhook_notices(config: Config, secrets: Mapping[str, Secret]) -> Iterator[Fault]:
    """Of secrets that a receiver's library would read otherwise than we do."""
    for i, hook in enumerate(config.alerts.webhooks):
        secret = secrets.get(hook.secret)
        if secret is not None and _looks_encoded(secret.reveal()):
            yield Fault(
                f"$.alerts.webhooks[{i}].secret",
                "The secret looks like Base64 and is used as the text that it is; libraries for Standard Webhooks decode it, "
                "and would take no message.",
                "Write whsec_ in front of it, here and at the receiver.",
            )


def _looks_encoded(secret: str) -> bool:
    """So many bytes in Base64 as such secrets have (24 to 64), padded as that must be: words rarely are."""
    try:
        return len(secret) >= _ENCODED_CHARS and 24 <= len(base64.b64decode(secret, validate=True)) <= 64
    except ValueError:
        return False
