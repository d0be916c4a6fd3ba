"""What one call wants of the cache: whose place it looks in, under which key, and what may be kept of its answer."""

from msgspec import Struct

from penstock.base.decisions import Rejected
from penstock.base.models import Target
from penstock.blobs.blob import Place
from penstock.blobs.since import Since
from penstock.cache.answer import KIND, Answer
from penstock.cache.controls import Controls
from penstock.cache.ports import Found
from penstock.gateway.planning import Planned
from penstock.gateway.principal import Principal
from penstock.wire.ports import NeutralRequest


class Vectored(Struct):
    """What the semantic tier made of a call's text: kept for the answer that will be put there."""

    partition: bytes
    klass: str
    text: str
    vector: bytes
    embedder: str
    template: tuple[str, str] = ("", "")
    """The class in which templates are learned, and the one that was stripped."""
    found: Found | None = None


class Wanted(Struct):
    """One call's look-up. ``exact_no`` and ``semantic_no``: why a tier has no part in it."""

    place: Place
    key: bytes
    controls: Controls
    neutral: NeutralRequest
    group: str
    since: Since
    """When the call began: what is dropped from then on it does not bring back."""
    owner: str
    """Whose keys are made for it (``owner_of``)."""
    exact_no: Rejected | None = None
    semantic_no: Rejected | None = None
    joins: bool = False
    """It may join an identical call in flight, and be joined."""
    reads: bool = True
    """False: a fresh answer is wanted (refresh)."""
    beside: bytes = b""
    """What of the body the neutral form does not hold (cache.unread)."""
    vectored: Vectored | None = None

    @property
    def exact(self) -> bool:
        """The exact tier has a part in it."""
        return self.exact_no is None

    @property
    def semantic(self) -> bool:
        """The semantic tier has a part in it."""
        return self.semantic_no is None


class Hit(Struct, frozen=True):
    """An answer that may be served. ``found`` is set where it was found by meaning."""

    answer: Answer
    found: Found | None = None
    value: bytes | None = None
    """The blob's own bytes, where it was found by its key."""


def tenant_of(principal: Principal, scope: str) -> str:
    """Who shares with this caller. What has no team or organisation shares with nobody; "" is a gateway without keys."""
    if scope == "organisation" and principal.organisation:
        return f"organisation:{principal.organisation}"
    if scope != "key" and principal.team:
        return team_tenant(principal.organisation, principal.team)
    return f"key:{principal.name}" if principal.name else ""


def team_tenant(organisation: str, team: str) -> str:
    """No organisation's name may look like another one's with a team."""
    return f"team:{organisation.replace('%', '%25').replace('/', '%2F')}/{team}"


def owner_of(principal: Principal, scope: str) -> str:
    """The tenant as keys are made for it: another key, team or organisation of an old name finds nothing of the old one's."""
    tenant = tenant_of(principal, scope)
    own, team, organisation = principal.identities
    if tenant.startswith("organisation:"):
        identity = organisation
    elif tenant.startswith("team:"):
        identity = f"{organisation}/{team}" if organisation or team else ""
    else:
        identity = own
    return f"{tenant}#{identity}" if identity else tenant


def place_of(principal: Principal, scope: str, namespace: str) -> Place:
    """Where this caller's answers lie."""
    return Place(KIND, tenant_of(principal, scope), namespace)


def group_of(planned: Planned, wishes: str) -> str:
    """The targets that may answer, in their order, and the caller's wishes among them: another order is another answer."""
    overrides = [
        repr(sorted(step.target.overrides.items())) for step in planned.steps if step.target.overrides
    ]
    return "\n".join([*planned.targets, *overrides, wishes])


def is_fallback(planned: Planned, target: Target, *, spread: bool) -> bool:
    """Another model answered than the one that was asked for first: for now good enough, but not to be kept."""
    return not spread and bool(planned.targets) and target.name != planned.targets[0]
