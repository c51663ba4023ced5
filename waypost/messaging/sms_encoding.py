"""How many segments a text message takes, and why.

GSM 03.38 with its extension table (two septets each) while every character fits, UCS-2 (UTF-16 code units) otherwise.
One segment holds 160 or 70; with more than one, the header leaves 153 or 67. An escape pair and a surrogate pair are
never split over two segments. Source: 3GPP TS 23.038 6.2.1; PROVIDERS "Twilio".
"""

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum

_BASIC = frozenset(
    "@£$¥èéùìòÇ\nØø\rÅåΔ_ΦΓΛΩΠΨΣΘΞÆæßÉ !\"#¤%&'()*+,-./0123456789:;<=>?"
    "¡ABCDEFGHIJKLMNOPQRSTUVWXYZÄÖÑÜ§¿abcdefghijklmnopqrstuvwxyzäöñüà"
)
_EXTENDED = frozenset("\f^{}\\[~]|€")

_REPLACEMENTS = {
    "’": "'", "‘": "'", "‚": "'", "“": '"', "”": '"', "„": '"', "«": '"', "»": '"', "`": "'", "´": "'",
    "–": "-", "—": "-", "‐": "-", "‑": "-", "−": "-", "…": "...", "•": "-",
    "\u00a0": " ", "\u2009": " ", "\u202f": " ", "\u200b": "", "\ufeff": "", "\u00ad": "", "\t": " ",
    "ç": "Ç", "á": "a", "í": "i", "ó": "o", "ú": "u", "â": "a", "ê": "e", "î": "i", "ô": "o", "û": "u", "ë": "e",
    "ï": "i", "×": "x", "™": "TM", "©": "(c)", "®": "(R)",
}  # fmt: skip


class SmsEncoding(StrEnum):
    """The alphabet that a text message needs."""

    GSM7 = "gsm7"
    UCS2 = "ucs2"


@dataclass(frozen=True, slots=True, kw_only=True)
class SmsCount:
    """What a body costs. `units` are septets (GSM-7) or UTF-16 code units; `forcing` are the characters, in order of
    appearance, that made it UCS-2."""

    encoding: SmsEncoding
    units: int
    segments: int
    forcing: tuple[str, ...]


def count_segments(body: str) -> SmsCount:
    """Encoding and segments of a body as Twilio bills it (its smart encoding off)."""
    forcing = tuple(dict.fromkeys(char for char in body if char not in _BASIC and char not in _EXTENDED))
    if forcing:
        widths = [2 if ord(char) > 0xFFFF else 1 for char in body]
        return _count(SmsEncoding.UCS2, widths, single=70, part=67, forcing=forcing)
    widths = [2 if char in _EXTENDED else 1 for char in body]
    return _count(SmsEncoding.GSM7, widths, single=160, part=153, forcing=())


def _count(encoding: SmsEncoding, widths: list[int], *, single: int, part: int, forcing: tuple[str, ...]) -> SmsCount:
    units = sum(widths)
    segments = min(units, 1) if units <= single else _parts(widths, part)
    return SmsCount(encoding=encoding, units=units, segments=segments, forcing=forcing)


def _parts(widths: Iterable[int], part: int) -> int:
    parts, used = 1, 0
    for width in widths:
        if used + width > part:
            parts, used = parts + 1, 0
        used += width
    return parts


def suggest_replacement(char: str) -> str | None:
    """What could stand for a character that forces UCS-2 (`’` → `'`); None if nothing says the same in GSM-7."""
    return _REPLACEMENTS.get(char)


def plain_body(body: str) -> str:
    """The body with every replaceable character replaced."""
    forcing = set(count_segments(body).forcing)
    return "".join(_REPLACEMENTS.get(char, char) if char in forcing else char for char in body)
