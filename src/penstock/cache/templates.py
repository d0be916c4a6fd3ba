"""Templates: what a message says in every call is compared exactly, and only what varies in it by meaning.

Theory
------
Two payloads behind one long instruction have a cosine of 0.9 and more, whatever they say, and of exactly 1 where the instruction
fills the embedder's window (reference 2.3); one user found 198 texts answered by the translation of the first (1.2, LemonData).
So an instruction is never embedded: it goes to the partition, as ``template_id``.

*Declared* templates (``Write a caption for {product}``) are matched by their literals: the first stands at the start, the last at
the end, the others are found one after the other, leftmost first. That finds a match where there is one, in time linear in the
text. Of several the one with the most literal characters wins.

*Learned* ones are beginnings and ends shared by 80 % of a class's last 200 different messages, or by ten of them where they are
long. In sorted order the messages that share a beginning stand together: the longest beginning shared by k is the longest of the
common beginnings of ``s[i]`` and ``s[i + k - 1]``. A learned template stays as it is while it is in use: a boundary that moved
with every message would put equal messages into different partitions.

Rules
- A class is whatever does not hang on the user's words (``Keys.template_class``).
- Before enough is known, ``learning`` says so, and a message that begins or ends much like another one is exact only.
- Exact only is also what is mostly numbers and ids, and a template whose answers are all different: what varies there always
  changes the answer. Exact only refuses to serve, not to compare: shadow comparisons that agree (``repeated``) open it again.
- Memory is bounded by bytes; the class that was asked least lately is forgotten. After a restart it is learned anew, and since
  ids are hashes of the words, old entries are found again.
"""

import re
from bisect import bisect_left, insort
from collections import Counter, OrderedDict, deque
from collections.abc import Sequence
from hashlib import blake2b
from typing import Final

from msgspec import Struct

from penstock.base.decisions import Rejected
from penstock.base.errors import ConfigFault
from penstock.cache.keys import nfc

WINDOW: Final = 200
ENOUGH_MESSAGES: Final = 20
"""Different messages of a class before anything is known of its templates. Looks at them grow rarer, up to MAX_GAP."""
MAX_GAP: Final = 100
MAJORITY: Final = 0.8
MAJORITY_WORDS: Final = 4
GROUP: Final = 10
"""So many messages with a long beginning or end in common have a template, whatever else the class is asked."""
GROUP_WORDS: Final = 12
LONGER_WORDS: Final = 8
"""A longer template replaces one that was learned only if it is longer by so many words."""
SUSPECT_SHARE: Final = 0.5
SUSPECT_WORDS: Final = 48
"""Behind so many equal words two payloads come near each other whatever they say: cosine 0.77 behind 24 tokens, 0.90 behind 178."""
MAX_ID_SHARE: Final = 0.6
ENOUGH_ANSWERS: Final = 100
MAX_DISTINCT: Final = 0.9
MAX_HEAD: Final = 8_192
MAX_TAIL: Final = 4_096
MAX_BYTES: Final = 32 * 1024 * 1024
MAX_CLASSES: Final = 4_096
_MAX_TEMPLATES = 32
_ANSWERS_BYTES = 150 * WINDOW

_VARIABLE = re.compile(r"\{\{([A-Za-z_]\w*)\}\}|\{([A-Za-z_]\w*)\}")
_TOKEN = re.compile(r"\S+")
_DIGIT = re.compile(r"\d")
_ODD = re.compile(r"\d|[A-Z]{2}|@|://")
"""What a number, a code or an address has at least."""
_CODE = re.compile(r"[A-Z]{2,}[A-Z_\-/.]*[_\-/][A-Z_\-/.]*|\S+@\S+|\w+://\S+")


class Stripped(Struct, frozen=True):
    """What is to be compared by meaning: ``text``. ``template_id`` "" : no template, all of it.

    ``exact_only``: why it is not. ``learning``: too little is known of this class yet, or of its template's answers.
    ``variables`` are the values of a declared template, in its order.
    """

    text: str
    template_id: str = ""
    exact_only: Rejected | None = None
    learning: bool = False
    variables: tuple[str, ...] = ()


class Templates:
    """Declared templates and what is learned. Raises ConfigFault for a template that is none."""

    def __init__(self, declared: Sequence[str] = (), *, max_bytes: int = MAX_BYTES) -> None:
        found = [_declared(text, index) for index, text in enumerate(declared)]
        self._declared = sorted(found, key=lambda one: -sum(map(len, one.literals)))
        self._classes: dict[str, _Class] = {}
        self._tenants: dict[str, OrderedDict[str, None]] = {}
        """By tenant (what stands before "|" in a class's name): its classes, the one that was used longest ago first."""
        self._held: dict[str, int] = {}
        """Bytes of each."""
        self._max_bytes = max_bytes
        self._bytes = 0

    def strip(self, partition_class: str, text: str) -> Stripped:
        """``text`` without its template; and ``text`` is learned from."""
        known = self._class(partition_class)
        for one in self._declared:
            values = one.match(text)
            if values is not None:
                words = "\n".join(values)
                refusal = _of_words(words) or known.of_answers(one.id)
                return Stripped(words, one.id, refusal, variables=values)
        before = known.held_bytes
        stripped = known.strip(text)
        self._grown(partition_class, known.held_bytes - before)
        return stripped

    def answered(self, partition_class: str, template_id: str, answer: str) -> None:
        """A fresh answer to a message of this template. Two answers are one if they differ in blanks and case only."""
        plain = " ".join(answer.split()).casefold()
        self._note(
            partition_class,
            template_id,
            blake2b(plain.encode("utf-8", "surrogatepass"), digest_size=8).digest(),
        )

    def repeated(self, partition_class: str, template_id: str) -> None:
        """An answer did for another message of this template: a hit was served, or a comparison found both answers alike."""
        self._note(partition_class, template_id, b"")

    def stats(self) -> tuple[int, int]:
        """Classes known, and bytes they take."""
        return len(self._classes), self._bytes

    def _note(self, partition_class: str, template_id: str, digest: bytes) -> None:
        if template_id:
            known = self._class(partition_class)
            before = known.held_bytes
            known.answers(template_id).add(digest)
            self._grown(partition_class, known.held_bytes - before)

    def _class(self, name: str) -> "_Class":
        known = self._classes.get(name)
        if known is None:
            known = self._classes[name] = _Class()
            self._tenants.setdefault(_tenant(name), OrderedDict())[name] = None
            self._grown(name, known.held_bytes)
        else:
            self._tenants[_tenant(name)].move_to_end(name)
        return known

    def _grown(self, name: str, by_bytes: int) -> None:
        self._bytes += by_bytes
        self._held[_tenant(name)] = self._held.get(_tenant(name), 0) + by_bytes
        while len(self._classes) > 1 and (self._bytes > self._max_bytes or len(self._classes) > MAX_CLASSES):
            self._forget(name)

    def _forget(self, in_use: str) -> None:
        """The oldest class of the tenant that has most: who names thousands of namespaces loses his own."""
        for tenant in sorted(self._held, key=self._held.__getitem__, reverse=True):
            name = next((one for one in self._tenants[tenant] if one != in_use), None)
            if name is not None:
                held_bytes = self._classes.pop(name).held_bytes
                del self._tenants[tenant][name]
                self._bytes -= held_bytes
                self._held[tenant] -= held_bytes
                if not self._tenants[tenant]:
                    del self._tenants[tenant], self._held[tenant]
                return


def _tenant(name: str) -> str:
    return name.partition("|")[0] if "|" in name else ""


class _Declared(Struct, frozen=True):
    id: str
    literals: tuple[str, ...]
    """One more than there are variables."""

    def match(self, text: str) -> tuple[str, ...] | None:
        """The variables' values, none of them blank; None: ``text`` is not of this template."""
        first, *others = self.literals
        last = others.pop()
        end = len(text) - len(last)
        if end < len(first) or not text.startswith(first) or not text.endswith(last):
            return None
        values: list[str] = []
        position = len(first)
        for literal in others:
            # Not at its very start: a value is not empty.
            at = text.find(literal, position + 1, end)
            if at < 0:
                return None
            values.append(text[position:at])
            position = at + len(literal)
        values.append(text[position:end])
        if not all(value.strip() for value in values):
            return None
        return tuple(value.strip() for value in values)


def _declared(text: str, index: int) -> _Declared:
    """A template as declared. Variables side by side are one: nothing says where the first ends."""
    text = nfc(text.strip())
    literals = [""]
    position = 0
    for match in _VARIABLE.finditer(text):
        literals[-1] += text[position : match.start()]
        position = match.end()
        if match.group(1) is not None:
            literals[-1] += "{" + match.group(1) + "}"
        elif literals[-1] or len(literals) == 1:
            literals.append("")
    literals[-1] += text[position:]
    if len(literals) == 1 or not "".join(literals).strip():
        what = "no {variable}" if len(literals) == 1 else "no words beside its variables"
        raise ConfigFault(
            f"The template has {what}.",
            path=f"$.semantic_cache.templates[{index}]",
            hint="Write one such as: Write a caption for {product} in {style}.",
        )
    return _Declared("d-" + _hash(text), tuple(literals))


class _Answers:
    """The last answers to one template's messages: how many are different."""

    __slots__ = ("_counts", "_last")

    def __init__(self) -> None:
        self._last: deque[bytes] = deque()
        self._counts: Counter[bytes] = Counter()

    def add(self, digest: bytes) -> None:
        """``b""``: an answer that did for another message."""
        self._last.append(digest)
        self._counts[digest] += 1
        if len(self._last) > WINDOW:
            gone = self._last.popleft()
            self._counts[gone] -= 1
            if not self._counts[gone]:
                del self._counts[gone]

    @property
    def enough(self) -> bool:
        """There are enough to judge by."""
        return len(self._last) >= ENOUGH_ANSWERS

    @property
    def distinct(self) -> float:
        """The share of answers that no other message had."""
        different = len(self._counts) - (b"" in self._counts)
        return different / len(self._last)


class _Edge:
    """Beginnings of messages (or, reversed, their ends), sorted, and those that are templates."""

    __slots__ = ("_sorted", "known")

    def __init__(self) -> None:
        self._sorted: list[str] = []
        self.known: list[str] = []
        """Templates, the shortest first."""

    def add(self, edge: str) -> None:
        insort(self._sorted, edge)

    def drop(self, edge: str) -> None:
        del self._sorted[bisect_left(self._sorted, edge)]

    def of(self, edge: str) -> str:
        """The longest template that ``edge`` begins with; "" none."""
        for known in reversed(self.known):
            if edge.startswith(known):
                return known
        return ""

    def nearest(self, edge: str, *, itself: bool) -> int:
        """How many characters ``edge`` shares with the message most like it there; ``itself`` is held, too, and not meant."""
        held = self._sorted
        at = bisect_left(held, edge)
        best = shared(edge, held[at - 1]) if at else 0
        after = at + itself
        return max(best, shared(edge, held[after])) if after < len(held) else best

    def learn(self) -> None:
        """Look for templates among the messages that are held."""
        held = self._sorted
        self.known = [
            known
            for known in self.known
            if (at := bisect_left(held, known)) < len(held) and held[at].startswith(known)
        ]
        majority = int(len(held) * MAJORITY + 0.999)
        found = self._common(majority, MAJORITY_WORDS) | self._common(GROUP, GROUP_WORDS)
        for one in sorted(found, key=len):
            base = max((known for known in self.known if one.startswith(known)), key=len, default="")
            longer = len(one.split()) - len(base.split())
            if (not base or longer >= LONGER_WORDS) and len(self.known) < _MAX_TEMPLATES:
                self.known.append(one)
                self.known.sort(key=len)

    def _common(self, count: int, least_words: int) -> set[str]:
        """Beginnings of at least ``least_words`` words that ``count`` of the messages share."""
        held = self._sorted
        found: set[str] = set()
        least = 2 * least_words - 1
        everywhere = shared(held[0], held[-1]) if held else 0
        for start in range(len(held) - count + 1):
            one, other = held[start], held[start + count - 1]
            if one[:least] != other[:least]:
                continue
            end = _word_end(one, shared(one, other, everywhere))
            if end and (text := one[:end]) not in found and len(text.split()) >= least_words:
                found.add(text)
        return found


class _Class:
    """What is known of one class of messages."""

    __slots__ = ("_answers", "_gap", "_heads", "_last", "_seen", "_since", "_tails", "held_bytes")

    def __init__(self) -> None:
        self._heads, self._tails = _Edge(), _Edge()
        self._last: deque[tuple[bytes, str, str]] = deque()
        self._seen: set[bytes] = set()
        self._since, self._gap = 0, ENOUGH_MESSAGES
        self._answers: OrderedDict[str, _Answers] = OrderedDict()
        self.held_bytes = 1_024

    def strip(self, text: str) -> Stripped:
        """The same, of this class."""
        head, tail = text[:MAX_HEAD], text[-MAX_TAIL:][::-1]
        key = blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).digest()
        suspect = self._suspect(key, head, tail, len(text))
        if key not in self._seen:
            self._add(key, head, tail)
        begin, end = self._template(head, tail, len(text))
        words = text[len(begin) : len(text) - len(end)].strip()
        refusal = _of_words(words or text) or (_SUSPECT if suspect else None)
        if not (begin or end) or not words:
            return Stripped(text, "", refusal, learning=len(self._last) < ENOUGH_MESSAGES)
        template_id = "l-" + _hash(f"{len(begin)}:{begin}{end}")
        answers = self._answers.get(template_id)
        return Stripped(
            words,
            template_id,
            refusal or self.of_answers(template_id),
            learning=answers is None or not answers.enough,
        )

    def answers(self, template_id: str) -> _Answers:
        """Of one template, the one asked least lately forgotten."""
        found = self._answers.get(template_id)
        if found is not None:
            self._answers.move_to_end(template_id)
            return found
        found = self._answers[template_id] = _Answers()
        if len(self._answers) > _MAX_TEMPLATES:
            self._answers.popitem(last=False)
        else:
            self.held_bytes += _ANSWERS_BYTES
        return found

    def of_answers(self, template_id: str) -> Rejected | None:
        """Why its answers forbid comparing by meaning."""
        answers = self._answers.get(template_id)
        if answers is not None and answers.enough and answers.distinct > MAX_DISTINCT:
            return _ALL_DIFFER
        return None

    def _template(self, head: str, tail: str, length: int) -> tuple[str, str]:
        begin, end = self._heads.of(head), self._tails.of(tail)
        return (begin, end) if len(begin) + len(end) < length else (begin, "")

    def _suspect(self, key: bytes, head: str, tail: str, length: int) -> bool:
        """Much of it stands at the start and end of another message too, and no template is known for that."""
        seen = key in self._seen
        begin = _word_end(head, self._heads.nearest(head, itself=seen))
        end = _word_end(tail, self._tails.nearest(tail, itself=seen))
        if begin + end < SUSPECT_SHARE * length:
            return False
        known, known_end = self._template(head, tail, length)
        words = head[len(known) : begin].split(), tail[len(known_end) : end].split()
        return sum(map(len, words)) >= SUSPECT_WORDS

    def _add(self, key: bytes, head: str, tail: str) -> None:
        self._last.append((key, head, tail))
        self._seen.add(key)
        self._heads.add(head)
        self._tails.add(tail)
        self.held_bytes += _bytes_of(head, tail)
        if len(self._last) > WINDOW:
            old, head, tail = self._last.popleft()
            self._seen.discard(old)
            self._heads.drop(head)
            self._tails.drop(tail)
            self.held_bytes -= _bytes_of(head, tail)
        self._since += 1
        if self._since >= self._gap:
            self._since, self._gap = 0, min(2 * self._gap, MAX_GAP)
            self._heads.learn()
            self._tails.learn()


_ALL_DIFFER = Rejected(
    "answers-all-differ", "Hardly two messages of this template had one answer: what varies changes it."
)
_SUSPECT = Rejected(
    "template-suspected", "Most of the message stands in others too, and its template is not yet learned."
)


def id_share(text: str) -> float:
    """How much of ``text`` (of its beginning, which is all that is ever embedded) is numbers, codes and addresses."""
    if _ODD.search(text, 0, MAX_TAIL) is None:
        return 0.0
    total = odd = 0
    for match in _TOKEN.finditer(text[:MAX_TAIL]):
        token = match.group()
        total += len(token)
        if _DIGIT.search(token) or _CODE.fullmatch(token.strip(".,;:!?()\"'")):
            odd += len(token)
    return odd / total if total else 0.0


def _of_words(words: str) -> Rejected | None:
    if id_share(words) > MAX_ID_SHARE:
        return Rejected("mostly-ids", "What varies is mostly numbers and ids, which are compared exactly.")
    return None


def shared(one: str, two: str, known: int = 0) -> int:
    """How many characters both begin with, of which ``known`` are known: in growing strides, then halving."""
    low, most, stride = known, min(len(one), len(two)), 32
    while low + stride <= most and one.startswith(two[low : low + stride], low):
        low += stride
        stride *= 2
    high = min(low + stride, most)
    while low < high:
        middle = (low + high + 1) // 2
        if one.startswith(two[low:middle], low):
            low = middle
        else:
            high = middle - 1
    return low


def _word_end(text: str, length: int) -> int:
    """``length`` cut back to where a word begins."""
    return max(text.rfind(" ", 0, length), text.rfind("\n", 0, length), text.rfind("\t", 0, length)) + 1


def _bytes_of(head: str, tail: str) -> int:
    return 250 + (len(head) + len(tail)) * (1 if head.isascii() and tail.isascii() else 4)


def _hash(text: str) -> str:
    return blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).hexdigest()
