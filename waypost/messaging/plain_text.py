"""The text part of an email, made from its HTML.

Works on finished HTML and on HTML with Liquid alike: it only walks forward and keeps all text in order, so that loops
and branches still enclose what they enclosed. (A layout engine would move or drop Liquid between table rows.)
"""

import re

from waypost.messaging.html_source import protect
from waypost.messaging.markup import EndTag, StartTag, Text, read_markup

_SKIPPED = frozenset({"head", "style", "script", "title", "noscript", "template"})
_BLOCKS = frozenset(
    {"address", "article", "aside", "blockquote", "center", "div", "dl", "dt", "dd", "fieldset", "figure", "footer"}
    | {"form", "header", "hr", "li", "main", "nav", "pre", "section", "tr", "table"}
)
_PARAGRAPHS = frozenset({"p", "h1", "h2", "h3", "h4", "h5", "h6", "ul", "ol"})
_VOID = frozenset({"area", "base", "br", "col", "embed", "hr", "img", "input", "link", "meta", "source", "wbr"})
_HIDDEN = re.compile(r"display\s*:\s*none", re.IGNORECASE)
_SPACES = re.compile(r"[ \t\r\n\f]+")
_BLANK_LINES = re.compile(r"\n(?:[ \t]*+\n)+")


def html_to_text(source: str) -> str:
    """Plain text of HTML: links as `text (URL)`, list items as `- item`, images as their alt text."""
    protected = protect(source)
    walker = _Walker()
    for token in read_markup(protected.text):
        walker.read(token)
    # Escaped braces of the HTML must not become Liquid in the text.
    text = walker.text().replace("{{", "{ {").replace("{%", "{ %")
    return tidy(protected.restore(text))


def text_of(source: str) -> str:
    """The bare text between the tags, for the `strip_html` filter."""
    return "".join(token.text for token in read_markup(source) if isinstance(token, Text) and not token.raw)


def tidy(text: str) -> str:
    """No runs of blank lines (a branch not taken leaves them), none at the ends."""
    return strip_blank_lines(text).strip()


def strip_blank_lines(text: str) -> str:
    """One blank line in place of each run of them."""
    return _BLANK_LINES.sub("\n\n", text)


class _Walker:
    def __init__(self) -> None:
        self._parts: list[str] = []
        self._skipping: list[str] = []
        self._links: list[tuple[str, int]] = []

    def text(self) -> str:
        """What was read, with spaces around line breaks removed."""
        return re.sub(r" *+\n *+", "\n", "".join(self._parts))

    def read(self, token: StartTag | EndTag | Text) -> None:
        """Take the next token."""
        if self._skipping:
            self._skip(token)
        elif isinstance(token, StartTag):
            self._start(token)
        elif isinstance(token, EndTag):
            self._end(token.name)
        elif not token.raw:
            self._parts.append(_SPACES.sub(" ", token.text))

    def _skip(self, token: StartTag | EndTag | Text) -> None:
        """Pass over an element that is not shown, to its own end tag."""
        if isinstance(token, StartTag) and token.name == self._skipping[0]:
            self._skipping.append(token.name)
        elif isinstance(token, EndTag) and token.name == self._skipping[0]:
            self._skipping.pop()

    def _start(self, tag: StartTag) -> None:
        attributes = tag.read_attributes()
        if tag.name not in _VOID and (tag.name in _SKIPPED or _HIDDEN.search(attributes.get("style", ""))):
            self._skipping.append(tag.name)
        elif tag.name == "a":
            self._links.append((attributes.get("href", ""), len(self._parts)))
        elif tag.name == "img":
            self._parts.append(attributes.get("alt", ""))
        else:
            self._break_before(tag.name)

    def _break_before(self, name: str) -> None:
        if name in _PARAGRAPHS:
            self._parts.append("\n\n")
        elif name == "br" or name in _BLOCKS:
            self._parts.append("\n")
        if name == "li":
            self._parts.append("- ")
        elif name == "hr":
            self._parts.append("---\n")

    def _end(self, name: str) -> None:
        if name == "a" and self._links:
            self._end_link(*self._links.pop())
        elif name in ("td", "th"):
            self._parts.append(" ")
        elif name in _PARAGRAPHS:
            self._parts.append("\n\n")
        elif name in _BLOCKS:
            self._parts.append("\n")

    def _end_link(self, href: str, start: int) -> None:
        shown = "".join(self._parts[start:]).strip()
        if not href or href.startswith("#") or href.removeprefix("mailto:").removeprefix("tel:") == shown:
            return
        self._parts.append(f" ({href})" if shown else href)
