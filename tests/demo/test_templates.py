from datetime import UTC, datetime

import pytest
from pydantic import TypeAdapter

from waypost.demo import templates
from waypost.demo.people import people
from waypost.demo.shop import Shop
from waypost.messaging.content import TemplateContent
from waypost.messaging.rendering import RenderedContent, render, template_context
from waypost.messaging.sms_encoding import SmsEncoding, count_segments
from waypost.messaging.templating import compile_template

_CONTENT: TypeAdapter[TemplateContent] = TypeAdapter(TemplateContent)
_ANN = next(people(1))


def _rendered(key: str, locale: str, *, stranger: bool = False) -> RenderedContent:
    shop = Shop("demo-abc123")
    make = {templates.RECEIPT: shop.receipt, templates.LOGIN_CODE: shop.login_code, templates.PARCEL: shop.parcel}[key]
    person = {"external_id": "x", "email": "x@example.com", "phone": None, "locale": None, "time_zone": None}
    context = template_context(
        contact=person if stranger else {**person, **_ANN.as_contact()},
        data=make(_ANN)["data"],  # type: ignore[arg-type]  # a JSON body
        tenant={"name": "demo"},
        message={"id": "m"},
        now=datetime(2026, 1, 1, tzinfo=UTC),
    )
    return render(compile_template(_CONTENT.validate_python(templates.load(key))), locale, context)


@pytest.mark.parametrize("stranger", [False, True])
@pytest.mark.parametrize("locale", ["en", "de", "fr"])
@pytest.mark.parametrize("key", [templates.RECEIPT, templates.LOGIN_CODE, templates.PARCEL])
def test_every_example_renders_in_every_language_also_for_a_bare_address(key: str, locale: str, stranger: bool) -> None:
    assert _rendered(key, locale, stranger=stranger).text


def test_a_receipt_has_a_line_an_item() -> None:
    html = _rendered(templates.RECEIPT, "en").html or ""
    assert html.count("text-align: right;") == 3  # heading, one item, total
    assert "9.00" in html


def test_a_parcels_text_is_one_segment() -> None:
    for locale in ("en", "de"):
        counted = count_segments(_rendered(templates.PARCEL, locale).text)
        assert (counted.encoding, counted.segments) == (SmsEncoding.GSM7, 1)
