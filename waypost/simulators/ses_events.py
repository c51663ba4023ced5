"""SES event publishing: the JSON documents that subscribers of the topic get.

Source: AWS, "Contents of event data that Amazon SES publishes to Amazon SNS".
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import orjson

from waypost.simulators.acceptance import Acceptance, aws_timestamp
from waypost.simulators.accounts import AWS_ACCOUNT_ID, Account
from waypost.simulators.ses_lifecycle import Step

SNS_SUBJECT = "Amazon SES Email Event Notification"
USER_AGENT = "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/605.1.15 (KHTML, like Gecko)"
CLIENT_IP = "192.0.2.1"
STATUS_OF_SUBTYPE = {
    "General": ("5.1.1", "smtp; 550 5.1.1 user unknown"),
    "NoEmail": ("5.1.1", "smtp; 550 5.1.1 no such mailbox"),
    "Suppressed": (
        "5.1.1",
        "Amazon SES has suppressed sending to this address",
    ),
    "MailboxFull": ("4.2.2", "smtp; 452 4.2.2 mailbox full"),
    "MessageTooLarge": ("5.3.4", "smtp; 552 5.3.4 message too large"),
    "Undetermined": ("", ""),
}


@dataclass(frozen=True, slots=True)
class SesEvent:
    """One event of one message, not yet written as JSON."""

    sns_id: str
    step: Step
    acceptance: Acceptance
    at: float


def event_document(event: SesEvent, account: Account) -> bytes:
    """The event as SES publishes it; an identity notification where the message named no configuration set."""
    acceptance = event.acceptance
    kind = event.step.kind
    member, detail = DETAILS[kind](event)
    discriminator = "eventType" if acceptance.configuration_set else "notificationType"
    return orjson.dumps({discriminator: kind, "mail": _mail(acceptance, account), member: detail})


def _mail(acceptance: Acceptance, account: Account) -> dict[str, Any]:
    domain = acceptance.source.rpartition("@")[2].rstrip(">")
    mail: dict[str, Any] = {
        "timestamp": aws_timestamp(acceptance.at),
        "source": acceptance.source,
        "sourceArn": f"arn:aws:ses:{account.region}:{AWS_ACCOUNT_ID}:identity/{domain}",
        "sendingAccountId": AWS_ACCOUNT_ID,
        "messageId": acceptance.message_id,
        "destination": acceptance.recipients,
        "headersTruncated": False,
        "headers": [
            {"name": "From", "value": acceptance.source},
            {"name": "To", "value": ", ".join(acceptance.recipients)},
            {"name": "Subject", "value": acceptance.subject},
            {"name": "MIME-Version", "value": "1.0"},
        ],
        "commonHeaders": {
            "from": [acceptance.source],
            "to": acceptance.recipients,
            "messageId": acceptance.message_id,
            "subject": acceptance.subject,
        },
    }
    if acceptance.configuration_set:
        mail["tags"] = {
            "ses:configuration-set": [acceptance.configuration_set],
            "ses:source-ip": [CLIENT_IP],
            "ses:from-domain": [domain],
            "ses:caller-identity": ["waypost"],
        } | {name: [value] for name, value in acceptance.tags.items()}
    return mail


Detail = tuple[str, dict[str, Any]]


def _send(_: SesEvent) -> Detail:
    return "send", {}


def _delivery(event: SesEvent) -> Detail:
    return "delivery", {
        "timestamp": aws_timestamp(event.at),
        "processingTimeMillis": max(0, int((event.at - event.acceptance.at) * 1000)),
        "recipients": event.acceptance.recipients,
        "smtpResponse": "250 2.6.0 Message received",
        "reportingMTA": "a8-70.smtp-out.amazonses.com",
    }


def _bounce(event: SesEvent) -> Detail:
    status, diagnostic = STATUS_OF_SUBTYPE[event.step.bounce_subtype]
    return "bounce", {
        "bounceType": event.step.bounce_type,
        "bounceSubType": event.step.bounce_subtype,
        "bouncedRecipients": [
            {"emailAddress": each, "action": "failed", "status": status, "diagnosticCode": diagnostic}
            for each in event.acceptance.recipients
        ],
        "timestamp": aws_timestamp(event.at),
        "feedbackId": f"0100{event.sns_id}-000000",
        "reportingMTA": "dns; mail.example.com",
    }


def _complaint(event: SesEvent) -> Detail:
    return "complaint", {
        "complainedRecipients": [{"emailAddress": each} for each in event.acceptance.recipients],
        "timestamp": aws_timestamp(event.at),
        "feedbackId": f"0100{event.sns_id}-000000",
        "complaintSubType": None,
        "userAgent": USER_AGENT,
        "complaintFeedbackType": "abuse",
        "arrivalDate": aws_timestamp(event.at),
    }


def _delay(event: SesEvent) -> Detail:
    return "deliveryDelay", {
        "timestamp": aws_timestamp(event.at),
        "delayType": "TransientCommunicationFailure",
        "expirationTime": aws_timestamp(event.acceptance.at + 14 * 3600),
        "delayedRecipients": [
            {
                "emailAddress": each,
                "status": "4.4.1",
                "diagnosticCode": "smtp; 421 4.4.1 Unable to connect",
            }
            for each in event.acceptance.recipients
        ],
    }


def _open(event: SesEvent) -> Detail:
    return "open", {"ipAddress": CLIENT_IP, "timestamp": aws_timestamp(event.at), "userAgent": USER_AGENT}


def _click(event: SesEvent) -> Detail:
    return "click", {
        "ipAddress": CLIENT_IP,
        "link": event.acceptance.first_link or "https://example.com/",
        "linkTags": None,
        "timestamp": aws_timestamp(event.at),
        "userAgent": USER_AGENT,
    }


def _reject(_: SesEvent) -> Detail:
    return "reject", {"reason": "Bad content"}


def _rendering_failure(event: SesEvent) -> Detail:
    return "failure", {
        "errorMessage": "Attribute 'name' is not present in the rendering data.",
        "templateName": event.acceptance.template_name or "inline",
    }


DETAILS: dict[str, Callable[[SesEvent], Detail]] = {
    "Send": _send,
    "Delivery": _delivery,
    "Bounce": _bounce,
    "Complaint": _complaint,
    "DeliveryDelay": _delay,
    "Open": _open,
    "Click": _click,
    "Reject": _reject,
    "Rendering Failure": _rendering_failure,
}
IDENTITY_NOTIFICATIONS = frozenset({"Bounce", "Complaint", "Delivery"})
