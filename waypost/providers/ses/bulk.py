"""Up to fifty emails in one `SendBulkEmail`: an inline template of what they share, and each one's own values.

SES puts values in for `{{name}}`, escapes nothing and reads nothing within a value. Source: SES v2 API reference
"SendBulkEmail", "BulkEmailEntryResult"; SES developer guide "Using templates to send personalized email".
"""

from collections.abc import Hashable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import orjson

from waypost.messaging.provider import ProviderReply, RenderedMessage, ReplyKind, SharedContent, SlottedContent
from waypost.messaging.values import Channel
from waypost.providers.ses.addresses import ascii_address, encoded_words, mailbox
from waypost.providers.ses.tags import ATTEMPT_TAG

if TYPE_CHECKING:
    from mypy_boto3_sesv2.type_defs import (
        BulkEmailEntryTypeDef,
        EmailTemplateContentTypeDef,
        SendBulkEmailRequestTypeDef,
    )

MAX_ENTRIES = 50
MAX_TEMPLATE_BYTES = 1024 * 1024
MAX_VALUES_BYTES = 256 * 1024
"""Of one entry's values as JSON."""

_LONGEST_CHARACTER = 6
"""Bytes that a character takes in JSON at most (a control character's escape; UTF-8 has four)."""

_WHOLE = {
    (html, text): SharedContent(subject="{{s}}", html="{{h}}" if html else None, text="{{t}}" if text else None)
    for html in (True, False)
    for text in (True, False)
}
"""Templates for messages that are not slotted: each part is one value."""


def bulk_key(message: RenderedMessage) -> Hashable | None:
    """Messages of equal keys may share a call; None: attachments, or content beyond SES's bounds of a bulk entry."""
    if message.channel is not Channel.EMAIL or message.attachments:
        return None
    content = _content(message)
    if not (_fits_template(content.shared) and _fits_values(content)):
        return None
    return (message.from_address, message.from_name, message.reply_to, message.configuration_set, content.shared)


def check_bulk(messages: Sequence[RenderedMessage]) -> None:
    """Raise `ValueError` where the messages are not 1 to 50 of one key."""
    if not 1 <= len(messages) <= MAX_ENTRIES:
        raise ValueError(f"a bulk call has 1 to {MAX_ENTRIES} messages")
    keys = {bulk_key(message) for message in messages}
    if len(keys) > 1 or None in keys:
        raise ValueError("the messages of a bulk call must have one key")


def sendable(message: RenderedMessage) -> bool:
    """Whether SES can be told the address, which is in ASCII but for its domain."""
    try:
        ascii_address(message.to)
    except ValueError:
        return False
    return True


def bulk_request(messages: Sequence[RenderedMessage]) -> "SendBulkEmailRequestTypeDef":
    """The request of sendable messages of one key. Raises `ValueError` where the sender cannot be written in ASCII."""
    first = messages[0]
    request: SendBulkEmailRequestTypeDef = {
        "FromEmailAddress": mailbox(first.from_address, first.from_name),
        "DefaultContent": {"Template": {"TemplateContent": _template(_content(first).shared), "TemplateData": "{}"}},
        "BulkEmailEntries": [_entry(message) for message in messages],
    }
    if first.reply_to:
        request["ReplyToAddresses"] = [ascii_address(address) for address in first.reply_to]
    if first.configuration_set:
        request["ConfigurationSetName"] = first.configuration_set
    return request


def entry_replies(results: Sequence[Mapping[str, Any]] | None, wanted: int) -> list[ProviderReply]:
    """What each entry came to. SES answers in the entries' order; any other number of results tells nothing."""
    if not isinstance(results, list) or len(results) != wanted:
        return [ProviderReply(kind=ReplyKind.UNKNOWN, code="unreadable_reply")] * wanted
    return [_entry_reply(result) for result in results]


# Codes are those of `SendEmail` where both say the same. TRANSIENT_FAILURE and FAILED are the 5xx of an entry: SES says
# that it failed, not that nothing was sent.
_STATUSES = {
    "MESSAGE_REJECTED": (ReplyKind.REJECTED, "MessageRejected"),
    "MAIL_FROM_DOMAIN_NOT_VERIFIED": (ReplyKind.REJECTED, "MailFromDomainNotVerifiedException"),
    "CONFIGURATION_SET_NOT_FOUND": (ReplyKind.REJECTED, "NotFoundException"),
    "CONFIGURATION_SET_DOES_NOT_EXIST": (ReplyKind.REJECTED, "NotFoundException"),
    "TEMPLATE_NOT_FOUND": (ReplyKind.REJECTED, "NotFoundException"),
    "TEMPLATE_DOES_NOT_EXIST": (ReplyKind.REJECTED, "NotFoundException"),
    "INVALID_PARAMETER": (ReplyKind.REJECTED, "BadRequestException"),
    "INVALID_PARAMETER_VALUE": (ReplyKind.REJECTED, "BadRequestException"),
    "INVALID_SENDING_POOL_NAME": (ReplyKind.REJECTED, "INVALID_SENDING_POOL_NAME"),
    "ACCOUNT_THROTTLED": (ReplyKind.THROTTLED, "TooManyRequestsException"),
    "ACCOUNT_DAILY_QUOTA_EXCEEDED": (ReplyKind.ACCOUNT_BLOCKED, "daily_quota"),
    "ACCOUNT_SUSPENDED": (ReplyKind.ACCOUNT_BLOCKED, "AccountSuspendedException"),
    "ACCOUNT_SENDING_PAUSED": (ReplyKind.ACCOUNT_BLOCKED, "SendingPausedException"),
    "CONFIGURATION_SET_SENDING_PAUSED": (ReplyKind.ACCOUNT_BLOCKED, "ConfigurationSetSendingPausedException"),
    "TRANSIENT_FAILURE": (ReplyKind.UNKNOWN, "TRANSIENT_FAILURE"),
    "FAILED": (ReplyKind.UNKNOWN, "FAILED"),
}


def _entry_reply(result: Mapping[str, Any]) -> ProviderReply:
    status, message_id = result.get("Status"), result.get("MessageId")
    if status == "SUCCESS" and message_id:
        return ProviderReply(kind=ReplyKind.ACCEPTED, provider_message_id=message_id)
    kind, code = _STATUSES.get(str(status), (ReplyKind.UNKNOWN, "unreadable_reply"))
    return ProviderReply(kind=kind, code=code)


def _content(message: RenderedMessage) -> SlottedContent:
    """The message's slots, or its parts as one slot each."""
    if message.slotted is not None:
        return message.slotted
    parts = (("s", message.subject), ("h", message.html), ("t", message.text))
    shared = _WHOLE[message.html is not None, bool(message.text) or message.html is None]
    return SlottedContent(shared=shared, slots={name: part for name, part in parts if part is not None})


def _template(shared: SharedContent) -> "EmailTemplateContentTypeDef":
    template: EmailTemplateContentTypeDef = {"Subject": shared.subject}
    if shared.html is not None:
        template["Html"] = shared.html
    if shared.text is not None:
        template["Text"] = shared.text
    return template


def _entry(message: RenderedMessage) -> "BulkEmailEntryTypeDef":
    values = orjson.dumps(_content(message).slots).decode()
    entry: BulkEmailEntryTypeDef = {
        "Destination": {"ToAddresses": [ascii_address(message.to)]},
        "ReplacementTags": [{"Name": ATTEMPT_TAG, "Value": str(message.attempt_id)}],
        "ReplacementEmailContent": {"ReplacementTemplate": {"ReplacementTemplateData": values}},
    }
    if message.headers:
        entry["ReplacementHeaders"] = [{"Name": name, "Value": encoded_words(value)} for name, value in message.headers]
    return entry


def _fits_template(shared: SharedContent) -> bool:
    parts = (shared.subject, shared.html or "", shared.text or "")
    return _short(parts, MAX_TEMPLATE_BYTES) or sum(len(part.encode()) for part in parts) <= MAX_TEMPLATE_BYTES


def _fits_values(content: SlottedContent) -> bool:
    slots = content.slots
    return _short((*slots, *slots.values()), MAX_VALUES_BYTES // 2) or len(orjson.dumps(slots)) <= MAX_VALUES_BYTES


def _short(parts: Iterable[str], most: int) -> bool:
    """Whether they fit whatever their characters are: spares most messages the encoding."""
    return sum(map(len, parts)) * _LONGEST_CHARACTER <= most
