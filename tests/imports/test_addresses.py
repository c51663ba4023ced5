"""The fast ways give the very answers of the libraries."""

from __future__ import annotations

from collections.abc import Callable
from itertools import product

import phonenumbers
from hypothesis import given, settings
from hypothesis import strategies as st

from waypost.imports import addresses as fast
from waypost.messaging import addresses as slow
from waypost.messaging.content_errors import AddressError

CODES = sorted(phonenumbers.COUNTRY_CODE_TO_REGION_CODE)
DOMAINS = ["example.com", "Bücher.example", "x.test", "localhost", "a..b", "-a.com", "EXAMPLE.Org", "1.2.3.4", "a" * 64]
LOCAL = st.text("abZ09.!#+-_=~'\"ä @", min_size=0, max_size=70)


def answer(normalise: Callable[[str], str], text: str) -> str | None:
    try:
        return normalise(text)
    except AddressError:
        return None


@settings(max_examples=400, deadline=None)
@given(local=LOCAL, domain=st.sampled_from(DOMAINS) | st.text("abZ09.-ä", min_size=1, max_size=80))
def test_an_email_address_is_the_same_by_both_ways(local: str, domain: str) -> None:
    address = f"{local}@{domain}"
    assert answer(fast.email, address) == answer(slow.normalise_email, address)


@settings(max_examples=1_500, deadline=None)
@given(code=st.sampled_from(CODES), national=st.text("0123456789", min_size=3, max_size=13))
def test_a_phone_number_is_the_same_by_both_ways(code: int, national: str) -> None:
    number = f"+{code}{national}"
    assert answer(fast.phone, number) == answer(slow.normalise_phone, number)


def test_every_country_is_the_same_by_both_ways_whatever_a_number_begins_with() -> None:
    for code, first, length in product(CODES, "0123456789", (4, 8, 9, 10)):
        number = f"+{code}{first}{'2345678901'[: length - 1]}"
        assert answer(fast.phone, number) == answer(slow.normalise_phone, number)


def test_a_number_as_people_write_it_goes_the_long_way() -> None:
    for number in ("+43 (664) 123-4567", " +436641234567 ", "0664 1234567", "+", "+999123456", "", "x" * 40):
        assert answer(fast.phone, number) == answer(slow.normalise_phone, number)


def test_an_address_that_the_api_would_not_take_for_its_length_is_refused() -> None:
    assert answer(fast.email, "a@example.com" + " " * 320) is None
