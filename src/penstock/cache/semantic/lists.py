"""Words that the guards know: the sets of ``alternatives`` by word, negators, numbers, units. English, lower case."""

from collections.abc import Iterator

from penstock.cache.semantic.alternatives import CITIES, COUNTRIES, NOUNS, SETS, STATES, VERBS

Members = tuple[tuple[str, str], ...]


def _listed(words: str) -> list[str]:
    return words.split()


def _same(word: str) -> Iterator[str]:
    yield word


NEGATORS = frozenset(
    _listed(
        "not never without no none nobody nothing neither nowhere cannot cant dont doesnt didnt isnt arent wasnt werent wont wouldnt "
        "shouldnt couldnt hasnt havent aint except excluding hardly barely unable impossible non un lack lacks lacking unless"
    )
)
NO_NEGATION = ("not only", "no matter", "no doubt", "no. ", "if not")
"""Phrases whose negator negates nothing."""
ONES = {
    word: value
    for value, word in enumerate(
        _listed(
            "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen seventeen eighteen "
            "nineteen"
        )
    )
}
TENS = {
    word: 10 * value
    for value, word in enumerate(_listed("twenty thirty forty fifty sixty seventy eighty ninety"), start=2)
}
SCALES = {
    "hundred": 100,
    "thousand": 1000,
    "million": 10**6,
    "billion": 10**9,
    "trillion": 10**12,
    "dozen": 12,
}
ORDINALS = {
    word: value
    for value, word in enumerate(
        _listed("first second third fourth fifth sixth seventh eighth ninth tenth eleventh twelfth"), start=1
    )
}
ROMAN = {
    "ii": 2,
    "iii": 3,
    "iv": 4,
    "vi": 6,
    "vii": 7,
    "viii": 8,
    "ix": 9,
    "xi": 11,
    "xii": 12,
    "xiii": 13,
    "xiv": 14,
    "xv": 15,
    "xvi": 16,
}
OTHER_NUMBERS = {
    "half": 0.5,
    "twice": 2.0,
    "double": 2.0,
    "triple": 3.0,
    "thrice": 3.0,
    "once": 1.0,
    "pair": 2.0,
    "couple": 2.0,
}

_UNITS = """
% percent,percentage,pct
$ dollar,dollars,usd,buck,bucks
€ euro,euros,eur
£ pound,pounds,gbp,quid
¥ yen,jpy
kg kilogram,kilograms,kilo,kilos,kgs
g gram,grams
mg milligram,milligrams
lb lbs
oz ounce,ounces
t ton,tons,tonne,tonnes
km kilometer,kilometers,kilometre,kilometres,kms
m meter,meters,metre,metres
cm centimeter,centimeters,centimetre,centimetres
mm millimeter,millimeters,millimetre,millimetres
mi mile,miles
ft foot,feet
in inch,inches
yd yard,yards
l liter,liters,litre,litres
ml milliliter,milliliters,millilitre,millilitres
gal gallon,gallons
cup cups
tbsp tablespoon,tablespoons
tsp teaspoon,teaspoons
s sec,secs,second,seconds
ms millisecond,milliseconds
min mins,minute,minutes
h hr,hrs,hour,hours
day days
week weeks,wk
month months
year years,yr,yrs
am a.m
pm p.m
kb kilobyte,kilobytes
mb megabyte,megabytes
gb gigabyte,gigabytes,gigs
tb terabyte,terabytes
hz hertz
ghz gigahertz
mhz megahertz
w watt,watts
kw kilowatt,kilowatts
kwh kilowatt-hour
v volt,volts
mph
kph kmh
c celsius,°c,°
f fahrenheit,°f
k kelvin
px pixel,pixels
cal calorie,calories,kcal
degree degrees
"""
UNITS: dict[str, str] = {}
for _line in _UNITS.split("\n"):
    for _word in _line.replace(",", " ").split():
        UNITS[_word] = _line.split()[0]


def _verb(word: str) -> Iterator[str]:
    head, _, tail = word.partition("_")
    rest = f"_{tail}" if tail else ""
    yield word
    if head.endswith("e"):
        endings = (f"{head}s", f"{head}d", f"{head[:-1]}ing")
    elif head.endswith("y") and head[-2] not in "aeou":
        endings = (f"{head[:-1]}ies", f"{head[:-1]}ied", f"{head}ing")
    else:
        twice = head + head[-1]
        endings = (f"{head}s", f"{head}es", f"{head}ed", f"{head}ing", f"{twice}ed", f"{twice}ing")
    for ending in endings:
        yield ending + rest


def _noun(word: str) -> Iterator[str]:
    yield word
    if word.endswith("y") and word[-2] not in "aeou":
        yield f"{word[:-1]}ies"
    elif word.endswith("man"):
        yield f"{word[:-2]}en"
    elif word == "wife" or word.endswith("lf"):
        yield f"{word.rstrip('fe')}ves"
    else:
        yield f"{word}s"
        yield f"{word}es"


def _read() -> tuple[dict[str, Members], dict[str, tuple[tuple[str, ...], ...]]]:
    """Members by word, and the phrases by their first word."""
    lines = [(line, _verb) for line in VERBS.strip().split("\n")]
    lines += [(line, _noun) for line in NOUNS.strip().split("\n")]
    lines += [(line, _same) for line in SETS.strip().split("\n")]
    for name, block in (("country", COUNTRIES), ("city", CITIES), ("state", STATES)):
        lines.append((f"{name}:{block.replace(chr(10), ' ')}", _same))
    members: dict[str, dict[tuple[str, str], None]] = {}
    for line, forms in lines:
        name, _, alternatives = line.partition(":")
        for alternative in alternatives.split("|"):
            words = [word.strip() for word in alternative.split(",")]
            for word in words:
                for form in forms(word):
                    members.setdefault(form.replace("_", " "), {})[name, words[0]] = None
    phrases: dict[str, list[tuple[str, ...]]] = {}
    for word in members:
        parts = tuple(word.split(" "))
        if len(parts) > 1:
            phrases.setdefault(parts[0], []).append(parts)
    longest_first = {first: tuple(sorted(all_, key=len, reverse=True)) for first, all_ in phrases.items()}
    return {word: tuple(found) for word, found in members.items()}, longest_first


MEMBERS, PHRASES = _read()
FUNCTION = frozenset(
    _listed(
        "a an the of in on at to for from by with about as into than is are was were be been being am do does did done have has had "
        "having will would shall should can could may might must i me my mine you your yours he him his she her hers it its we us our "
        "they them their this that these those there here what which who whom whose when where why how and or but if then so too very "
        "just also please tell give show explain describe let get got s t re ve ll d m any some much many one ones way ways thing things "
        "best good like need want know find help use using used work works make made im whats hows vs versus nor between"
    )
)
TOWARDS = frozenset(_listed("to into"))
"""What stands before them becomes, or goes to, what stands after: "litres to gallons"."""
ROLES = frozenset(_listed("to from into than over by against before after under above below per onto via"))
"""Prepositions that give the word after them a part in the sentence that the word before does not have."""
