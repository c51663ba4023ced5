from typing import Any

import pytest
from pydantic import TypeAdapter, ValidationError

from waypost.messaging.content import Content, EmailContent, EmailTemplate, SmsContent, TemplateContent, one_locale
from waypost.messaging.values import Channel

_TEMPLATE: TypeAdapter[Any] = TypeAdapter(TemplateContent)
_CONTENT: TypeAdapter[Any] = TypeAdapter(Content)


def test_a_template_is_read_by_its_channel_with_locales_in_their_usual_case() -> None:
    template = _TEMPLATE.validate_python(
        {
            "channel": "email",
            "default_locale": "EN",
            "locales": {"en": {"subject": "Hi", "text": "Hi"}, "de_at": {"subject": "Servus", "text": "Servus"}},
        }
    )
    assert isinstance(template, EmailTemplate)
    assert set(template.locales) == {"en", "de-AT"}
    assert _TEMPLATE.validate_json(template.model_dump_json()) == template


@pytest.mark.parametrize(
    ("email", "code"),
    [
        ({"subject": "a\r\nBcc: eve@example.com", "text": "t"}, "control_character"),
        ({"subject": "a\x00", "text": "t"}, "control_character"),
        ({"subject": "a\u2028b", "text": "t"}, "control_character"),
        ({"subject": "a", "text": "t\x07"}, "control_character"),
        ({"subject": "a"}, "no_body"),
        ({"subject": "a", "html": "<p>", "mjml": "<mjml>"}, "two_bodies"),
        ({"subject": "a" * 999, "text": "t"}, "string_too_long"),
        ({"subject": "", "text": "t"}, "string_too_short"),
        ({"subject": "a", "html": "x" * 1_000_001}, "string_too_long"),
        ({"subject": "a", "text": "t", "htlm": "t"}, "extra_forbidden"),
        ({"subject": "a", "text": "\ud800"}, "string_unicode"),
    ],
)
def test_malformed_email_content_is_refused_with_a_stable_code(email: dict[str, Any], code: str) -> None:
    with pytest.raises(ValidationError) as caught:
        EmailContent.model_validate(email)
    assert [error["type"] for error in caught.value.errors()] == [code]


def test_a_template_needs_content_for_its_default_locale() -> None:
    with pytest.raises(ValidationError) as caught:
        _TEMPLATE.validate_python({"channel": "sms", "default_locale": "en", "locales": {"de": {"body": "Hallo"}}})
    assert caught.value.errors()[0]["type"] == "no_default_locale"


def test_two_spellings_of_one_language_tag_are_refused_by_name() -> None:
    locales = {"en": {"body": "Hi"}, "de-AT": {"body": "Servus"}, "de_at": {"body": "Griaß di"}}
    with pytest.raises(ValidationError) as caught:
        _TEMPLATE.validate_python({"channel": "sms", "default_locale": "en", "locales": locales})
    (error,) = caught.value.errors()
    assert (error["type"], error["msg"]) == ("locale_twice", "de-AT and de_at are the same language tag.")


def test_inline_content_is_a_template_of_one_language() -> None:
    content = _CONTENT.validate_python({"channel": "sms", "body": "Hi"})
    assert content == SmsContent(body="Hi")
    template = one_locale(content)
    assert (template.channel, template.default_locale) == (Channel.SMS, "en")


def test_content_cannot_be_changed() -> None:
    with pytest.raises(ValidationError):
        SmsContent(body="Hi").body = "Ho"  # type: ignore[misc]  # that it is frozen is the point
