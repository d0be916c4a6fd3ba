"""Caption-like traffic with a known truth, for ``penstock demo --cache``.

Theory
------
A shop has its products described by a model, and feeds send the same product again and again: word for word, in other words,
or twice in the same moment. Between them stand products that differ in one word which is all that matters: a number, a
colour, a "without". The generator knows which product each text means; the simulated model answers by that (``Traffic.answers``)
with the product's code in its words, so that a wrong answer out of a cache can be told from a right one.

Rules
- The same seed, the same traffic: both replays of the demo are asked the same.
- A text has one meaning: two products never share one.
- What says a product again comes after it in the order (``Caption.after``), but for an identical call in flight, which comes
  beside it.
"""

from collections.abc import Sequence
from random import Random
from typing import Literal, TypeVar

from msgspec import Struct
from msgspec.structs import replace

_Any = TypeVar("_Any")
Kind = Literal["new", "near", "trap", "repeat", "twin"]

KINDS: dict[Kind, str] = {
    "new": "a product not seen before",
    "near": "the same product in other words",
    "trap": "nearly the same words, another product",
    "repeat": "word for word as before",
    "twin": "the same call, in flight at once",
}
SHARES: dict[Kind, float] = {"new": 0.28, "near": 0.40, "trap": 0.14, "repeat": 0.12, "twin": 0.06}
"""Of the draws: a twin is two calls, and the first few are new."""
TEMPLATE = "Write a one-sentence caption for this product: {product}"
_LEAD = TEMPLATE.partition("{")[0]

_THINGS = (
    ("handbag", "with a brass clasp and {n} inner pockets", "on a marble table"),
    ("backpack", "with {n} side pockets and padded straps", "against a brick wall"),
    ("armchair", "with turned legs and {n} loose cushions", "in a bright living room"),
    ("dining table", "that seats {n} people", "in a farmhouse kitchen"),
    ("table lamp", "with {n} brightness levels and a fabric cord", "on a bedside shelf"),
    ("tea set", "of {n} cups with saucers", "on a garden table"),
    ("running shoe", "with {n} reflective stripes", "on a wet forest path"),
    ("winter coat", "with {n} large buttons and a hood", "on a wooden hanger"),
    ("wall clock", "with a quiet movement and {n} hands", "above a fireplace"),
    ("suitcase", "with {n} wheels and a telescopic handle", "in a hotel lobby"),
    ("bookshelf", "with {n} adjustable boards", "beside a tall window"),
    ("picnic blanket", "for {n} people with a carrying strap", "on a summer meadow"),
    ("tent", "for {n} campers with a covered porch", "at the edge of a lake"),
    ("bicycle basket", "with {n} fastening straps", "on an old town square"),
    ("desk organiser", "with {n} drawers and a pen tray", "in a tidy home office"),
    ("wool scarf", "with {n} woven bands and short fringes", "around a knitted doll"),
    ("guitar case", "with {n} metal latches and a velvet lining", "on an empty stage"),
    ("candle holder", "for {n} slim candles", "on a set dinner table"),
    ("tool box", "with {n} fold-out trays", "on a workshop bench"),
    ("garden bench", "with {n} slats and curved arms", "under an apple tree"),
)
_COLOURS = ("red", "blue", "green", "black", "white", "brown", "grey", "yellow", "pink", "purple")
_NUMBERS = (2, 3, 4, 5, 6, 8)
_LOOKS = ("classic", "modern", "rustic", "minimalist", "handmade")
_CLAIMS = ("waterproof", "foldable", "stackable", "dishwasher-safe", "scratch-resistant")


class Product(Struct, frozen=True):
    """What is described. ``denied``: its claim stands there with a "not"."""

    thing: int
    colour: str
    number: int
    look: str
    claim: str
    denied: bool

    def said(self, wording: str) -> str:
        """In these words."""
        noun, having, place = _THINGS[self.thing]
        return wording.format(
            look=self.look,
            colour=self.colour,
            noun=noun,
            having=having.format(n=self.number),
            place=place,
            claim=f"not {self.claim}" if self.denied else self.claim,
        )


class Caption(Struct, frozen=True):
    """One call. ``after`` is the call whose answer it waits for, ``beside`` the one it is sent together with; -1: none."""

    kind: Kind
    product: int
    text: str
    after: int = -1
    beside: int = -1


class Traffic(Struct):
    """All calls in their order, and the truth: what the model says to each text."""

    calls: list[Caption]
    answers: dict[str, str]


_PLAIN = "A {look} {colour} {noun} {having}, {claim}, photographed {place}"
_WORDINGS = (
    "A {look} {colour} {noun} {having}, {claim}, photographed {place}.",
    "The {look} {colour} {noun} {having}, {claim}, photographed {place}",
    "a {look}, {colour} {noun} {having}, {claim}, photographed {place}",
    "A {colour} {look} {noun} {having}, {claim}, photographed {place}",
    "A {look} {colour} {noun} {having}, which is {claim}, photographed {place}",
    "A {look} {noun} in {colour} {having}, {claim}, photographed {place}",
    "A photo of a {look} {colour} {noun} {having}, {claim}, {place}",
    "Photographed {place}: a {look} {colour} {noun} {having}, {claim}",
    "{claim}, a {look} {colour} {noun} {having}, shown {place}",
    "{look} {colour} {noun}, {having}. {claim}. Photo taken {place}.",
)


def code_of(product: int) -> str:
    """What an answer for it, and no other, holds."""
    return f"[P{product:04d}]"


def traffic(count: int, seed: int = 7) -> Traffic:
    """``count`` calls. Pure."""
    return _Maker(Random(seed)).make(count)


class _Maker:
    """Draws calls one after the other."""

    def __init__(self, rng: Random) -> None:
        self._rng = rng
        self._calls: list[Caption] = []
        self._answers: dict[str, str] = {}
        self._products: list[Product] = []
        self._known: set[Product] = set()
        self._roots: list[int] = []
        """Calls that brought a product for the first time."""

    def make(self, count: int) -> Traffic:
        """All of them."""
        kinds, weights = list(SHARES), list(SHARES.values())
        while len(self._calls) < count:
            kind = self._rng.choices(kinds, weights)[0]
            if len(self._roots) < 4 or (kind == "twin" and len(self._calls) + 2 > count):
                kind = "new"
            match kind:
                case "new":
                    self._bring(self._fresh(), "new")
                case "trap":
                    self._trap()
                case "twin":
                    self._bring(self._fresh(), "new")
                    root = self._calls[-1]
                    self._calls.append(Caption("twin", root.product, root.text, beside=len(self._calls) - 1))
                case _:
                    self._again(kind)
        return Traffic(self._calls, self._answers)

    def _bring(self, product: Product, kind: Kind, after: int = -1) -> None:
        number = len(self._products)
        self._products.append(product)
        self._known.add(product)
        self._roots.append(len(self._calls))
        self._say(kind, number, product.said(_PLAIN), after)

    def _say(self, kind: Kind, product: int, words: str, after: int = -1) -> None:
        text = _LEAD + words
        noun = _THINGS[self._products[product].thing][0]
        self._answers[text] = (
            f"Meet the {noun} that makes itself at home from the first day: well made, well priced, ready to be used, and "
            f"good to look at for many years. {code_of(product)}"
        )
        self._calls.append(Caption(kind, product, text, after))

    def _fresh(self) -> Product:
        while True:
            rng = self._rng
            made = Product(
                rng.randrange(len(_THINGS)),
                rng.choice(_COLOURS),
                rng.choice(_NUMBERS),
                rng.choice(_LOOKS),
                rng.choice(_CLAIMS),
                denied=False,
            )
            if made not in self._known:
                return made

    def _trap(self) -> None:
        """A number, a colour or a negation away from one that was brought before."""
        root = self._rng.choice(self._roots)
        product = self._products[self._calls[root].product]
        match self._rng.randrange(3):
            case 0:
                other = replace(product, number=self._other(_NUMBERS, product.number))
            case 1:
                other = replace(product, colour=self._other(_COLOURS, product.colour))
            case _:
                other = replace(product, denied=not product.denied)
        if other in self._known:
            self._again("near")
        else:
            self._bring(other, "trap", root)

    def _again(self, kind: Kind) -> None:
        """A product again: as it was said, or in words that nobody has used for it yet."""
        root = self._rng.choice(self._roots)
        first = self._calls[root]
        if kind == "repeat":
            self._say("repeat", first.product, first.text.removeprefix(_LEAD), root)
            return
        product = self._products[first.product]
        for wording in self._rng.sample(_WORDINGS, len(_WORDINGS)):
            words = product.said(wording)
            if _LEAD + words not in self._answers:
                self._say("near", first.product, words, root)
                return
        self._bring(self._fresh(), "new")

    def _other(self, among: Sequence[_Any], one: _Any) -> _Any:
        return self._rng.choice([each for each in among if each != one])
