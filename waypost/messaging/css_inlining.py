"""Style sheets moved into style attributes, for mail clients that drop <style>.

css-inline parses the document and writes it anew, which would move Liquid out of tables, add <tbody> inside loops and
close what a branch leaves open. So it only computes: every start tag of a copy gets a number, and what css-inline found
for that number is written into the untouched source. <style> stays for media queries and :hover.
"""

import html
import re
from collections.abc import Mapping, Sequence

import css_inline

from waypost.messaging.html_source import ProtectedSource, protect
from waypost.messaging.markup import StartTag, Text, read_markup
from waypost.messaging.markup_bounds import check_markup

_NUMBER = "data-waypost-tag"
_STYLE = re.compile(r"""(\sstyle\s*+=\s*+)(?:"([^"]*+)"|'([^']*+)'|([^\s"'>]++))""", re.IGNORECASE)
_NOT_STYLED = frozenset({"html", "head", "meta", "link", "base", "style", "script", "title"})


def inline_css(source: str, *, field: str, only: frozenset[str] | None = None) -> str:
    """The source with its style sheets inlined; HTML without <style> as it was. No I/O. Raises `MarkupError`.

    `only` names the sheets to inline by their text, white space collapsed (`sheet_key`).
    """
    if "<style" not in source.lower() or only == frozenset():
        return source
    protected = protect(source)
    check_markup(protected.text, field=field)
    tokens = list(read_markup(protected.text))
    tags = [token for token in tokens if isinstance(token, StartTag)]
    ignored = _ignored_sheets(protected, tokens, only)
    inliner = css_inline.CSSInliner(load_remote_stylesheets=False)
    styles = _read_styles(inliner.inline(_numbered(protected, tags, ignored)))
    return protected.restore(_written(protected, tags, styles))


def sheet_key(css: str) -> str:
    """What a style sheet is known by: its text, white space collapsed."""
    return " ".join(css.split())


def _ignored_sheets(
    protected: ProtectedSource, tokens: Sequence[object], only: frozenset[str] | None
) -> frozenset[int]:
    """Where style elements start that stay as they are: not asked for, or with branches, which have no one meaning."""
    found: set[int] = set()
    sheet: StartTag | None = None
    for token in tokens:
        if isinstance(token, Text) and token.raw and sheet is not None:
            branched = any(protected.is_tag(int(word[1])) for word in protected.word.finditer(token.text))
            if branched or (only is not None and sheet_key(protected.restore(token.text)) not in only):
                found.add(sheet.start)
        sheet = token if isinstance(token, StartTag) and token.name == "style" else None
    return frozenset(found)


def _numbered(protected: ProtectedSource, tags: list[StartTag], ignored: frozenset[int]) -> str:
    parts: list[str] = []
    at = 0
    for number, tag in enumerate(tags):
        attributes = _without_liquid_style(protected, tag.attributes).removesuffix("/")
        if tag.start in ignored:
            attributes += ' data-css-inline="ignore"'
        parts += [protected.text[at : tag.start], f'<{tag.written_name}{attributes} {_NUMBER}="{number}">']
        at = tag.end
    return "".join([*parts, protected.text[at:]])


def _without_liquid_style(protected: ProtectedSource, attributes: str) -> str:
    style = _STYLE.search(attributes)
    if style is None or not protected.word.search(style[0]):
        return attributes
    return attributes[: style.start()] + attributes[style.end() :]


def _read_styles(inlined: str) -> Mapping[int, str]:
    """The style that css-inline gave to each numbered tag."""
    styles: dict[int, str] = {}
    for token in read_markup(inlined):
        if isinstance(token, StartTag) and token.name not in _NOT_STYLED:
            found = token.read_attributes()
            if _NUMBER in found and found.get("style"):
                styles[int(found[_NUMBER])] = found["style"]
    return styles


def _written(protected: ProtectedSource, tags: list[StartTag], styles: Mapping[int, str]) -> str:
    parts: list[str] = []
    at = 0
    for number, tag in enumerate(tags):
        if number in styles:
            parts += [protected.text[at : tag.start], _styled(protected, tag, styles[number])]
            at = tag.end
    return "".join([*parts, protected.text[at:]])


def _styled(protected: ProtectedSource, tag: StartTag, style: str) -> str:
    value = html.escape(style, quote=True)
    own = _STYLE.search(tag.attributes)
    if own is None:
        slash = " /" if tag.attributes.endswith("/") else ""
        return f'<{tag.written_name}{tag.attributes.removesuffix("/").rstrip()} style="{value}"{slash}>'
    if protected.word.search(own[0]):
        # The element's own style holds Liquid, was not seen by css-inline, and wins over the sheet by coming last.
        value = f"{value.rstrip('; ')};{(own[2] or own[3] or own[4] or '').replace(chr(34), '&quot;')}"
    before, after = tag.attributes[: own.start()], tag.attributes[own.end() :]
    return f'<{tag.written_name}{before} style="{value}"{after}>'
