"""Short ways to a template and a context for the content tests."""

from datetime import UTC, datetime
from typing import Any

from waypost.messaging.content import EmailContent, SmsContent, WhatsappContent, one_locale
from waypost.messaging.rendering import RenderedContent, render, template_context
from waypost.messaging.templating import compile_template

NOW = datetime(2026, 3, 29, 12, 30, tzinfo=UTC)


def context(**data: Any) -> dict[str, Any]:
    """A context for one contact with the given data."""
    return template_context(
        contact={"external_id": "u-1", "email": "ann@example.com", "attributes": {"first_name": "Ann", "vip": True}},
        data=data,
        tenant={"name": "Acme"},
        message={"id": "m-1"},
        now=NOW,
        unsubscribe_url="https://u.example.com/1",
    )


def rendered(content: EmailContent | SmsContent | WhatsappContent, **data: Any) -> RenderedContent:
    """Compile and render inline content."""
    return render(compile_template(one_locale(content)), None, context(**data))


def html(source: str, **data: Any) -> str:
    """The HTML part of an email with this source."""
    return rendered(EmailContent(subject="s", html=source), **data).html or ""


def subject(source: str, **data: Any) -> str:
    """The subject of an email with this source."""
    return rendered(EmailContent(subject=source, text="t"), **data).subject


def sms(source: str, **data: Any) -> str:
    """A text message's body."""
    return rendered(SmsContent(body=source), **data).text
