"""``require_parameters``: a target that would not get all that the caller sent is refused, before anything is sent.

What is lost is what the target's own dialect says when it writes the request (``WireRequest.adjusted``): there is no
second list of what each of them drops.
"""

from collections.abc import Callable

from penstock.base.chat import Ask, ChatRequest
from penstock.base.decisions import Rejected
from penstock.base.models import Target
from penstock.gateway.house import House
from penstock.gateway.remote import Translator
from penstock.wire.ports import CallerDialect, PassThroughDialect


def losses_of(house: House, caller: CallerDialect, ask: Ask) -> Callable[[Target], Rejected | None]:
    """Why ``require_parameters`` refuses a target, or None."""
    translator = Translator(caller, ask)

    def losses(target: Target) -> Rejected | None:
        provider = house.providers[target.provider]
        dialect = provider.spoken[ask.operation]
        if target.dialect == caller.family and house.against_pass_through(target, ask.operation) is None:
            passing: PassThroughDialect = dialect  # type: ignore[assignment] - it passes
            adjusted = passing.splice_request(ask, target, "").adjusted
        else:
            no = translator.refuse(provider, target)
            if no is not None and not (house.config.media.fetch and no.code.endswith("-url")):
                return no  # an address that the provider does not take is fetched (gateway.media)
            neutral = translator.request(provider, target)
            adjusted = dialect.write_request(neutral, target, "").adjusted
            if isinstance(neutral, ChatRequest):
                adjusted = (*neutral.adjusted, *adjusted)
        if not adjusted:
            return None
        return Rejected(
            "parameters-lost",
            f"{target.name} would not get all that was sent ({', '.join(adjusted)}); "
            "provider.require_parameters asks for it.",
            param="provider",
            caller_fault=True,
        )

    return losses
