import pydantic
import pytest
from hypothesis import given
from hypothesis import strategies as st

from waypost.messaging.addresses import (
    EmailAddress,
    PhoneNumber,
    TimeZone,
    address_key,
    email_key,
    locale_chain,
    normalise_address,
    normalise_email,
    normalise_locale,
    normalise_phone,
    normalise_time_zone,
)
from waypost.messaging.content_errors import AddressError
from waypost.messaging.values import Channel


@pytest.mark.parametrize(
    ("given_address", "stored"),
    [
        ("Ann.Lee@EXAMPLE.com", "Ann.Lee@example.com"),
        (" ann@example.com ", "ann@example.com"),
        ("ann+tag@example.com", "ann+tag@example.com"),
        ("ann@münchen.de", "ann@xn--mnchen-3ya.de"),
        ("success@simulator.amazonses.com", "success@simulator.amazonses.com"),
        ("ann@shop.test", "ann@shop.test"),
    ],
)
def test_an_email_keeps_its_local_part_and_gets_an_ascii_lower_case_domain(given_address: str, stored: str) -> None:
    assert normalise_email(given_address) == stored


@pytest.mark.parametrize(
    "address",
    [
        *("", "ann", "ann@", "@example.com", "Ann <ann@example.com>", "ann@example.com\r\nBcc: eve@example.com"),
        *("ann@example.com\n", "ann@exa\x00mple.com", "änn@example.com", "a@b.c, d@e.f", "a" * 300 + "@example.com"),
    ],
)
def test_what_is_no_email_is_refused_without_being_repeated(address: str) -> None:
    with pytest.raises(AddressError) as caught:
        normalise_email(address)
    assert caught.value.field == "email"
    assert "example.com" in (caught.value.hint or "")
    assert not address or address not in str(caught.value)


def test_two_spellings_of_a_mailbox_have_one_key() -> None:
    assert email_key("Ann@Example.COM ") == email_key("ann@example.com")


@given(st.emails(domains=st.sampled_from(["example.com", "Example.ORG", "mail.example.net"])))
def test_normalising_an_email_twice_changes_nothing_more(address: str) -> None:
    try:
        once = normalise_email(address)
    except AddressError:
        return
    assert normalise_email(once) == once
    assert email_key(once) == email_key(address)


@pytest.mark.parametrize(
    ("number", "stored"),
    [
        ("+43 664 1234567", "+436641234567"),
        ("+1 (500) 555-0006", "+15005550006"),
        ("+15005550006", "+15005550006"),
    ],
)
def test_a_phone_number_becomes_e164(number: str, stored: str) -> None:
    assert normalise_phone(number) == stored


def test_a_national_number_needs_its_region() -> None:
    assert normalise_phone("0664 1234567", "AT") == "+436641234567"
    with pytest.raises(AddressError):
        normalise_phone("0664 1234567")


@pytest.mark.parametrize("number", ["", "+1", "12345", "+1800FLOWERS", "+43 664 1234567\n", "+" + "9" * 40, "tel:+43"])
def test_what_is_no_phone_number_is_refused(number: str) -> None:
    with pytest.raises(AddressError):
        normalise_phone(number)


@given(st.integers(min_value=2_000_000_000, max_value=9_899_999_999))
def test_normalising_a_phone_number_twice_changes_nothing_more(national: int) -> None:
    try:
        once = normalise_phone(f"+1{national}")
    except AddressError:
        return
    assert normalise_phone(once) == once


def test_sms_and_whatsapp_share_the_key_of_a_number() -> None:
    assert normalise_address(Channel.SMS, "+43 664 1234567") == "+436641234567"
    assert address_key(Channel.SMS, "+436641234567") == address_key(Channel.WHATSAPP, "whatsapp:+436641234567")
    assert address_key(Channel.EMAIL, "Ann@example.com") == "ann@example.com"


def test_time_zones_are_those_of_iana() -> None:
    assert normalise_time_zone("Europe/Vienna") == "Europe/Vienna"
    for name in ("Vienna", "../../etc/passwd", "", "CEST"):
        with pytest.raises(AddressError):
            normalise_time_zone(name)


@pytest.mark.parametrize(
    ("tag", "usual"), [("EN", "en"), ("de_at", "de-AT"), ("zh-hant-tw", "zh-Hant-TW"), ("es-419", "es-419")]
)
def test_locales_get_their_usual_case(tag: str, usual: str) -> None:
    assert normalise_locale(tag) == usual
    assert normalise_locale(usual) == usual


@pytest.mark.parametrize("tag", ["", "e", "english", "de-", "de at", "de-AT-AT-AT", "\u0660\u0661"])
def test_what_is_no_locale_is_refused(tag: str) -> None:
    with pytest.raises(AddressError):
        normalise_locale(tag)


def test_content_is_looked_for_from_the_most_particular_language_to_the_default() -> None:
    assert locale_chain("zh-Hant-TW", "en") == ("zh-Hant-TW", "zh-Hant", "zh", "en")
    assert locale_chain("en-GB", "en") == ("en-GB", "en")
    assert locale_chain(None, "en") == ("en",)


class _Contact(pydantic.BaseModel):
    email: EmailAddress | None = None
    phone: PhoneNumber | None = None
    time_zone: TimeZone | None = None


def test_request_models_normalise_and_keep_the_place_of_an_error() -> None:
    assert _Contact(email="a@EXAMPLE.com").email == "a@example.com"
    with pytest.raises(pydantic.ValidationError) as caught:
        _Contact(phone="{nope}", time_zone="Mars/Olympus")
    errors = caught.value.errors()
    assert [error["loc"] for error in errors] == [("phone",), ("time_zone",)]
    assert errors[0]["type"] == "invalid_address"
    assert "E.164" in errors[0]["ctx"]["hint"]
