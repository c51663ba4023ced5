"""MJML to HTML, once a template version."""

import re

from mjml import mjml2html

from waypost.messaging.content_errors import MarkupError
from waypost.messaging.css_inlining import inline_css, sheet_key
from waypost.messaging.html_source import ProtectedSource, protect
from waypost.messaging.markup import StartTag, Text, read_markup
from waypost.messaging.markup_bounds import check_markup

_INCLUDE = re.compile(r"<mj-include\b", re.IGNORECASE)
_POSITION = re.compile(r" in root template at position (\d+):\d+$")


def mjml_to_html(source: str, *, field: str) -> str:
    """HTML with the Liquid of the MJML still in it, and `<mj-style inline="inline">` inlined.

    Raises `MarkupError` with the line where it is known.
    """
    protected = protect(source)
    if include := _INCLUDE.search(protected.text):
        raise MarkupError(
            "mj-include is not available: a template is one document.",
            field=field,
            line=protected.line_at(include.start()),
        )
    check_markup(protected.text, field=field, xml=True)
    try:
        made = mjml2html(protected.text)
    except ValueError as error:
        raise _markup_error(str(error), protected, field) from None
    if (lost := protected.lost_in(made)) is not None:
        raise MarkupError(
            "MJML shows nothing at this place, so the Liquid here would be lost.",
            field=field,
            line=protected.line_of(lost),
            hint="Move it into or between the elements of mj-body, or into mj-raw.",
        )
    # MJML writes its own styles inline; its sheets are for clients that read <style>, and would only bloat the rest.
    return inline_css(protected.restore(made), field=field, only=_inline_sheets(protected))


def _inline_sheets(protected: ProtectedSource) -> frozenset[str]:
    sheets: set[str] = set()
    inside = False
    for token in read_markup(protected.text):
        if inside and isinstance(token, Text):
            sheets.add(sheet_key(protected.restore(token.text)))
        inside = (
            isinstance(token, StartTag)
            and token.name == "mj-style"
            and token.read_attributes().get("inline") == "inline"
        )
    return frozenset(sheets)


def _markup_error(message: str, protected: ProtectedSource, field: str) -> MarkupError:
    found = _POSITION.search(message)
    reason = message[: found.start()] if found else message.removesuffix(" in root template")
    return MarkupError(
        f"MJML: {reason}.",
        field=field,
        line=protected.line_at(int(found[1])) if found else None,
        hint="Close every element; write < and & in text as &lt; and &amp;.",
    )
