"""The text part of an email, made from its HTML.

Works on finished HTML and on HTML with Liquid alike: it only walks forward and keeps all text in order, so that loops
and branches still enclose what they enclosed. (A layout engine would move or drop Liquid between table rows.)
"""

import re
from html.parser import HTMLParser

from waypost.messaging.html_source import protect

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
    walker.feed(protected.text)
    walker.close()
    # Escaped braces of the HTML must not become Liquid in the text.
    text = walker.text().replace("{{", "{ {").replace("{%", "{ %")
    return tidy(protected.restore(text))


def tidy(text: str) -> str:
    """No runs of blank lines (a branch not taken leaves them), none at the ends."""
    return _BLANK_LINES.sub("\n\n", text).strip()


class _Walker(HTMLParser):
    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self._parts: list[str] = []
        self._skipping: list[str] = []
        self._links: list[tuple[str, int]] = []

    def text(self) -> str:
        """What was read, with spaces around line breaks removed."""
        return re.sub(r" *\n *", "\n", "".join(self._parts))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Break lines, note links, skip what is not shown."""
        found = {name: value or "" for name, value in attrs}
        if self._skipping:
            if tag == self._skipping[0]:
                self._skipping.append(tag)
            return
        if tag not in _VOID and (tag in _SKIPPED or _HIDDEN.search(found.get("style", ""))):
            self._skipping.append(tag)
        elif tag == "a":
            self._links.append((found.get("href", ""), len(self._parts)))
        elif tag == "img":
            self._parts.append(found.get("alt", ""))
        else:
            self._break_before(tag)

    def _break_before(self, tag: str) -> None:
        if tag in _PARAGRAPHS:
            self._parts.append("\n\n")
        elif tag == "br" or tag in _BLOCKS:
            self._parts.append("\n")
        if tag == "li":
            self._parts.append("- ")
        elif tag == "hr":
            self._parts.append("---\n")

    def handle_endtag(self, tag: str) -> None:
        """Break lines and print the address of a link."""
        if self._skipping:
            if tag == self._skipping[0]:
                self._skipping.pop()
        elif tag == "a" and self._links:
            self._end_link(*self._links.pop())
        elif tag in ("td", "th"):
            self._parts.append(" ")
        elif tag in _PARAGRAPHS:
            self._parts.append("\n\n")
        elif tag in _BLOCKS:
            self._parts.append("\n")

    def _end_link(self, href: str, start: int) -> None:
        shown = "".join(self._parts[start:]).strip()
        if not href or href.startswith("#") or href.removeprefix("mailto:").removeprefix("tel:") == shown:
            return
        self._parts.append(f" ({href})" if shown else href)

    def handle_data(self, data: str) -> None:
        """Keep text, white space collapsed as a browser does."""
        if not self._skipping:
            self._parts.append(_SPACES.sub(" ", data))
