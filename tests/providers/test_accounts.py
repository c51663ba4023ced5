import pytest

from tests.providers.made import QUICK, ses_account, twilio_account
from waypost.messaging.values import Mode, ProviderKind
from waypost.providers import errors
from waypost.providers.accounts import check_endpoint, open_look_up, open_sender
from waypost.providers.errors import AccountUnusableError, EndpointRefusedError, ProviderError
from waypost.providers.ses.sender import SesSender
from waypost.providers.twilio.look_up import TwilioLookUp
from waypost.providers.twilio.sender import TwilioSender


def _check(kind: ProviderKind, mode: Mode, **changes: str | None) -> None:
    values: dict[str, str | None] = {"endpoint": None, "certificate_origin": None, "queue_url": None, **changes}
    check_endpoint(
        kind=kind,
        mode=mode,
        region=values.pop("region", None) or "us-east-1",
        endpoint=values["endpoint"],
        certificate_origin=values["certificate_origin"],
        queue_url=values["queue_url"],
    )


@pytest.mark.parametrize(
    ("kind", "field", "url"),
    [
        (ProviderKind.SES, "endpoint", "https://email.us-east-1.amazonaws.com"),
        (ProviderKind.SES, "endpoint", "https://email-fips.us-east-1.amazonaws.com:443/"),
        (ProviderKind.SES, "endpoint", "https://email.cn-north-1.amazonaws.com.cn"),
        (ProviderKind.SES, "endpoint", "https://vpce-0a-1b.email.us-east-1.vpce.amazonaws.com"),
        (ProviderKind.SES, "certificate_origin", "https://sns.us-east-1.amazonaws.com"),
        (ProviderKind.SES, "queue_url", "https://sqs.us-east-1.amazonaws.com/123456789012/waypost"),
        (ProviderKind.TWILIO, "endpoint", "https://api.twilio.com"),
        (ProviderKind.TWILIO, "endpoint", "https://api.dublin.ie1.twilio.com"),
    ],
)
def test_a_live_account_may_name_its_providers_own_hosts(kind: ProviderKind, field: str, url: str) -> None:
    _check(kind, Mode.LIVE, **{field: url})


@pytest.mark.parametrize(
    ("kind", "field", "url"),
    [
        (ProviderKind.SES, "endpoint", "http://email.us-east-1.amazonaws.com"),
        (ProviderKind.SES, "endpoint", "http://127.0.0.1:8080"),
        (ProviderKind.SES, "endpoint", "https://email.us-east-1.amazonaws.com.evil.example"),
        (ProviderKind.SES, "endpoint", "https://email.us-east-1.amazonaws.com@evil.example"),
        (ProviderKind.SES, "endpoint", "https://email.us-east-1.amazonaws.com:8443"),
        (ProviderKind.SES, "endpoint", "https://email.us-east-1.amazonaws.com/path"),
        (ProviderKind.SES, "endpoint", "https://ec2-1-2-3-4.compute-1.amazonaws.com"),
        (ProviderKind.SES, "endpoint", "https://api.twilio.com"),
        (ProviderKind.SES, "endpoint", "not a url"),
        (ProviderKind.SES, "endpoint", "https://email.us-east-1.amazonaws.com:x"),
        (ProviderKind.SES, "certificate_origin", "https://bucket.s3.amazonaws.com"),
        (ProviderKind.SES, "certificate_origin", "http://sns.us-east-1.amazonaws.com"),
        (ProviderKind.SES, "queue_url", "http://127.0.0.1/1/q"),
        (ProviderKind.SES, "queue_url", "https://sns.us-east-1.amazonaws.com/1/q"),
        (ProviderKind.TWILIO, "endpoint", "https://api.twilio.com.evil.example"),
        (ProviderKind.TWILIO, "endpoint", "https://evil-api.twilio.com"),
        (ProviderKind.TWILIO, "endpoint", "https://email.us-east-1.amazonaws.com"),
    ],
)
def test_a_live_account_may_name_nothing_else(kind: ProviderKind, field: str, url: str) -> None:
    with pytest.raises(EndpointRefusedError) as refused:
        _check(kind, Mode.LIVE, **{field: url})
    assert refused.value.field == field
    assert "evil" not in refused.value.code


def test_a_test_account_may_name_any_origin_but_must_name_one() -> None:
    _check(ProviderKind.SES, Mode.TEST, endpoint="http://127.0.0.1:8080", queue_url="http://127.0.0.1:8080/1/q")
    with pytest.raises(EndpointRefusedError, match="test_account_needs_endpoint"):
        _check(ProviderKind.TWILIO, Mode.TEST)
    with pytest.raises(EndpointRefusedError, match="endpoint_malformed"):
        _check(ProviderKind.SES, Mode.TEST, endpoint="ftp://127.0.0.1")


def test_a_region_that_would_change_the_host_is_refused() -> None:
    with pytest.raises(EndpointRefusedError, match="region_malformed"):
        _check(ProviderKind.SES, Mode.LIVE, region="evil.example/#")


def test_an_account_opens_its_own_adapters() -> None:
    local = "http://127.0.0.1:1"
    assert isinstance(open_sender(ses_account(local), QUICK), SesSender)
    assert isinstance(open_sender(twilio_account(local), QUICK), TwilioSender)
    assert isinstance(open_look_up(twilio_account(local), QUICK), TwilioLookUp)
    with pytest.raises(AccountUnusableError, match="no_look_up"):
        open_look_up(ses_account(local), QUICK)


def test_a_live_account_with_a_foreign_endpoint_is_not_opened() -> None:
    with pytest.raises(EndpointRefusedError):
        open_sender(ses_account("http://127.0.0.1:1", mode=Mode.LIVE), QUICK)


def test_every_error_of_the_package_has_the_one_root() -> None:
    made = [value for value in vars(errors).values() if isinstance(value, type) and issubclass(value, Exception)]
    assert all(issubclass(value, ProviderError) for value in made)
