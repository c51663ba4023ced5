"""The answers of waypost.messaging.addresses, a million at a time: from a cache where the answer is certain.

What decides about a domain is asked of the library once; a local part that is a plain dot-atom is as it stands. A
number that begins with a plus and its country code is as it stands where no national prefix could be taken from it and
its length is one of the country's. Everything else goes the long way. Tests hold both ways against each other.
"""

import re
from functools import lru_cache

import phonenumbers
from phonenumbers import PhoneMetadata

from waypost.messaging import addresses
from waypost.messaging.content_errors import AddressError

_PLAIN_EMAIL = re.compile(
    r"(?P<local>[A-Za-z0-9_!#$%&'*+\-/=?^`{|}~]+(?:\.[A-Za-z0-9_!#$%&'*+\-/=?^`{|}~]+)*)@(?P<domain>[A-Za-z0-9.\-]+)",
    re.ASCII,
)
_MAX_LOCAL = 64
_SURELY_SHORT = 200
"""Below it no bound on a whole address can bite, whatever its domain is written as."""
_PLAIN_PHONE = re.compile(r"\+[1-9][0-9]{6,14}", re.ASCII)
_LONGEST_COUNTRY_CODE = 3


def email(address: str) -> str:
    """`normalise_email`. Raises `AddressError`."""
    if len(address) > addresses.MAX_EMAIL_INPUT:
        raise AddressError(
            "This is not an email address that can be written to.", field="email", hint="It is too long."
        )
    found = _PLAIN_EMAIL.fullmatch(address)
    if found is not None and len(address) <= _SURELY_SHORT and len(found["local"]) <= _MAX_LOCAL:
        domain = _domain(found["domain"])
        if domain is not None:
            return f"{found['local']}@{domain}"
    return addresses.normalise_email(address)


@lru_cache(maxsize=20_000)
def _domain(domain: str) -> str | None:
    """A domain as it is stored; None where the library does not take it."""
    try:
        return addresses.normalise_email(f"a@{domain}").removeprefix("a@")
    except AddressError:
        return None


def phone(number: str) -> str:
    """`normalise_phone` of a number with its country code. Raises `AddressError`."""
    text = number.strip(" ")
    if _PLAIN_PHONE.fullmatch(text) and _is_possible_as_it_stands(text):
        return text
    return addresses.normalise_phone(number)


def _is_possible_as_it_stands(number: str) -> bool:
    for length in range(1, _LONGEST_COUNTRY_CODE + 1):
        country = _country(number[1 : 1 + length])
        if country is not None:
            lengths, prefix = country
            national = number[1 + length :]
            # A leading zero is a matter of its own, and a national prefix that is there by mistake is taken away.
            return len(national) in lengths and national[0] != "0" and (prefix is None or not prefix.match(national))
    return False


@lru_cache(maxsize=1_000)
def _country(code: str) -> tuple[frozenset[int], re.Pattern[str] | None] | None:
    regions = phonenumbers.COUNTRY_CODE_TO_REGION_CODE.get(int(code))
    if regions is None:
        return None
    if regions[0] == phonenumbers.REGION_CODE_FOR_NON_GEO_ENTITY:
        metadata = PhoneMetadata.metadata_for_nongeo_region(int(code))
    else:
        metadata = PhoneMetadata.metadata_for_region(regions[0])
    if metadata is None or metadata.general_desc is None:
        return None
    prefix = metadata.national_prefix_for_parsing
    return frozenset(metadata.general_desc.possible_length), re.compile(prefix) if prefix else None


@lru_cache(maxsize=1_000)
def time_zone(name: str) -> str:
    """`normalise_time_zone`. Raises `AddressError`."""
    return addresses.normalise_time_zone(name)


@lru_cache(maxsize=1_000)
def locale(tag: str) -> str:
    """`normalise_locale`. Raises `AddressError`."""
    return addresses.normalise_locale(tag)
