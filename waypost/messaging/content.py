"""The content of a template or of one message, as it is sent to the API and stored.

Bounds are in characters unless a name says bytes. Everything may hold Liquid; templating.py compiles it.
"""

import re
from collections.abc import Mapping
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StringConstraints, field_validator, model_validator
from pydantic_core import PydanticCustomError

from waypost.messaging.addresses import Locale, normalise_locale
from waypost.messaging.content_errors import AddressError
from waypost.messaging.values import Channel

MAX_SUBJECT = 998
"""RFC 5322's line, checked again after rendering."""
MAX_HTML = 1_000_000
MAX_TEXT = 500_000
MAX_PREHEADER = 500
MAX_SMS = 1_600
"""Twilio's bound of a body, checked after rendering; the source may be longer as Liquid takes room."""
MAX_SMS_SOURCE = 10_000
MAX_LOCALES = 50

# C0 and C1 but for tab and line breaks, the line separators that some mail software breaks lines at, lone surrogates.
_CONTROL = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")
_CONTROL_OR_BREAK = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")


def has_control(text: str) -> bool:
    """Whether a body holds control characters other than tab, CR and LF."""
    return _CONTROL.search(text) is not None


def has_control_or_break(text: str) -> bool:
    """Whether a one-line value (subject, header, file name) holds any control character or line break."""
    return _CONTROL_OR_BREAK.search(text) is not None


def _body(text: str) -> str:
    if has_control(text):
        raise PydanticCustomError("control_character", "Control characters are not allowed here; remove them.")
    return text


def _line(text: str) -> str:
    if has_control_or_break(text):
        raise PydanticCustomError("control_character", "Line breaks and control characters are not allowed here.")
    return text


_ONE_LINE = AfterValidator(_line)
_MANY_LINES = AfterValidator(_body)

Line = Annotated[str, _ONE_LINE]
"""One line of text: no control characters, no line breaks. Put length bounds before it, not around it."""


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class EmailContent(_Frozen):
    """An email. Exactly one of `html` and `mjml`, or `text` alone; `text` is made from the HTML if absent."""

    channel: Literal[Channel.EMAIL] = Channel.EMAIL
    subject: Annotated[str, StringConstraints(min_length=1, max_length=MAX_SUBJECT), _ONE_LINE]
    html: Annotated[str, StringConstraints(min_length=1, max_length=MAX_HTML), _MANY_LINES] | None = None
    mjml: Annotated[str, StringConstraints(min_length=1, max_length=MAX_HTML), _MANY_LINES] | None = None
    text: Annotated[str, StringConstraints(min_length=1, max_length=MAX_TEXT), _MANY_LINES] | None = None
    preheader: Annotated[str, StringConstraints(max_length=MAX_PREHEADER), _ONE_LINE] | None = None

    @model_validator(mode="after")
    def _one_body(self) -> Self:
        if self.html is not None and self.mjml is not None:
            raise PydanticCustomError("two_bodies", "Give either html or mjml, not both.")
        if self.html is None and self.mjml is None and self.text is None:
            raise PydanticCustomError("no_body", "An email needs html, mjml or text.")
        return self


class SmsContent(_Frozen):
    """A text message."""

    channel: Literal[Channel.SMS] = Channel.SMS
    body: Annotated[str, StringConstraints(min_length=1, max_length=MAX_SMS_SOURCE), _MANY_LINES]


class WhatsappContent(_Frozen):
    """A WhatsApp message."""

    channel: Literal[Channel.WHATSAPP] = Channel.WHATSAPP
    body: Annotated[str, StringConstraints(min_length=1, max_length=MAX_SMS_SOURCE), _MANY_LINES]


Content = Annotated[EmailContent | SmsContent | WhatsappContent, Field(discriminator="channel")]
"""The content of one message in one language."""


def _usual(tag: object) -> str:
    """The tag as it will be stored; what is none is refused elsewhere."""
    try:
        return normalise_locale(str(tag))
    except AddressError:
        return str(tag)


class _Localised(_Frozen):
    default_locale: Locale

    @field_validator("locales", mode="before", check_fields=False)
    @classmethod
    def _each_tag_once(cls, locales: object) -> object:
        spelt: dict[str, str] = {}
        for tag in locales if isinstance(locales, Mapping) else ():
            first = spelt.setdefault(_usual(tag), tag)
            if first != tag:
                raise PydanticCustomError(
                    "locale_twice", "{first} and {second} are the same language tag.", {"first": first, "second": tag}
                )
        return locales

    @model_validator(mode="after")
    def _has_default(self) -> Self:
        locales: Mapping[str, object] = getattr(self, "locales", {})
        if self.default_locale not in locales:
            raise PydanticCustomError("no_default_locale", "locales must hold content for default_locale.")
        return self


class EmailTemplate(_Localised):
    """An email in each of its languages."""

    channel: Literal[Channel.EMAIL]
    locales: Annotated[dict[Locale, EmailContent], Field(min_length=1, max_length=MAX_LOCALES)]


class SmsTemplate(_Localised):
    """A text message in each of its languages."""

    channel: Literal[Channel.SMS]
    locales: Annotated[dict[Locale, SmsContent], Field(min_length=1, max_length=MAX_LOCALES)]


class WhatsappTemplate(_Localised):
    """A WhatsApp message in each of its languages."""

    channel: Literal[Channel.WHATSAPP]
    locales: Annotated[dict[Locale, WhatsappContent], Field(min_length=1, max_length=MAX_LOCALES)]


TemplateContent = Annotated[EmailTemplate | SmsTemplate | WhatsappTemplate, Field(discriminator="channel")]
"""What a template version holds."""


def one_locale(content: EmailContent | SmsContent | WhatsappContent, locale: str = "en") -> TemplateContent:
    """Inline content as a template of one language, so that both are compiled and rendered the same way."""
    match content:
        case EmailContent():
            return EmailTemplate(channel=Channel.EMAIL, default_locale=locale, locales={locale: content})
        case SmsContent():
            return SmsTemplate(channel=Channel.SMS, default_locale=locale, locales={locale: content})
        case WhatsappContent():
            return WhatsappTemplate(channel=Channel.WHATSAPP, default_locale=locale, locales={locale: content})
