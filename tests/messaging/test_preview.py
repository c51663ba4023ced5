from typing import Any

import pytest

from tests.messaging.rendering_setup import context
from waypost.messaging.content import EmailContent, SmsContent, WhatsappContent, one_locale
from waypost.messaging.preview import PreviewWarning, WarningCode, preview_warnings
from waypost.messaging.rendering import render
from waypost.messaging.templating import compile_template, variables


def _warnings(content: EmailContent | SmsContent | WhatsappContent, **data: Any) -> dict[WarningCode, PreviewWarning]:
    template = one_locale(content)
    values = context(**data)
    found = preview_warnings(render(compile_template(template), None, values), variables(template), values)
    return {warning.code: warning for warning in found}


def test_an_sms_tells_its_segments_and_what_made_it_ucs2() -> None:
    found = _warnings(SmsContent(body="It’s ж " + "x" * 70))
    assert found[WarningCode.SMS_SEGMENTS].facts == {"segments": 2, "encoding": "ucs2", "units": 77}
    assert found[WarningCode.SMS_UCS2].facts == {"characters": ["’", "ж"], "replacements": {"’": "'"}}
    assert set(_warnings(SmsContent(body="plain"))) == {WarningCode.SMS_SEGMENTS}
    assert _warnings(WhatsappContent(body="ж")) == {}


def test_a_sound_email_warns_of_nothing() -> None:
    page = '<a href="https://example.com">x</a><a href="mailto:a@example.com">y</a><img alt="" src="z">'
    assert _warnings(EmailContent(subject="s", html=page, text="t")) == {}


@pytest.mark.parametrize(
    ("email", "code"),
    [
        ({"html": "<p>x</p>"}, WarningCode.TEXT_DERIVED),
        ({"html": "<img alt='' src=x>"}, WarningCode.TEXT_MISSING),
        ({"html": '<a href="http://example.com">x</a>'}, WarningCode.LINK_NOT_HTTPS),
        ({"html": '<a href="/path">x</a>'}, WarningCode.LINK_BROKEN),
        ({"html": '<a href="https:///path">x</a>'}, WarningCode.LINK_BROKEN),
        ({"html": '<a href="javascript:x">x</a>'}, WarningCode.LINK_BROKEN),
        ({"html": '<a href="https://[x">x</a>'}, WarningCode.LINK_BROKEN),
        ({"html": "<img src=x>"}, WarningCode.IMAGE_WITHOUT_ALT),
        ({"html": "x" * 105_000}, WarningCode.SIZE_CLIPPED),
        ({"html": "x", "subject": "s" * 80}, WarningCode.SUBJECT_LONG),
        ({"html": "x{{ data.note }}"}, WarningCode.VARIABLE_EMPTY),
    ],
)
def test_an_email_warns_of_what_a_person_should_look_at(email: dict[str, Any], code: WarningCode) -> None:
    assert code in _warnings(EmailContent(**{"subject": "s", **email}), note="")


def test_empty_variables_are_named_but_not_the_sizes_of_lists() -> None:
    found = _warnings(SmsContent(body="x{{ data.a.b }}{{ data.l.size }}"), a={"b": None}, l=[1])
    assert found[WarningCode.VARIABLE_EMPTY].facts == {"variable": "data.a.b"}
