"""How much of a prompt a medium is, before any provider has counted it: in bytes of words, as ``Ask.input_bytes`` counts.

Theory
------
Models read pictures, pages and sounds as tokens of their own, not as base64. How many they are is known only after
decoding; a body is not decoded for an estimate. So each kind has a typical ratio of base64 to words, on the low side: an
estimate that is too high refuses a call that would fit, one that is too low is corrected by the provider.

    picture   1,000 bytes (250 tokens; 258 a tile at Gemini)
    sound     1 for 200   (32 tokens a second at Gemini; mp3 of 128 kbit/s)
    film      1 for 100   (some 290 tokens a second at 1 Mbit/s)
    PDF       1 for 200   (258 to some 1,500 tokens a page, 50 to 500 kB a page); at least one page
    text      3 for 4     (base64 of words that are read as they are)
"""

from typing import Literal

from penstock.base.bulk import size_of

Medium = Literal["image", "audio", "video", "document"]
MEDIA: frozenset[str] = frozenset({"image", "audio", "video", "document"})
"""As ``Ask.needs`` names them."""
IMAGE_BYTES = 1000
_PAGE_BYTES = 1000
_CHARS_PER_BYTE: dict[Medium, int] = {"audio": 200, "video": 100, "document": 200}
_TEXTUAL = ("text/", "application/json", "application/xml", "application/yaml")


def medium_bytes(medium: Medium, chars: int, mime: str = "") -> int:
    """What ``chars`` of base64 count for, never more than they are. ``mime`` as far as it is known."""
    if medium == "image":
        return min(IMAGE_BYTES, chars)
    if medium == "document":
        if mime.strip().lower().startswith(_TEXTUAL):
            return chars * 3 // 4
        return min(max(_PAGE_BYTES, chars // _CHARS_PER_BYTE["document"]), chars)
    return chars // _CHARS_PER_BYTE[medium]


def data_url_bytes(medium: Medium, url: str) -> int:
    """What to add to a count that holds ``url`` whole: negative for a data URL, 0 for an address."""
    if not url.startswith("data:"):
        return 0
    size = size_of(url)
    return medium_bytes(medium, size, url[5:128].partition(";")[0].partition(",")[0]) - size
