from math import ceil

import pytest
from hypothesis import given
from hypothesis import strategies as st

from waypost.messaging.sms_encoding import SmsEncoding, count_segments, plain_body, suggest_replacement

_GSM = "@£$¥èéùìòÇØøÅåΔ_ΦΓΛΩΠΨΣΘΞÆæßÉ ABCabc019äöñüà"


@pytest.mark.parametrize(
    ("body", "encoding", "units", "segments"),
    [
        ("", SmsEncoding.GSM7, 0, 0),
        ("a" * 160, SmsEncoding.GSM7, 160, 1),
        ("a" * 161, SmsEncoding.GSM7, 161, 2),
        ("a" * 306, SmsEncoding.GSM7, 306, 2),
        ("a" * 307, SmsEncoding.GSM7, 307, 3),
        ("€" * 80, SmsEncoding.GSM7, 160, 1),
        ("ж" * 70, SmsEncoding.UCS2, 70, 1),
        ("ж" * 71, SmsEncoding.UCS2, 71, 2),
        ("ж" * 134, SmsEncoding.UCS2, 134, 2),
        ("😀" * 35, SmsEncoding.UCS2, 70, 1),
    ],
)
def test_segments_are_counted_as_they_are_billed(body: str, encoding: SmsEncoding, units: int, segments: int) -> None:
    count = count_segments(body)
    assert (count.encoding, count.units, count.segments) == (encoding, units, segments)


def test_a_pair_is_never_split_over_two_segments() -> None:
    assert count_segments("a" * 152 + "€" + "a" * 152).segments == 3
    assert count_segments("ж" * 66 + "😀" + "ж" * 66).segments == 3


def test_the_characters_that_force_ucs2_are_named_in_order() -> None:
    assert count_segments("It’s “so” ’").forcing == ("’", "“", "”")


def test_a_curly_apostrophe_has_a_plain_one_to_stand_for_it() -> None:
    assert suggest_replacement("’") == "'"
    assert suggest_replacement("ж") is None
    assert count_segments(plain_body("It’s “so” …\u00a0ok")).encoding is SmsEncoding.GSM7


@given(st.text(alphabet=_GSM, max_size=1_000))
def test_plain_gsm_text_takes_the_arithmetic_number_of_segments(body: str) -> None:
    count = count_segments(body)
    assert count.encoding is SmsEncoding.GSM7
    assert count.segments == (min(len(body), 1) if len(body) <= 160 else ceil(len(body) / 153))


@given(st.text(max_size=400), st.text(max_size=50))
def test_more_text_never_takes_fewer_segments(body: str, more: str) -> None:
    assert count_segments(body + more).segments >= count_segments(body).segments


@given(st.text(max_size=400))
def test_ucs2_units_are_those_of_utf16(body: str) -> None:
    count = count_segments(body)
    if count.encoding is SmsEncoding.UCS2:
        assert count.units == len(body.encode("utf-16-le", "surrogatepass")) // 2
    assert (count.encoding is SmsEncoding.UCS2) == bool(count.forcing)
