"""What a person should know before a template is used: warnings, never refusals."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any
from urllib.parse import urlsplit

from waypost.messaging.markup import StartTag, read_markup
from waypost.messaging.rendering import RenderedContent
from waypost.messaging.sms_encoding import SmsEncoding, count_segments, suggest_replacement
from waypost.messaging.values import Channel

GMAIL_CLIPS_AT = 102 * 1024
LONG_SUBJECT = 78
"""Inboxes cut after 40 to 70 characters; RFC 5322 recommends lines of 78."""
MANY_SEGMENTS = 3
_MOST_OF_A_KIND = 10


class WarningCode(StrEnum):
    """Stable names of what preview notices."""

    SMS_SEGMENTS = "sms_segments"
    SMS_UCS2 = "sms_ucs2"
    TEXT_MISSING = "text_missing"
    TEXT_DERIVED = "text_derived"
    LINK_NOT_HTTPS = "link_not_https"
    LINK_BROKEN = "link_broken"
    SIZE_CLIPPED = "size_clipped"
    SUBJECT_LONG = "subject_long"
    IMAGE_WITHOUT_ALT = "image_without_alt"
    VARIABLE_EMPTY = "variable_empty"


@dataclass(frozen=True, slots=True, kw_only=True)
class PreviewWarning:
    """One thing to look at. `facts` holds numbers and names for programs."""

    code: WarningCode
    text: str
    facts: Mapping[str, Any]


def preview_warnings(
    rendered: RenderedContent, variables: frozenset[str], context: Mapping[str, Any]
) -> list[PreviewWarning]:
    """All warnings for one rendered message; `variables` and `context` are what it was rendered with."""
    if rendered.channel is Channel.EMAIL:
        found = [*_email(rendered), *_html(rendered.html or "")]
    else:
        found = list(_sms(rendered))
    return [*found, *_empty(variables, context)]


def _warn(code: WarningCode, text: str, **facts: Any) -> PreviewWarning:
    return PreviewWarning(code=code, text=text, facts=facts)


def _sms(rendered: RenderedContent) -> Iterator[PreviewWarning]:
    if rendered.channel is not Channel.SMS:
        return
    count = count_segments(rendered.text)
    yield _warn(
        WarningCode.SMS_SEGMENTS,
        f"This text takes {count.segments} segment{'s' if count.segments != 1 else ''} in {count.encoding.value}; "
        f"each is billed{' and delivery suffers past three' if count.segments > MANY_SEGMENTS else ''}.",
        segments=count.segments,
        encoding=count.encoding.value,
        units=count.units,
    )
    if count.encoding is SmsEncoding.UCS2:
        named = list(count.forcing[:_MOST_OF_A_KIND])
        replacements = {char: to for char in named if (to := suggest_replacement(char)) is not None}
        yield _warn(
            WarningCode.SMS_UCS2,
            f"{' '.join(named)} made this text UCS-2, with 70 instead of 160 characters a segment.",
            characters=named,
            replacements=replacements,
        )


def _email(rendered: RenderedContent) -> Iterator[PreviewWarning]:
    size = len((rendered.html or "").encode())
    if not rendered.text.strip():
        yield _warn(WarningCode.TEXT_MISSING, "The text part is empty; some filters and people read only that.")
    elif rendered.text_is_derived:
        yield _warn(WarningCode.TEXT_DERIVED, "The text part was made from the HTML; read it once.")
    if size > GMAIL_CLIPS_AT:
        yield _warn(
            WarningCode.SIZE_CLIPPED,
            f"The HTML has {size // 1024} KB; Gmail clips messages past 102 KB, often with the unsubscribe link.",
            bytes=size,
            bound=GMAIL_CLIPS_AT,
        )
    if len(rendered.subject) > LONG_SUBJECT:
        yield _warn(
            WarningCode.SUBJECT_LONG,
            f"The subject has {len(rendered.subject)} characters; inboxes cut it.",
            characters=len(rendered.subject),
        )


def _html(html: str) -> Iterator[PreviewWarning]:
    tags = [(token.name, token.read_attributes()) for token in read_markup(html) if isinstance(token, StartTag)]
    links = dict.fromkeys(found["href"].strip() for name, found in tags if name == "a" and "href" in found)
    for link in list(links)[: 2 * _MOST_OF_A_KIND]:
        yield from _link(link)
    bare = [found.get("src", "")[:200] for name, found in tags if name == "img" and "alt" not in found]
    for source in bare[:_MOST_OF_A_KIND]:
        yield _warn(WarningCode.IMAGE_WITHOUT_ALT, "An image has no alt text.", source=source)


def _link(link: str) -> Iterator[PreviewWarning]:
    shown = link[:200]
    try:
        parts = urlsplit(link)
    except ValueError:
        yield _warn(WarningCode.LINK_BROKEN, "A link is not a URL.", link=shown)
        return
    if parts.scheme in ("mailto", "tel", "sms") or link.startswith("#"):
        return
    if parts.scheme not in ("http", "https") or not parts.netloc:
        yield _warn(WarningCode.LINK_BROKEN, "A link has no scheme or host; it leads nowhere in a mail.", link=shown)
    elif parts.scheme == "http":
        yield _warn(WarningCode.LINK_NOT_HTTPS, "A link is not HTTPS.", link=shown)


def _empty(variables: frozenset[str], context: Mapping[str, Any]) -> Iterator[PreviewWarning]:
    for path in sorted(variables):
        value: Any = context
        for name in path.split("."):
            if not isinstance(value, Mapping):
                break  # Liquid's own properties (`size`, `first`) or a missing parent, which is reported itself
            value = value.get(name)
        if value is None or value in ("", [], {}):
            yield _warn(WarningCode.VARIABLE_EMPTY, f"{path} is empty in this preview.", variable=path)
