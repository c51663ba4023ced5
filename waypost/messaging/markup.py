"""Reading HTML from front to back in linear time.

The standard library's HTMLParser scans the rest of the document again at every unclosed construct (two minutes for
500 KB of `<!--`, CVE-2025-6069), and templates come from outside.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from html import unescape

_START_TAG = re.compile(r"<([a-zA-Z][^\s/>]*+)((?:[^>\"']++|\"[^\"]*+\"|'[^']*+')*+)>")
_ATTRIBUTE = re.compile(r"""([^\s=/>"']++)(?:\s*+=\s*+(?:"([^"]*+)"|'([^']*+)'|([^\s"'>]++)))?""")
_RAW_TEXT = frozenset({"style", "script", "title", "textarea"})


@dataclass(frozen=True, slots=True)
class StartTag:
    """`<name attributes>`: `name` in lower case, `attributes` as written, its place in the source."""

    name: str
    written_name: str
    attributes: str
    start: int
    end: int

    def read_attributes(self) -> Mapping[str, str]:
        """Names in lower case with values unescaped; the first of a name counts, as in browsers."""
        found: dict[str, str] = {}
        for match in _ATTRIBUTE.finditer(self.attributes):
            found.setdefault(match[1].lower(), unescape(match[2] or match[3] or match[4] or ""))
        return found


@dataclass(frozen=True, slots=True)
class EndTag:
    """`</name>`."""

    name: str


@dataclass(frozen=True, slots=True)
class Text:
    """What is shown, unescaped; `raw` where it is the inside of style, script, title or textarea."""

    text: str
    raw: bool = False


def read_markup(source: str) -> Iterator[StartTag | EndTag | Text]:
    """The tags and texts of a document in order, without comments and declarations."""
    at = 0
    while at < len(source):
        opened = source.find("<", at)
        if opened != at:
            yield Text(unescape(source[at:] if opened < 0 else source[at:opened]))
        if opened < 0:
            return
        token, at = _markup_at(source, opened)
        if token is not None:
            yield token
        if isinstance(token, StartTag) and token.name in _RAW_TEXT:
            end = _end_of_raw_text(source, token.name, at)
            yield Text(source[at:end], raw=True)
            at = end


def _markup_at(source: str, at: int) -> tuple[StartTag | EndTag | Text | None, int]:
    """The token that begins with `<` here, and where the next begins. What never ends takes the rest with it."""
    if source.startswith("<!--", at):
        return None, _after(source, "-->", at)
    following = source[at + 1 : at + 2]
    if following in ("!", "?"):
        return None, _after(source, ">", at)
    if following == "/":
        end = _after(source, ">", at)
        return EndTag(source[at + 2 : end].rstrip("> \t\r\n").lower()), end
    if not (following.isascii() and following.isalpha()):
        return Text("<"), at + 1
    if tag := _START_TAG.match(source, at):
        return StartTag(tag[1].lower(), tag[1], tag[2], at, tag.end()), tag.end()
    return Text(source[at:]), len(source)


def _after(source: str, closing: str, at: int) -> int:
    found = source.find(closing, at)
    return len(source) if found < 0 else found + len(closing)


def _end_of_raw_text(source: str, name: str, start: int) -> int:
    found = _closing(name).search(source, start)
    return found.start() if found else len(source)


@cache
def _closing(name: str) -> re.Pattern[str]:
    return re.compile(f"</{name}", re.IGNORECASE)
