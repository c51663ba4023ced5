"""Style sheets moved into style attributes, for mail clients that drop <style>.

css-inline parses the document and writes it anew, which would move Liquid out of tables, add <tbody> inside loops and
close what a branch leaves open. So it only computes: every start tag of a copy gets a number, and what css-inline found
for that number is written into the untouched source. <style> stays for media queries and :hover.
"""

import html
import re
from collections.abc import Iterator
from html.parser import HTMLParser

import css_inline

from waypost.messaging.html_source import ProtectedSource, protect

_NUMBER = "data-waypost-tag"
_START_TAG = re.compile(r"<([a-zA-Z][^\s/>]*+)((?:[^>\"']++|\"[^\"]*+\"|'[^']*+')*+)>")
_STYLE = re.compile(r"""(\sstyle\s*+=\s*+)(?:"([^"]*+)"|'([^']*+)'|([^\s"'>]++))""", re.IGNORECASE)
_RAW_TEXT = frozenset({"style", "script", "title", "textarea"})
_NOT_STYLED = frozenset({"html", "head", "meta", "link", "base", "style", "script", "title"})


def inline_css(source: str) -> str:
    """The source with its style sheets inlined. HTML without <style> comes back as it was. No I/O."""
    if "<style" not in source.lower():
        return source
    protected = protect(source)
    tags = list(_start_tags(protected.text))
    styles = _computed_styles(protected, tags)
    return protected.restore(_written(protected, tags, styles))


def _start_tags(text: str) -> Iterator[re.Match[str]]:
    """Every start tag outside comments and raw text, in order."""
    at = text.find("<")
    while at >= 0:
        if text.startswith("<!--", at):
            end = text.find("-->", at)
        elif tag := _START_TAG.match(text, at):
            yield tag
            name = tag[1].lower()
            end = _end_of_raw_text(text, name, tag.end()) if name in _RAW_TEXT else tag.end() - 1
        elif text[at + 1 : at + 2].isalpha():
            return  # An open quote or bracket to the end of the document: nothing after it is a tag.
        else:
            end = at
        if end < 0:
            return
        at = text.find("<", end + 1)


def _end_of_raw_text(text: str, name: str, start: int) -> int:
    found = re.compile(f"</{name}", re.IGNORECASE).search(text, start)
    return found.start() if found else -1


def _computed_styles(protected: ProtectedSource, tags: list[re.Match[str]]) -> dict[int, str]:
    inliner = css_inline.CSSInliner(load_remote_stylesheets=False)
    reader = _StyleReader()
    reader.feed(inliner.inline(_numbered(protected, tags)))
    reader.close()
    return reader.styles


def _numbered(protected: ProtectedSource, tags: list[re.Match[str]]) -> str:
    parts: list[str] = []
    at = 0
    for number, tag in enumerate(tags):
        attributes = _without_liquid_style(protected, tag[2]).removesuffix("/")
        # A branch in CSS has no single meaning to inline; such a sheet is left to clients that read <style>.
        if tag[1].lower() == "style" and _has_branch(protected, tag.end()):
            attributes += ' data-css-inline="ignore"'
        parts += [protected.text[at : tag.start()], f'<{tag[1]}{attributes} {_NUMBER}="{number}">']
        at = tag.end()
    return "".join([*parts, protected.text[at:]])


def _has_branch(protected: ProtectedSource, start: int) -> bool:
    sheet = protected.text[start : _end_of_raw_text(protected.text, "style", start)]
    return any(protected.is_tag(int(found[1])) for found in protected.word.finditer(sheet))


def _without_liquid_style(protected: ProtectedSource, attributes: str) -> str:
    style = _STYLE.search(attributes)
    if style is None or not protected.word.search(style[0]):
        return attributes
    return attributes[: style.start()] + attributes[style.end() :]


class _StyleReader(HTMLParser):
    """Reads the style of every numbered tag in css-inline's output."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.styles: dict[int, str] = {}

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note the style of one start tag."""
        found = dict(attrs)
        if (number := found.get(_NUMBER)) and (style := found.get("style")) and tag not in _NOT_STYLED:
            self.styles[int(number)] = style


def _written(protected: ProtectedSource, tags: list[re.Match[str]], styles: dict[int, str]) -> str:
    parts: list[str] = []
    at = 0
    for number, tag in enumerate(tags):
        if number in styles:
            parts += [protected.text[at : tag.start()], _styled(protected, tag, styles[number])]
            at = tag.end()
    return "".join([*parts, protected.text[at:]])


def _styled(protected: ProtectedSource, tag: re.Match[str], style: str) -> str:
    attributes = tag[2]
    value = html.escape(style, quote=True)
    own = _STYLE.search(attributes)
    if own is None:
        slash = "/" if attributes.endswith("/") else ""
        return f'<{tag[1]}{attributes.removesuffix("/").rstrip()} style="{value}"{" " + slash if slash else ""}>'
    if protected.word.search(own[0]):
        # The element's own style holds Liquid, was not seen by css-inline, and wins over the sheet by coming last.
        value = f"{value.rstrip('; ')};{(own[2] or own[3] or own[4] or '').replace(chr(34), '&quot;')}"
    return f'<{tag[1]}{attributes[: own.start()]} style="{value}"{attributes[own.end() :]}>'
