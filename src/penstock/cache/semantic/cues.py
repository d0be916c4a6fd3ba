"""Words that say: the answer will be another one tomorrow, or for another caller. Such a text is not served by similarity.

English, like all of the built-in tier. A cue is a word or two as they stand; it may refuse too often (a price list that never
changes), never too seldom by intent: such a call goes to the exact tier, or to the model.
"""

import re

from penstock.base.decisions import Rejected

_OWN = (
    "accounts?|orders?|balance|bookings?|reservations?|subscriptions?|invoices?|bills?|payments?|cards?|passwords?|profile|e-?mails?|"
    "address|phone|name|tickets?|refunds?|deliver(?:y|ies)|packages?|parcels?|shipments?|purchases?|orders?|carts?|contracts?|"
    "polic(?:y|ies)|claims?|appointments?|calendar|schedule|meetings?|messages?|inbox|files?|documents?|salary|payslip|payroll|"
    "credits?|limits?|statements?|transactions?|loans?|mortgage|insurance|medications?|prescriptions?|results?|records?|history|"
    "settings|plan|membership|points|rewards|wallet|portfolio|usage|quota|data|team|project|company|server|device|location"
)
_PERSONAL = re.compile(
    rf"\b(?:my|our)\s+(?:[\w'-]+\s+){{0,2}}(?:{_OWN})\b|\bwho am i\b|\bdo you remember me\b", re.IGNORECASE
)
_VOLATILE = re.compile(
    r"\b(?:today(?:'s)?|tonight|tomorrow|yesterday|right now|at the moment|nowadays|currently|these days|this (?:week|weekend|month|year|"
    r"morning|afternoon|evening|season|quarter)|(?:last|next) (?:night|week|weekend|month|year|monday|tuesday|wednesday|thursday|friday|"
    r"saturday|sunday)|so far|up[- ]to[- ]date|latest|newest|most recent|recently|breaking|live scores?|news|headlines?|weather|forecast|"
    r"temperature (?:in|outside)|what time is it|current (?:president|prime minister|ceo|king|queen|pope|mayor|version|status|state|rate|price|champion|leader|"
    r"population|time|date|year|events?|affairs|season|temperature|owner|members?)|(?:stock|share|gas|gold|oil|bitcoin|house|ticket) prices?|price of|"
    r"exchange rates?|interest rates?|how much (?:is|are|does|do)\b.*\b(?:cost|worth|trading)|trending|in stock|available now|"
    r"open now|traffic (?:in|on)|score of|who won|who is winning|net worth|still alive|how old is|how many days (?:until|till|since))\b"
    r"|\bnow\b",
    re.IGNORECASE,
)


def volatile(text: str) -> Rejected | None:
    """None: no cue. Else "personal-cue" or "volatile-cue", and which words."""
    if (cue := _PERSONAL.search(text)) is not None:
        return Rejected("personal-cue", f"The answer is one caller's own: '{_shown(cue)}'.")
    if (cue := _VOLATILE.search(text)) is not None:
        return Rejected("volatile-cue", f"The answer changes with time: '{_shown(cue)}'.")
    return None


def _shown(cue: re.Match[str]) -> str:
    words = cue[0]
    return words if len(words) <= 40 else f"{words[:40]}..."
