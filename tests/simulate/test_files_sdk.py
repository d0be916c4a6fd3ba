"""The simulated files of OpenAI, Anthropic and Gemini satisfy the official clients, pointed straight at them."""

import base64
from collections.abc import Iterator
from io import BytesIO

import anthropic
import openai
import pytest
from google import genai
from google.genai import errors, types

from penstock.simulate import Scenario, Simulator, running_simulator

PDF = b"%PDF-1.4\n" + b"penstock" * 100_000 + b"\n%%EOF\n"
MODEL = "gemini-2.5-flash"


@pytest.fixture(scope="module")
def sim() -> Iterator[Simulator]:
    with running_simulator() as made:
        yield made


def test_openai(sim: Simulator):
    """Uploaded, looked at, listed, named in chat and in Responses, deleted; then it is gone."""
    with openai.OpenAI(api_key="any", base_url=f"{sim.url}/v1", max_retries=0) as client:
        expires = {"anchor": "created_at", "seconds": 3600}
        made = client.files.create(
            file=("a.pdf", PDF, "application/pdf"), purpose="user_data", expires_after=expires
        )
        assert (made.bytes, made.filename, made.purpose) == (len(PDF), "a.pdf", "user_data")
        assert made.expires_at == made.created_at + 3600
        assert client.files.retrieve(made.id) == made
        assert made.id in [one.id for one in client.files.list()]

        def asked() -> tuple[str | None, str]:
            part = {"type": "file", "file": {"file_id": made.id}}
            messages = [{"role": "user", "content": [part, {"type": "text", "text": "ECHO read"}]}]
            chat = client.chat.completions.create(model="gpt-4o-mini", messages=messages)
            content = [
                {"type": "input_file", "file_id": made.id},
                {"type": "input_text", "text": "ECHO read"},
            ]
            item = {"role": "user", "content": content}
            response = client.responses.create(model="gpt-4o-mini", input=[item])
            return chat.choices[0].message.content, response.output_text

        assert [text and text.strip() for text in asked()] == ["read", "read"]
        assert client.files.delete(made.id).deleted
        with pytest.raises(openai.NotFoundError, match="No such File object"):
            asked()
        with pytest.raises(openai.BadRequestError, match="expires_after"):
            client.files.create(
                file=("a.pdf", PDF),
                purpose="user_data",
                expires_after={"anchor": "created_at", "seconds": 60},
            )


@pytest.mark.parametrize("beta", [False, True], ids=["plain", "beta"])
def test_anthropic(sim: Simulator, beta: bool):
    """The same, by either of the client's doors; pages of the list; what its account does not see."""
    with anthropic.Anthropic(api_key=f"any-{beta}", base_url=sim.url, max_retries=0) as client:
        files = client.beta.files if beta else client.files
        made = files.upload(file=("a.pdf", PDF, "application/pdf"), expires_in_seconds=3600)
        assert (made.size_bytes, made.filename, made.mime_type) == (len(PDF), "a.pdf", "application/pdf")
        assert made.expires_at is not None
        assert (made.expires_at - made.created_at).total_seconds() == 3600
        other = files.upload(file=("b.pdf", b"%PDF-1.4", "application/pdf"))
        assert other.expires_at is None
        assert [one.id for one in files.list(limit=1)] == [other.id, made.id]
        assert files.retrieve_metadata(made.id) == made

        def asked() -> str:
            document = {"type": "document", "source": {"type": "file", "file_id": made.id}}
            content = [document, {"type": "text", "text": "ECHO read"}]
            reply = client.messages.create(
                model="claude-haiku-4-5", max_tokens=50, messages=[{"role": "user", "content": content}]
            )
            return "".join(block.text for block in reply.content if block.type == "text")

        assert asked().strip() == "read"
        with (
            anthropic.Anthropic(api_key="other", base_url=sim.url, max_retries=0) as stranger,
            pytest.raises(anthropic.NotFoundError),
        ):
            stranger.files.retrieve_metadata(made.id)
        assert files.delete(made.id).id == made.id
        with pytest.raises(anthropic.NotFoundError, match="File not found"):
            asked()
        with pytest.raises(anthropic.BadRequestError, match="expires_in_seconds"):
            files.upload(file=("a.pdf", PDF), expires_in_seconds=5)


def test_anthropic_takes_32_mb(sim: Simulator):
    """Inline, a larger document is refused."""
    with anthropic.Anthropic(api_key="any", base_url=sim.url, max_retries=0) as client:
        source = {
            "type": "base64",
            "media_type": "application/pdf",
            "data": base64.b64encode(b"%PDF-1.4" + bytes(26_000_000)).decode(),
        }
        content = [{"type": "document", "source": source}]
        with pytest.raises(anthropic.APIStatusError) as refused:
            client.messages.create(
                model="claude-haiku-4-5", max_tokens=50, messages=[{"role": "user", "content": content}]
            )
        assert refused.value.status_code == 413


def test_gemini():
    """Uploaded in pieces, waited for, named, and gone for another key and after its deletion."""
    with running_simulator(Scenario(file_looks=2)) as sim, client_of(sim, "any") as client:
        config = types.UploadFileConfig(mime_type="application/pdf", name="my-report", display_name="a.pdf")
        made = client.files.upload(file=BytesIO(PDF), config=config)
        assert (made.name, made.size_bytes, made.state) == (
            "files/my-report",
            len(PDF),
            types.FileState.PROCESSING,
        )
        assert made.name is not None
        assert made.uri is not None
        with pytest.raises(errors.ClientError, match="ACTIVE"):
            read(client, made)
        states = [client.files.get(name=made.name).state for _ in range(3)]
        assert states == [types.FileState.PROCESSING, types.FileState.PROCESSING, types.FileState.ACTIVE]
        assert (read(client, made) or "").strip() == "read"
        with client_of(sim, "other") as stranger, pytest.raises(errors.ClientError, match="permission"):
            read(stranger, made)
        client.files.delete(name=made.name)
        with pytest.raises(errors.ClientError, match="permission"):
            read(client, made)


def client_of(sim: Simulator, key: str) -> genai.Client:
    return genai.Client(api_key=key, http_options=types.HttpOptions(base_url=sim.url))


def read(client: genai.Client, file: types.File) -> str | None:
    return client.models.generate_content(model=MODEL, contents=[file, "ECHO read"]).text
