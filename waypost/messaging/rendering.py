"""One message's subject, HTML and text from a compiled template and its data."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from waypost.messaging.addresses import locale_chain
from waypost.messaging.content import MAX_HTML, MAX_SMS, MAX_SUBJECT, MAX_TEXT
from waypost.messaging.content_errors import RenderedContentError
from waypost.messaging.plain_text import html_to_text, tidy
from waypost.messaging.templating import CompiledContent, CompiledTemplate
from waypost.messaging.values import Channel

MAX_RENDERED_HTML = 2 * MAX_HTML

_BREAKS = re.compile("[\x00-\x20\x7f-\x9f\u2028\u2029]+")
CONTROL = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]")
"""What never stands in a body, whatever the data hold."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RenderedContent:
    """What a message says. Email has `subject` and `text`, and `html` unless it is text alone; SMS has `text`."""

    channel: Channel
    locale: str
    subject: str = field(default="", repr=False)
    html: str | None = field(default=None, repr=False)
    text: str = field(default="", repr=False)
    text_is_derived: bool = False


def template_context(
    *,
    contact: Mapping[str, Any],
    data: Mapping[str, Any],
    tenant: Mapping[str, Any],
    message: Mapping[str, Any],
    now: datetime,
    unsubscribe_url: str | None = None,
    preferences_url: str | None = None,
) -> dict[str, Any]:
    """What templates can read. `now` is aware, best in the contact's zone, and is what `"now" | date` prints.

    `contact` has external_id, email, phone, locale, time_zone and attributes; an attribute can be read without
    `attributes` too (`contact.first_name`), unless a field has its name. Without an unsubscribe URL, or a preferences
    URL, a template that prints it fails, rather than send a link to nowhere.
    """
    context: dict[str, Any] = {
        "contact": {**contact.get("attributes", {}), **contact},
        "data": data,
        "tenant": tenant,
        "message": message,
        "now": now,
    }
    if unsubscribe_url is not None:
        context["unsubscribe_url"] = unsubscribe_url
    if preferences_url is not None:
        context["preferences_url"] = preferences_url
    return context


def choose_locale(template: CompiledTemplate, locale: str | None) -> str:
    """The language to send in: the contact's, the same without its region, the template's default."""
    for candidate in locale_chain(locale, template.default_locale):
        if candidate in template.locales:
            return candidate
    return template.default_locale


def render(template: CompiledTemplate, locale: str | None, context: Mapping[str, Any]) -> RenderedContent:
    """Render one message. `context` is made by `template_context`. Raises `RenderError`."""
    chosen = choose_locale(template, locale)
    content = template.locales[chosen]
    if template.channel is Channel.EMAIL:
        return _email(content, chosen, context)
    return _short(template.channel, content, chosen, context)


def _email(content: CompiledContent, locale: str, context: Mapping[str, Any]) -> RenderedContent:
    subject = one_line(content.subject.render(context)) if content.subject else ""
    html = CONTROL.sub("", content.html.render(context)) if content.html else None
    text = _text(content, html, context)
    check_email(locale, subject=subject, html=None if html is None else Extent.of(html), text=Extent.of(text))
    return RenderedContent(
        channel=Channel.EMAIL,
        locale=locale,
        subject=subject,
        html=html,
        text=text,
        text_is_derived=content.text_is_derived,
    )


def _text(content: CompiledContent, html: str | None, context: Mapping[str, Any]) -> str:
    if content.text is None:
        return html_to_text(html or "")
    text = CONTROL.sub("", content.text.render(context))
    return tidy(text) if content.text_is_derived else text


def _short(channel: Channel, content: CompiledContent, locale: str, context: Mapping[str, Any]) -> RenderedContent:
    text = CONTROL.sub("", content.text.render(context)).strip() if content.text else ""
    _refuse_empty(Extent.of(text), f"locales.{locale}.body")
    _refuse_long(Extent.of(text), MAX_SMS, f"locales.{locale}.body")
    return RenderedContent(channel=channel, locale=locale, text=text)


def one_line(text: str) -> str:
    """White space, line breaks and control characters as single spaces: data can never begin a header."""
    return _BREAKS.sub(" ", text).strip()


@dataclass(frozen=True, slots=True, kw_only=True)
class Extent:
    """What the bounds of a rendered part are checked against."""

    length: int
    blank: bool

    @classmethod
    def of(cls, text: str) -> "Extent":
        """The extent of a whole text."""
        return cls(length=len(text), blank=not text or text.isspace())


def check_email(locale: str, *, subject: str, html: Extent | None, text: Extent) -> None:
    """Refuse an email without subject or content, or longer than it may be. Raises `RenderedContentError`."""
    line = Extent.of(subject)
    _refuse_empty(line, f"locales.{locale}.subject")
    _refuse_empty(html or text, f"locales.{locale}.{'text' if html is None else 'html'}")
    _refuse_long(line, MAX_SUBJECT, f"locales.{locale}.subject")
    if html is not None:
        _refuse_long(html, MAX_RENDERED_HTML, f"locales.{locale}.html")
    _refuse_long(text, MAX_TEXT, f"locales.{locale}.text")


def _refuse_empty(part: Extent, field: str) -> None:
    if part.blank:
        raise RenderedContentError(
            "The content is empty after rendering.", field=field, hint="Check the data and the branches it takes."
        )


def _refuse_long(part: Extent, most: int, field: str) -> None:
    if part.length > most:
        raise RenderedContentError(f"The content has more than {most} characters.", field=field, bound=most)
