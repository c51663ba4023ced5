import pytest
from twilio.request_validator import RequestValidator

from waypost.providers.errors import SignatureError
from waypost.providers.twilio.signature import verify_signature

URL = "https://events.example.com/webhooks/a/twilio/status/b?x=%C3%A4"
PARAMS = {"MessageSid": "SM1", "MessageStatus": "delivered", "To": "+15551112222", "Body": "grün 👋"}
TOKEN = "a-token"


def _signed(url: str, params: dict[str, str] = PARAMS) -> str:
    return str(RequestValidator(TOKEN).compute_signature(url, params))


@pytest.mark.parametrize(
    "signed_url", [URL, URL.replace("example.com/", "example.com:443/")], ids=["without port", "with port"]
)
def test_what_twilio_signed_is_believed_with_and_without_the_port(signed_url: str) -> None:
    verify_signature(auth_token=TOKEN, url=URL, params=PARAMS.items(), signature=_signed(signed_url))


def test_a_url_with_its_own_port_is_believed_both_ways() -> None:
    url = "http://127.0.0.1:8080/hook"
    for signed_url in (url, "http://127.0.0.1/hook"):
        verify_signature(auth_token=TOKEN, url=url, params=PARAMS.items(), signature=_signed(signed_url))


def test_repeated_parameters_are_signed_once_and_sorted() -> None:
    params = [("A", "2"), ("A", "1"), ("A", "2")]
    signature = RequestValidator(TOKEN).compute_signature(URL, {"A": "1A2"})
    verify_signature(auth_token=TOKEN, url=URL, params=params, signature=signature)


@pytest.mark.parametrize(
    ("url", "params", "signature"),
    [
        (URL + "&y=1", PARAMS, None),
        (URL.replace("status", "inbound"), PARAMS, None),
        (URL, {**PARAMS, "MessageStatus": "failed"}, None),
        (URL, {**PARAMS, "Extra": ""}, None),
        (URL, PARAMS, ""),
        (URL, PARAMS, "é"),
    ],
)
def test_anything_changed_is_refused(url: str, params: dict[str, str], signature: str | None) -> None:
    with pytest.raises(SignatureError, match="bad_signature"):
        verify_signature(
            auth_token=TOKEN,
            url=url,
            params=params.items(),
            signature=_signed(URL) if signature is None else signature,
        )


def test_an_empty_token_refuses_even_what_it_signed() -> None:
    signature = str(RequestValidator("").compute_signature(URL, PARAMS))
    with pytest.raises(SignatureError, match="no_auth_token"):
        verify_signature(auth_token="", url=URL, params=PARAMS.items(), signature=signature)
