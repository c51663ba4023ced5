import json
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any

import pytest

from tests.providers.made import QUICK, sms, twilio_account
from tests.providers.scripted_server import Step, hang, reply, scripted
from waypost.messaging.provider import FoundMessage, LookUpError, RenderedMessage
from waypost.messaging.values import Channel
from waypost.providers.twilio.look_up import MAX_PAGES, TwilioLookUp

SINCE = datetime(2026, 11, 24, 10, 0, 0, 700_000, tzinfo=UTC)
LIST = f"/2010-04-01/Accounts/AC{'0' * 32}/Messages.json"


def _record(**changes: Any) -> dict[str, Any]:
    return {
        "sid": "SM1",
        "to": "+15551112222",
        "from": "+15553334444",
        "body": "Your code is 123456",
        "status": "queued",
        "date_created": format_datetime(SINCE),
        "date_sent": None,
        "messaging_service_sid": None,
        **changes,
    }


def _page(*records: dict[str, Any], after: str | None = None) -> Step:
    return reply(200, json.dumps({"messages": records, "next_page_uri": after, "page_size": 100}).encode())


def _find(*steps: Step, message: RenderedMessage | None = None) -> tuple[list[FoundMessage], list[str]]:
    with scripted(*steps) as server:
        look_up = TwilioLookUp(twilio_account(server.url), QUICK)
        try:
            found = look_up.find(message or sms(), since=SINCE)
        finally:
            look_up.close()
    return found, [request.line for request in server.requests]


def test_a_message_of_the_same_body_sender_and_time_is_found_though_it_still_waits() -> None:
    found, lines = _find(_page(_record()))
    assert found == [FoundMessage(provider_message_id="SM1", created_at=SINCE.replace(microsecond=0), status="queued")]
    assert lines == [f"GET {LIST}?To=%2B15551112222&PageSize=100 HTTP/1.1"]


@pytest.mark.parametrize(
    "changes",
    [
        {"body": "Your code is 123457"},
        {"from": "+15550000000"},
        {"date_created": format_datetime(SINCE - timedelta(seconds=5))},
    ],
)
def test_another_body_sender_or_time_is_no_match(changes: dict[str, Any]) -> None:
    assert _find(_page(_record(**changes)))[0] == []


def test_smart_encoding_and_trimming_do_not_hide_a_match() -> None:
    found, _ = _find(_page(_record(body="It's 5 - go")), message=sms(text="It\u2019s\u00a05 \u2013 go "))
    assert len(found) == 1


def test_a_text_without_letters_is_compared_as_it_is() -> None:
    found, _ = _find(_page(_record(body="👍", sid="SM1"), _record(body="👎", sid="SM2")), message=sms(text="👍"))
    assert [match.provider_message_id for match in found] == ["SM1"]


def test_a_messaging_service_is_matched_instead_of_the_number_it_chose() -> None:
    records = (
        _record(from_="+1999", messaging_service_sid="MG1", sid="SM1"),
        _record(messaging_service_sid="MG2", sid="SM2"),
    )
    found, _ = _find(_page(*records), message=sms(messaging_service="MG1"))
    assert [match.provider_message_id for match in found] == ["SM1"]


def test_whatsapp_is_searched_by_its_own_addresses() -> None:
    record = _record(**{"to": "whatsapp:+15551112222", "from": "whatsapp:+15553334444"})
    found, lines = _find(_page(record), message=sms(channel=Channel.WHATSAPP))
    assert len(found) == 1
    assert "To=whatsapp%3A%2B15551112222" in lines[0]


def test_further_pages_are_read_until_they_are_old_enough() -> None:
    old = _record(date_created=format_datetime(SINCE - timedelta(days=3)))
    pages = (
        _page(_record(body="other"), after=f"{LIST}?Page=1"),
        _page(_record(), old, after=f"{LIST}?Page=2"),
        _page(old, after=f"{LIST}?Page=3"),
    )
    found, lines = _find(*pages)
    assert len(found) == 1
    assert len(lines) == 3


def test_a_list_too_long_to_read_concludes_nothing() -> None:
    with pytest.raises(LookUpError, match="too_many_messages"):
        _find(_page(_record(), after=f"{LIST}?Page=1"))
    assert MAX_PAGES == 10


@pytest.mark.parametrize("step", [reply(500), reply(401), reply(200, b"<html>"), reply(200, b'{"messages": 5}'), hang])
def test_a_list_that_cannot_be_read_concludes_nothing(step: Step) -> None:
    with pytest.raises(LookUpError) as failed:
        _find(step)
    assert "+1555" not in str(failed.value)


def test_a_body_that_the_account_hides_concludes_nothing() -> None:
    with pytest.raises(LookUpError, match="body_redacted"):
        _find(_page(_record(body="")))


def test_a_record_without_a_time_concludes_nothing() -> None:
    with pytest.raises(LookUpError):
        _find(_page(_record(date_created=None)))
