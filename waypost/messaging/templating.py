"""A template version made ready to render: MJML compiled, CSS inlined, Liquid parsed. Once a version, not a message.

`compile_template` keeps what it made, by content, within a bound of source characters.
"""

import hashlib
import html
import re
import threading
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from typing import assert_never

from waypost.messaging.content import (
    EmailContent,
    EmailTemplate,
    SmsContent,
    SmsTemplate,
    WhatsappContent,
    WhatsappTemplate,
)
from waypost.messaging.content_errors import TemplateError, TemplateSyntaxError
from waypost.messaging.css_inlining import inline_css
from waypost.messaging.html_source import protect
from waypost.messaging.liquid_dialect import LiquidText, compile_liquid
from waypost.messaging.mjml_markup import mjml_to_html
from waypost.messaging.plain_text import html_to_text
from waypost.messaging.values import Channel

AnyTemplate = EmailTemplate | SmsTemplate | WhatsappTemplate

MAX_CACHED_TEMPLATES = 512
MAX_CACHED_CHARACTERS = 8_000_000
"""Of source; a parsed template takes about ten times as much memory."""

_BODY_TAG = re.compile(r"<body\b[^>]*+>", re.IGNORECASE)
_PREHEADER = (
    '<div style="display:none;max-height:0;max-width:0;overflow:hidden;opacity:0;font-size:1px;line-height:1px;'
    'mso-hide:all">{}</div>'
)


@dataclass(frozen=True, slots=True, kw_only=True)
class CompiledContent:
    """One language. SMS and WhatsApp have `text` alone; an email without it gets its text from each rendered HTML."""

    subject: LiquidText | None
    html: LiquidText | None
    text: LiquidText | None
    text_is_derived: bool
    variables: frozenset[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class CompiledTemplate:
    """All languages of a template version. Immutable, safe to share between threads."""

    channel: Channel
    default_locale: str
    locales: Mapping[str, CompiledContent]


def compile_template(template: AnyTemplate) -> CompiledTemplate:
    """The template ready to render; kept for next time. Raises `TemplateError` with field, line and variable."""
    return _CACHE.get(template)


def content_hash(template: AnyTemplate) -> str:
    """SHA-256 in hex of a template's content: equal content, equal hash."""
    return hashlib.sha256(template.model_dump_json().encode()).hexdigest()


def variables(template: AnyTemplate) -> frozenset[str]:
    """The dotted paths that a template reads in any language, without its own locals (`data.order.id`)."""
    compiled = compile_template(template)
    return frozenset().union(*(content.variables for content in compiled.locales.values()))


class TemplateCache:
    """The compiled templates used last, bounded in number and in source characters. Safe for threads."""

    def __init__(
        self, *, max_templates: int = MAX_CACHED_TEMPLATES, max_characters: int = MAX_CACHED_CHARACTERS
    ) -> None:
        self._max_templates = max_templates
        self._max_characters = max_characters
        self._lock = threading.Lock()
        self._kept: OrderedDict[str, tuple[CompiledTemplate, int]] = OrderedDict()
        self._characters = 0

    def get(self, template: AnyTemplate) -> CompiledTemplate:
        """The compiled template, from the cache if it is there. Two threads may compile the same one at once."""
        source = template.model_dump_json()
        key = hashlib.sha256(source.encode()).hexdigest()
        with self._lock:
            if key in self._kept:
                self._kept.move_to_end(key)
                return self._kept[key][0]
        compiled = _compile(template)
        self._keep(key, compiled, len(source))
        return compiled

    def _keep(self, key: str, compiled: CompiledTemplate, characters: int) -> None:
        with self._lock:
            if key not in self._kept:
                self._kept[key] = (compiled, characters)
                self._characters += characters
            while len(self._kept) > self._max_templates or self._characters > self._max_characters:
                _, (_, dropped) = self._kept.popitem(last=False)
                self._characters -= dropped


_CACHE = TemplateCache()


def _compile(template: AnyTemplate) -> CompiledTemplate:
    return CompiledTemplate(
        channel=template.channel,
        default_locale=template.default_locale,
        locales={
            locale: _compile_content(content, f"locales.{locale}") for locale, content in template.locales.items()
        },
    )


def _compile_content(content: EmailContent | SmsContent | WhatsappContent, field: str) -> CompiledContent:
    match content:
        case EmailContent():
            return _compile_email(content, field)
        case SmsContent() | WhatsappContent():
            body = compile_liquid(content.body, field=f"{field}.body", autoescape=False)
            return CompiledContent(subject=None, html=None, text=body, text_is_derived=False, variables=body.variables)
        case _:
            assert_never(content)


def _compile_email(content: EmailContent, field: str) -> CompiledContent:
    subject = compile_liquid(content.subject, field=f"{field}.subject", autoescape=False)
    body, source = _compile_html(content, field)
    if content.text is not None:
        text: LiquidText | None = compile_liquid(content.text, field=f"{field}.text", autoescape=False)
    else:
        text = _derived_text(source, field)
    parts = [part for part in (subject, body, text) if part is not None]
    return CompiledContent(
        subject=subject,
        html=body,
        text=text,
        text_is_derived=content.text is None,
        variables=frozenset().union(*(part.variables for part in parts)),
    )


def _compile_html(content: EmailContent, field: str) -> tuple[LiquidText | None, str]:
    """The HTML part, and its source with Liquid but without preheader.

    The author's source is parsed first, so that lines in errors are the author's.
    """
    written, place = content.html, f"{field}.html"
    if content.mjml is not None:
        written, place = content.mjml, f"{field}.mjml"
    if written is None:
        return None, ""
    as_written = compile_liquid(written, field=place, autoescape=True)
    source = (inline_css if content.mjml is None else mjml_to_html)(written, field=place)
    shown = _with_preheader(source, content.preheader, field)
    return as_written if shown == written else compile_liquid(shown, field=place, autoescape=True), source


def _with_preheader(source: str, preheader: str | None, field: str) -> str:
    """The HTML with a hidden first line, which inboxes show after the subject."""
    if not preheader:
        return source
    compile_liquid(preheader, field=f"{field}.preheader", autoescape=True)
    protected = protect(preheader)
    hidden = _PREHEADER.format(protected.restore(html.escape(protected.text)))
    body = _BODY_TAG.search(source)
    at = body.end() if body else 0
    return source[:at] + hidden + source[at:]


def _derived_text(source: str, field: str) -> LiquidText | None:
    """The text part as a template of its own; None where the HTML hides half of a loop or branch from it."""
    try:
        return compile_liquid(html_to_text(source), field=f"{field}.text", autoescape=False)
    except TemplateSyntaxError:
        return None


def check_template(template: AnyTemplate) -> TemplateError | None:
    """What is wrong with a template, for callers that collect errors; None if it compiles."""
    try:
        compile_template(template)
    except TemplateError as error:
        return error
    return None
