"""OpenAI's chat completions: spoken by callers, to providers, and passed through between the two."""

from penstock.base.chat import Ask
from penstock.base.models import Target
from penstock.dialects.openai_chat.envelope import read_envelope
from penstock.dialects.openai_chat.forward import splice_request
from penstock.dialects.openai_chat.relay import StreamRelay, WholeRelay
from penstock.wire.http import WireRequest
from penstock.wire.ports import Relay


class OpenAIChat:
    """All three roles of the dialect."""

    name = "openai"
    family = "openai"
    default_base_url = "https://api.openai.com/v1"

    def read_request(self, body: bytes) -> Ask:
        """The envelope. Raises BadRequest naming the field, or the position of what is not JSON."""
        return read_envelope(body, self.name)

    def splice_request(self, ask: Ask, target: Target, credential: str) -> WireRequest:
        """The caller's bytes with the few edits that are ours."""
        return splice_request(ask, target, credential)

    def relay(self, ask: Ask, *, stream: bool) -> Relay:
        """Forwards the provider's bytes and reads usage beside them."""
        return StreamRelay(ask) if stream else WholeRelay()


OPENAI = OpenAIChat()
