"""Bedrock in the configuration: regions, identities, and what is said of each mistake."""

from datetime import date
from pathlib import Path

import pytest

from penstock.config.catalogue import Catalogue
from penstock.config.load import Loaded, load_text
from penstock.config.schema_aws import AwsConfig, region_of

ENV = {
    "ID": "AKIAIOSFODNN7EXAMPLE",
    "SECRET": "secret-value-000",
    "TOKEN": "token-value-000",
    "KEY": "ABSKkey",
}
CATALOGUE = Catalogue.load()
IDENTITY = "aws: {access_key_id: env.ID, secret_access_key: env.SECRET"


def load(provider: str) -> Loaded:
    return load_text(f"providers: {{{provider}}}", Path(), ENV, CATALOGUE, date(2026, 11, 21).isoformat())


@pytest.mark.parametrize(
    "provider",
    [
        "bedrock: {location: us-east-1, keys: [{value: env.KEY}]}",
        f"bedrock: {{{IDENTITY}, region: eu-central-1}}}}",
        f"bedrock: {{location: us-gov-west-1, {IDENTITY}, session_token: env.TOKEN}}}}",
        "own: {dialect: bedrock, location: ap-south-1, keys: [{value: env.KEY}]}",
        "bedrock: {keys: [{value: env.KEY}], network: {base_url: 'https://bedrock-runtime-fips.us-east-2.amazonaws.com'}}",
        "cohere: {keys: [{value: env.KEY}]}",
    ],
)
def test_what_can_be_written(provider: str) -> None:
    """Without a fault and without a warning."""
    loaded = load(provider)
    assert (loaded.faults, loaded.warnings) == ([], [])


@pytest.mark.parametrize(
    ("provider", "path"),
    [
        ("bedrock: {keys: [{value: env.KEY}]}", "$.providers.bedrock.location"),
        ("bedrock: {keys: [{value: env.KEY}], location: Frankfurt}", "$.providers.bedrock.location"),
        (f"bedrock: {{{IDENTITY}, region: nowhere}}}}", "$.providers.bedrock.aws.region"),
        (f"bedrock: {{location: us-east-1, {IDENTITY}, region: us-east-2}}}}", "$.providers.bedrock.aws.region"),
        (f"openai: {{keys: [{{value: env.KEY}}], {IDENTITY}}}}}", "$.providers.openai.aws"),
        ("bedrock: {location: us-east-1, aws: {access_key_id: AKIA1, secret_access_key: env.SECRET}}",
         "$.providers.bedrock.aws.access_key_id"),
        ("bedrock: {location: us-east-1, aws: {access_key_id: env.ID, secret_access_key: env.NONE}}",
         "$.providers.bedrock.aws.secret_access_key"),
        ("bedrock: {location: us-east-1, aws: {access_key_id: env.ID}}", "$.providers.bedrock.aws.secret_access_key"),
    ],
)  # fmt: skip
def test_mistakes_are_named_with_a_remedy(provider: str, path: str) -> None:
    """One fault each, at its place."""
    (fault,) = load(provider).faults
    assert fault.path == path
    assert fault.remedy


def test_the_region_of_a_provider() -> None:
    """As told, else as the address tells."""
    aws = AwsConfig(access_key_id="env.A", secret_access_key="env.B", region="eu-west-1")
    assert region_of(aws, None, None) == "eu-west-1"
    assert region_of(None, "eu-west-2", "https://bedrock-runtime.us-east-1.amazonaws.com") == "eu-west-2"
    assert region_of(None, None, "https://vpce-1.bedrock-runtime.us-west-2.vpce.amazonaws.com") == "us-west-2"
    assert region_of(None, None, "http://127.0.0.1:1/p/bedrock") is None
