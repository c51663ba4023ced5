import pytest

from tests.providers.made import ATTEMPT_ID, QUICK, ses_account
from tests.providers.scripted_server import reply, scripted
from waypost.providers.errors import AccountUnusableError
from waypost.providers.ses.check import describe_account, probe_message


def test_the_account_tells_its_standing_and_quota() -> None:
    body = (
        b'{"SendingEnabled": true, "ProductionAccessEnabled": false, "EnforcementStatus": "HEALTHY",'
        b'"SendQuota": {"Max24HourSend": 200, "MaxSendRate": 1, "SentLast24Hours": 3}}'
    )
    with scripted(reply(200, body)) as server:
        facts = describe_account(ses_account(server.url), QUICK)
    assert (facts.sending_enabled, facts.production_access, facts.enforcement) == (True, False, "HEALTHY")
    assert (facts.max_per_day, facts.max_per_second, facts.sent_last_day) == (200.0, 1.0, 3.0)
    assert server.requests[0].line == "GET /v2/email/account HTTP/1.1"


def test_refused_credentials_are_told_by_their_code() -> None:
    refusal = reply(403, b"{}", "x-amzn-ErrorType: UnrecognizedClientException")
    with scripted(refusal) as server, pytest.raises(AccountUnusableError) as unusable:
        describe_account(ses_account(server.url), QUICK)
    assert unusable.value.code == "UnrecognizedClientException"
    assert len(server.requests) == 1


def test_the_probe_goes_to_the_mailbox_simulator_and_carries_its_attempt() -> None:
    probe = probe_message(attempt_id=ATTEMPT_ID, from_address="a@shop.example", configuration_set="waypost")
    assert (probe.to, probe.attempt_id, probe.configuration_set) == (
        "success@simulator.amazonses.com",
        ATTEMPT_ID,
        "waypost",
    )
