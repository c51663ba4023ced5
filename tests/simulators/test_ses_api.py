import base64
from email.message import EmailMessage
from typing import Any

import orjson
import pytest
from botocore.exceptions import ClientError

from tests.simulators.clients import Aws
from waypost.simulators.running import RunningSimulator
from waypost.simulators.truth import body_digest

TEMPLATE: Any = {
    "TemplateContent": {"Subject": "Hi {{name}}", "Html": "<b>{{name}}</b>", "Text": "Hi {{name}}"},
    "TemplateData": '{"name": "nobody"}',
}


def newest(simulator: RunningSimulator, key: str) -> dict[str, Any]:
    return next(each for each in simulator.control.inbox(limit=50) if each["account"] == key)


def refused(error: pytest.ExceptionInfo[ClientError]) -> tuple[str, int]:
    response = error.value.response
    return response["Error"]["Code"], response["ResponseMetadata"]["HTTPStatusCode"]


def test_an_accepted_email_is_in_the_truth_log_with_its_attempt_and_body_hash(
    simulator: RunningSimulator, aws: Aws
) -> None:
    message_id = aws.send("ada@example.com", tag="0f-1")
    entry = next(each for each in simulator.control.log() if each["message_id"] == message_id)
    assert entry["recipient"] == "ada@example.com"
    assert (entry["provider"], entry["account"], entry["operation"]) == ("ses", aws.key, "SendEmail")
    assert entry["attempt_id"] == "0f-1"
    assert entry["body_sha256"] == body_digest(subject="Hello", html="<p>Hello</p>", text="Hello there")


def test_a_raw_email_is_read_into_its_parts(simulator: RunningSimulator, aws: Aws) -> None:
    mail = EmailMessage()
    mail["From"], mail["To"], mail["Subject"] = "shop@shop.example", "raw@example.com", "Grüße"
    mail["List-Unsubscribe-Post"] = "List-Unsubscribe=One-Click"
    mail.set_content("Hallo\n")
    mail.add_alternative("<p>Hallo</p>\n", subtype="html")
    mail.add_attachment(b"%PDF", maintype="application", subtype="pdf", filename="bill.pdf")
    aws.ses.send_email(Content={"Raw": {"Data": mail.as_bytes()}})
    seen = newest(simulator, aws.key)
    assert (seen["subject"], seen["text"], seen["html"]) == ("Grüße", "Hallo\n", "<p>Hallo</p>\n")
    assert seen["recipient"] == "raw@example.com"
    assert seen["attachments"] == [["bill.pdf", 4]]
    assert ["List-Unsubscribe-Post", "List-Unsubscribe=One-Click"] in seen["headers"]


def test_a_bulk_call_takes_fifty_entries_with_their_own_tags_data_and_headers(
    simulator: RunningSimulator, aws: Aws
) -> None:
    entries: Any = [
        {
            "Destination": {"ToAddresses": [f"p{n}@example.com"]},
            "ReplacementTags": [{"Name": "waypost_attempt", "Value": f"t-{n}"}],
            "ReplacementEmailContent": {
                "ReplacementTemplate": {"ReplacementTemplateData": orjson.dumps({"name": f"P{n}"}).decode()}
            },
            "ReplacementHeaders": [{"Name": "List-Unsubscribe", "Value": f"<https://u.example/{n}>"}],
        }
        for n in range(50)
    ]
    answer = aws.ses.send_bulk_email(
        FromEmailAddress="shop@shop.example",
        ConfigurationSetName="cs",
        DefaultContent={"Template": TEMPLATE},
        DefaultEmailTags=[{"Name": "source", "Value": "bulk"}],
        BulkEmailEntries=entries,
    )
    assert [each["Status"] for each in answer["BulkEmailEntryResults"]] == ["SUCCESS"] * 50
    seen = newest(simulator, aws.key)
    assert (seen["subject"], seen["html"], seen["attempt_id"]) == ("Hi P49", "<b>P49</b>", "t-49")
    assert seen["headers"] == [["List-Unsubscribe", "<https://u.example/49>"]]
    assert seen["tags"] == {"source": "bulk", "waypost_attempt": "t-49"}
    with pytest.raises(ClientError) as error:
        aws.ses.send_bulk_email(
            FromEmailAddress="s@s.example",
            DefaultContent={"Template": TEMPLATE},
            BulkEmailEntries=entries + entries[:1],
        )
    assert refused(error) == ("BadRequestException", 400)


def test_an_inline_template_with_a_missing_attribute_fails_after_acceptance(aws: Aws) -> None:
    aws.ses.send_email(
        FromEmailAddress="shop@shop.example",
        Destination={"ToAddresses": ["a@example.com"]},
        ConfigurationSetName="cs",
        Content={"Template": TEMPLATE | {"TemplateData": "{}"}},
    )
    assert [each["eventType"] for each in aws.events(1)] == ["Rendering Failure"]


def test_a_named_template_is_not_found(aws: Aws) -> None:
    with pytest.raises(ClientError) as error:
        aws.ses.send_email(
            FromEmailAddress="s@s.example",
            Destination={"ToAddresses": ["a@example.com"]},
            Content={"Template": {"TemplateName": "welcome", "TemplateData": "{}"}},
        )
    assert refused(error) == ("NotFoundException", 404)


@pytest.mark.parametrize(
    ("settings", "code", "status"),
    [
        ({"sending_enabled": False}, "SendingPausedException", 400),
        ({"suspended": True}, "AccountSuspendedException", 400),
        ({"credentials_expired": True}, "ExpiredTokenException", 403),
        ({"identities": ["other.example"]}, "MessageRejected", 400),
        ({"configuration_sets": ["other"]}, "NotFoundException", 404),
        ({"daily_quota": 0}, "LimitExceededException", 400),
        ({"secret": "another"}, "InvalidSignatureException", 403),
    ],
)
def test_an_account_refuses_as_it_is_set(
    simulator: RunningSimulator, aws: Aws, settings: dict[str, Any], code: str, status: int
) -> None:
    simulator.control.account("ses", aws.key, **settings)
    with pytest.raises(ClientError) as error:
        aws.send()
    assert refused(error) == (code, status)
    assert simulator.control.inbox(aws.key) == []


def test_a_right_signature_passes_where_the_account_has_a_secret(simulator: RunningSimulator, aws: Aws) -> None:
    simulator.control.account("ses", aws.key, secret="any")
    assert aws.send()
    assert aws.ses.get_account()["SendingEnabled"] is True
    assert len(aws.events(2)) == 2


def test_the_sending_rate_is_enforced_and_reported(simulator: RunningSimulator, aws: Aws) -> None:
    simulator.control.account("ses", aws.key, sending_rate=2, daily_quota=100)
    aws.send()
    aws.send()
    with pytest.raises(ClientError) as error:
        aws.send()
    assert refused(error) == ("TooManyRequestsException", 429)
    assert error.value.response["Error"]["Message"] == "Maximum sending rate exceeded."
    quota = aws.ses.get_account()["SendQuota"]
    assert quota == {"Max24HourSend": 100.0, "MaxSendRate": 2.0, "SentLast24Hours": 2.0}


def test_entries_over_the_rate_are_throttled_one_by_one(simulator: RunningSimulator, aws: Aws) -> None:
    simulator.control.account("ses", aws.key, sending_rate=2)
    entries: Any = [{"Destination": {"ToAddresses": [f"p{n}@example.com"]}} for n in range(3)]
    answer = aws.ses.send_bulk_email(
        FromEmailAddress="s@s.example", DefaultContent={"Template": TEMPLATE}, BulkEmailEntries=entries
    )
    assert [each["Status"] for each in answer["BulkEmailEntryResults"]] == ["SUCCESS", "SUCCESS", "ACCOUNT_THROTTLED"]


@pytest.mark.parametrize(
    ("to", "tag", "code"),
    [
        ("message-rejected+x@example.com", "a", "MessageRejected"),
        ("no-domain", "a", "BadRequestException"),
        ("a@example.com", "not allowed", "BadRequestException"),
    ],
)
def test_bad_addresses_and_tags_are_refused(aws: Aws, to: str, tag: str, code: str) -> None:
    with pytest.raises(ClientError) as error:
        aws.send(to, tag=tag)
    assert refused(error) == (code, 400)


def test_attachments_and_headers_of_simple_content_are_kept(simulator: RunningSimulator, aws: Aws) -> None:
    aws.ses.send_email(
        FromEmailAddress="s@s.example",
        Destination={"ToAddresses": ["a@example.com"]},
        Content={
            "Simple": {
                "Subject": {"Data": "Bill"},
                "Body": {"Text": {"Data": "see below"}},
                "Headers": [{"Name": "X-Order", "Value": "7"}],
                "Attachments": [{"FileName": "a.txt", "RawContent": b"x" * 30, "ContentType": "text/plain"}],
            }
        },
    )
    seen = newest(simulator, aws.key)
    assert seen["headers"] == [["X-Order", "7"]]
    assert seen["attachments"] == [["a.txt", len(base64.b64encode(b"x" * 30)) * 3 // 4]]
