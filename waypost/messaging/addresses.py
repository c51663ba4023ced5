"""Addresses as they are stored and compared; time zones and locales.

Email follows RFC 5321 within what SES takes: no SMTPUTF8 local part, the domain in its ASCII form. Phones are E.164.
"""

import re
from functools import cache
from typing import Annotated, assert_never
from zoneinfo import available_timezones

import phonenumbers
from email_validator import EmailNotValidError, validate_email
from pydantic import AfterValidator, StringConstraints

from waypost.messaging.content_errors import AddressError
from waypost.messaging.values import Channel

MAX_EMAIL_INPUT = 320
MAX_PHONE_INPUT = 32
MAX_TIME_ZONE = 64
MAX_LOCALE = 35
_PHONE_CHARACTERS = re.compile(r"[+0-9 ().\-/]+")
_LOCALE = re.compile(
    r"(?P<language>[a-z]{2,3})(?:-(?P<script>[a-z]{4}))?(?:-(?P<region>[a-z]{2}|[0-9]{3}))?"
    r"(?P<variants>(?:-(?:[a-z0-9]{5,8}|[0-9][a-z0-9]{3}))*)",
    re.IGNORECASE | re.ASCII,
)


def normalise_email(address: str) -> str:
    """The address to store: domain lower-case and ASCII, local part as given. No DNS. Raises `AddressError`."""
    try:
        # `.test` is let through: nobody is reachable there, and drills and demos use it.
        found = validate_email(
            address.strip(" "), check_deliverability=False, allow_smtputf8=False, test_environment=True
        )
    except EmailNotValidError:
        # The library's text may quote the address.
        raise AddressError(
            "This is not an email address that can be written to.",
            field="email",
            hint="Give one plain address such as ann@example.com, without a display name; "
            "the part before the @ must be ASCII.",
        ) from None
    return found.ascii_email or found.normalized


def email_key(address: str) -> str:
    """What two spellings of a mailbox share: casefolded whole, for suppression and de-duplication only."""
    return address.strip().casefold()


def normalise_phone(number: str, default_region: str | None = None) -> str:
    """The number as E.164. A national number needs `default_region` (ISO 3166, `AT`). Raises `AddressError`."""
    text = number.strip(" ")
    if len(text) > MAX_PHONE_INPUT or not _PHONE_CHARACTERS.fullmatch(text):
        raise _phone_error()
    try:
        parsed = phonenumbers.parse(text, default_region)
    except phonenumbers.NumberParseException:
        raise _phone_error() from None
    # "Possible" and not "valid": Twilio's test numbers (+1500555…) and freshly opened ranges are only the former.
    if not phonenumbers.is_possible_number(parsed):
        raise _phone_error()
    return phonenumbers.format_number(parsed, phonenumbers.PhoneNumberFormat.E164)


def _phone_error() -> AddressError:
    return AddressError(
        "This is not a phone number that can be written to.",
        field="phone",
        hint="Give it in E.164 form, with a plus sign and the country code: +436641234567.",
    )


def normalise_address(channel: Channel, address: str) -> str:
    """The address of that channel to store. Raises `AddressError`."""
    match channel:
        case Channel.EMAIL:
            return normalise_email(address)
        case Channel.SMS | Channel.WHATSAPP:
            return normalise_phone(address)
        case _:
            assert_never(channel)


def address_key(channel: Channel, address: str) -> str:
    """The key under which an address is suppressed. A phone number is one address for SMS and WhatsApp."""
    match channel:
        case Channel.EMAIL:
            return email_key(address)
        case Channel.SMS | Channel.WHATSAPP:
            return address.strip().removeprefix("whatsapp:")
        case _:
            assert_never(channel)


def normalise_time_zone(name: str) -> str:
    """An IANA name (`Europe/Vienna`) as given. Raises `AddressError`."""
    if name not in _time_zones():
        raise AddressError(
            "This is not a time zone of the IANA database.", field="time_zone", hint="Use a name such as Europe/Vienna."
        )
    return name


@cache
def _time_zones() -> frozenset[str]:
    return frozenset(available_timezones())


def normalise_locale(tag: str) -> str:
    """A BCP 47 tag in its usual case: `DE_at` becomes `de-AT`. Raises `AddressError`."""
    found = _LOCALE.fullmatch(tag.strip(" ").replace("_", "-")) if len(tag) <= MAX_LOCALE else None
    if found is None:
        raise AddressError(
            "This is not a BCP 47 language tag.", field="locale", hint="Use a tag such as en, de-AT or zh-Hant-TW."
        )
    parts = [found["language"].lower()]
    if found["script"]:
        parts.append(found["script"].title())
    if found["region"]:
        parts.append(found["region"].upper())
    return "-".join(parts) + found["variants"].lower()


def locale_chain(locale: str | None, default: str) -> tuple[str, ...]:
    """Where to look for content, best first: `de-AT` with default `en` gives `de-AT`, `de`, `en`."""
    parts = locale.split("-") if locale else []
    chain = ["-".join(parts[:length]) for length in range(len(parts), 0, -1)]
    return tuple(dict.fromkeys([*chain, default]))


def _email_field(address: str) -> str:
    try:
        return normalise_email(address)
    except AddressError as error:
        raise error.as_pydantic() from None


def _phone_field(number: str) -> str:
    try:
        return normalise_phone(number)
    except AddressError as error:
        raise error.as_pydantic() from None


def _time_zone_field(name: str) -> str:
    try:
        return normalise_time_zone(name)
    except AddressError as error:
        raise error.as_pydantic() from None


def _locale_field(tag: str) -> str:
    try:
        return normalise_locale(tag)
    except AddressError as error:
        raise error.as_pydantic() from None


EmailAddress = Annotated[str, StringConstraints(max_length=MAX_EMAIL_INPUT), AfterValidator(_email_field)]
"""For request models: an email address, normalised."""

PhoneNumber = Annotated[str, StringConstraints(max_length=MAX_PHONE_INPUT), AfterValidator(_phone_field)]
"""For request models: a phone number in E.164."""

TimeZone = Annotated[str, StringConstraints(max_length=MAX_TIME_ZONE), AfterValidator(_time_zone_field)]
"""For request models: an IANA time zone."""

Locale = Annotated[str, StringConstraints(max_length=MAX_LOCALE), AfterValidator(_locale_field)]
"""For request models: a BCP 47 tag."""
