"""What HTML or MJML may ask of the native parsers, checked before they see it.

css-inline and mrml recurse over the tree: 20,000 nested elements end the process with a segmentation fault, not with an
exception. Open formatting elements are built again in every paragraph, and every rule is tried on every element.
"""

from waypost.messaging.content_errors import MarkupError
from waypost.messaging.markup import EndTag, StartTag, Text, read_markup

MAX_DEPTH = 100
"""Of elements that HTML does not close by itself. Measured: 3,000 nested tables end a thread of 8 MB, 200 of 512 KB."""
MAX_ELEMENTS = 300_000
MAX_STYLE_WORK = 5_000_000
"""Declarations and rules, times elements; a large newsletter has half a million."""

_NOT_COUNTED = frozenset(
    {"area", "base", "br", "col", "embed", "hr", "img", "input", "link", "meta", "source", "track", "wbr", "html"}
    | {"p", "li", "td", "th", "tr", "tbody", "thead", "tfoot", "dt", "dd", "option", "head", "body"}
)
_FORMATTING = frozenset(
    {"a", "b", "big", "code", "em", "font", "i", "nobr", "s", "small", "strike", "strong", "tt", "u"}
)


def check_markup(source: str, *, field: str, xml: bool = False) -> None:
    """Refuse markup that is nested too deep or too costly. `xml`: `<x/>` closes itself. Raises `MarkupError`."""
    open_elements: list[str] = []
    elements = built = formatting = css = 0
    for token in read_markup(source):
        if isinstance(token, StartTag):
            elements += 1
            built += 1 + formatting
            if token.name in _NOT_COUNTED or (xml and token.attributes.endswith("/")):
                continue
            open_elements.append(token.name)
            formatting += token.name in _FORMATTING
            if len(open_elements) > MAX_DEPTH:
                raise _too_deep(source, token, field)
        # An end tag counts only for the element opened last: what it closes otherwise is up to the parser.
        elif isinstance(token, EndTag) and open_elements and open_elements[-1] == token.name:
            open_elements.pop()
            formatting -= token.name in _FORMATTING
        elif isinstance(token, Text) and token.raw:
            css += token.text.count("{") + token.text.count(";") + token.text.count(",")
    if built > MAX_ELEMENTS or css * elements > MAX_STYLE_WORK:
        raise MarkupError(
            "The markup has too many elements, or too many style rules for its elements.",
            field=field,
            bound=MAX_ELEMENTS if built > MAX_ELEMENTS else MAX_STYLE_WORK,
            hint="Remove unused rules from <style>, and close <b>, <a>, <font> and the like.",
        )


def _too_deep(source: str, tag: StartTag, field: str) -> MarkupError:
    return MarkupError(
        f"More than {MAX_DEPTH} elements are open here.",
        field=field,
        line=source.count("\n", 0, tag.start) + 1,
        bound=MAX_DEPTH,
        hint="Nest less, and close every element in the order in which they were opened.",
    )
