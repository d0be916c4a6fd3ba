"""Knobs of Amazon Bedrock's credentials (a part of ``schema``), and what may be wrong with them."""

import re
from collections.abc import Iterator
from typing import Annotated

from msgspec import Meta, Struct

from penstock.config.fault import Fault

_REGION = re.compile(r"[a-z]{2,4}(?:-[a-z]+)+-\d{1,2}")
_HOST = re.compile(r"(?:^|[./])bedrock-runtime(?:-fips)?\.([a-z0-9-]+)\.")


class AwsConfig(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """An AWS identity that calls are signed with; needs penstock[bedrock]."""

    access_key_id: Annotated[str, Meta(description="env.NAME or file:PATH of the access key's id.")]
    secret_access_key: Annotated[str, Meta(description="env.NAME or file:PATH of its secret.")]
    session_token: Annotated[
        str | None, Meta(description="env.NAME or file:PATH, for temporary credentials.")
    ] = None
    region: Annotated[str | None, Meta(description="Such as us-east-1; the same as location.")] = None

    def secrets(self, path: str) -> list[tuple[str, str]]:
        """Its secret references, with their places."""
        found = [
            (f"{path}.access_key_id", self.access_key_id),
            (f"{path}.secret_access_key", self.secret_access_key),
        ]
        return found + ([(f"{path}.session_token", self.session_token)] if self.session_token else [])


def region_of(aws: AwsConfig | None, location: str | None, base_url: str | None) -> str | None:
    """The region that calls go to and are signed for: as configured, else as the address says."""
    told = (aws.region if aws is not None else None) or location
    if told or base_url is None:
        return told
    found = _HOST.search(base_url)
    return found[1] if found else None


def aws_faults(
    path: str, aws: AwsConfig | None, location: str | None, base_url: str | None, *, bedrock: bool
) -> Iterator[Fault]:
    """What is wrong with a provider's AWS settings."""
    if not bedrock:
        if aws is not None:
            yield Fault(f"{path}.aws", "Only Bedrock uses this.", "Take it out, or set dialect: bedrock.")
        return
    region = region_of(aws, location, base_url)
    if region is None:
        yield Fault(f"{path}.location", "Bedrock needs a region.", "Add location: us-east-1")
    elif not _REGION.fullmatch(region):
        where = "aws.region" if aws is not None and aws.region else "location"
        yield Fault(f"{path}.{where}", f"{region!r} is no AWS region.", "Write one such as us-east-1.")
    if aws is not None and aws.region and location and aws.region != location:
        yield Fault(f"{path}.aws.region", "location names another region.", "Write one of the two.")
