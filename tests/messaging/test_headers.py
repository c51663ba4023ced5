import pytest
from hypothesis import given
from hypothesis import strategies as st

from waypost.messaging.content_errors import HeaderError
from waypost.messaging.headers import MAX_HEADER_VALUE, MAX_OWN_HEADERS, validate_headers


def test_own_headers_come_back_in_order() -> None:
    assert validate_headers({"X-Order": "42", "In-Reply-To": "<a@b>"}) == (("X-Order", "42"), ("In-Reply-To", "<a@b>"))


@pytest.mark.parametrize(
    "name",
    [
        *(
            "From",
            "to",
            "CC",
            "Bcc",
            "Sender",
            "Reply-To",
            "Subject",
            "Date",
            "Message-ID",
            "MIME-Version",
            "Content-Type",
        ),
        *("content-transfer-encoding", "DKIM-Signature", "Return-Path", "List-Unsubscribe", "list-unsubscribe-post"),
        *("Received", "Resent-To", "ARC-Seal", "X-SES-CONFIGURATION-SET", "X-Waypost-Attempt"),
    ],
)
def test_headers_that_are_ours_or_the_providers_are_refused_by_name(name: str) -> None:
    with pytest.raises(HeaderError) as caught:
        validate_headers({name: "x"})
    assert caught.value.field == f"headers.{name}"


@pytest.mark.parametrize("name", ["", "X Order", "X-Order:", "X-Ördér", "X-A\r\nBcc", "-x", "x" * 127, "X-\x00"])
def test_a_malformed_name_is_refused(name: str) -> None:
    with pytest.raises(HeaderError):
        validate_headers({name: "x"})


@pytest.mark.parametrize("value", ["a\r\nBcc: eve@example.com", "a\nb", "a\rb", "a\x00", "ü", "x" * 871, "\u2028"])
def test_a_value_of_more_than_one_ascii_line_is_refused(value: str) -> None:
    with pytest.raises(HeaderError):
        validate_headers({"X-Order": value})


def test_too_many_headers_and_the_same_one_twice_are_refused() -> None:
    with pytest.raises(HeaderError) as caught:
        validate_headers({f"X-{number}": "" for number in range(MAX_OWN_HEADERS + 1)})
    assert caught.value.bound == MAX_OWN_HEADERS
    with pytest.raises(HeaderError):
        validate_headers({"X-Order": "1", "x-order": "2"})


@given(st.dictionaries(st.text(max_size=20), st.text(max_size=40), max_size=3))
def test_whatever_passes_is_one_line_of_printable_ascii(headers: dict[str, str]) -> None:
    try:
        passed = validate_headers(headers)
    except HeaderError:
        return
    for name, value in passed:
        assert f"{name}: {value}".isascii()
        assert f"{name}: {value}".isprintable()
        assert ":" not in name
        assert len(value) <= MAX_HEADER_VALUE
