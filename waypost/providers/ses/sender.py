"""An SES account's door: one email by `SendEmail`, or many by `SendBulkEmail` (bulk.py) on the same connection."""

from collections.abc import Hashable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from waypost.messaging.provider import Attachment, ProviderAccount, ProviderReply, RenderedMessage, ReplyKind
from waypost.providers.deadlines import Deadlines
from waypost.providers.ses.addresses import ascii_address, encoded_words, mailbox
from waypost.providers.ses.bulk import bulk_key, bulk_request, check_bulk, entry_replies, sendable
from waypost.providers.ses.connection import open_ses
from waypost.providers.ses.errors import UNSENDABLE, classify
from waypost.providers.ses.tags import ATTEMPT_TAG

if TYPE_CHECKING:
    from mypy_boto3_sesv2.type_defs import (
        AttachmentTypeDef,
        BodyTypeDef,
        MessageTypeDef,
        SendEmailRequestTypeDef,
    )


class SesSender:
    """An SES account's door. Thread-safe and blocking; implements `waypost.messaging.provider.BulkSender`."""

    def __init__(self, account: ProviderAccount, deadlines: Deadlines) -> None:
        self._client, self._wire = open_ses(account, deadlines)

    def send(self, message: RenderedMessage, /) -> ProviderReply:
        """Make one `SendEmail` request, within all deadlines. Never raises for what SES does."""
        with self._wire.call() as call:
            try:
                response = self._client.send_email(**send_request(message))
            except Exception as failure:
                return classify(failure, reached_wire=call.reached_wire)
        message_id = response.get("MessageId")
        if not message_id:  # a 2xx that is not SES's: something between answered for it
            return ProviderReply(kind=ReplyKind.UNKNOWN, code="unreadable_reply")
        return ProviderReply(kind=ReplyKind.ACCEPTED, provider_message_id=message_id)

    def bulk_key(self, message: RenderedMessage, /) -> Hashable | None:
        """Messages of equal keys may share a `SendBulkEmail`; None: SES takes this one alone."""
        return bulk_key(message)

    def send_bulk(self, messages: Sequence[RenderedMessage], /) -> list[ProviderReply]:
        """Make one `SendBulkEmail` request for 1 to 50 messages of one key, within all deadlines; a reply for each.

        A reply that is lost makes each of them unknown. Raises `ValueError` for messages that do not belong together.
        """
        check_bulk(messages)
        going = [message for message in messages if sendable(message)]
        replies = iter(self._send_going(going) if going else ())
        return [next(replies) if sendable(message) else UNSENDABLE for message in messages]

    def _send_going(self, messages: Sequence[RenderedMessage]) -> list[ProviderReply]:
        with self._wire.call() as call:
            try:
                response = self._client.send_bulk_email(**bulk_request(messages))
            except Exception as failure:
                reply = classify(failure, reached_wire=call.reached_wire)
                return [replace(reply, of_whole_call=len(messages) > 1)] * len(messages)
        return entry_replies(response.get("BulkEmailEntryResults"), len(messages))

    def close(self) -> None:
        """Give back sockets."""
        self._wire.close()


def send_request(message: RenderedMessage) -> "SendEmailRequestTypeDef":
    """The `SendEmail` request of a message. Raises `ValueError` where an address cannot be written in ASCII."""
    message = message.whole()
    request: SendEmailRequestTypeDef = {
        "FromEmailAddress": mailbox(message.from_address, message.from_name),
        "Destination": {"ToAddresses": [ascii_address(message.to)]},
        "Content": {"Simple": _simple(message)},
        "EmailTags": [{"Name": ATTEMPT_TAG, "Value": str(message.attempt_id)}],
    }
    if message.reply_to:
        request["ReplyToAddresses"] = [ascii_address(address) for address in message.reply_to]
    if message.configuration_set:
        request["ConfigurationSetName"] = message.configuration_set
    return request


def _simple(message: RenderedMessage) -> "MessageTypeDef":
    """Simple content carries own headers and attachments as well, so raw MIME is never needed."""
    content: MessageTypeDef = {"Subject": {"Data": message.subject, "Charset": "UTF-8"}, "Body": _body(message)}
    if message.headers:
        content["Headers"] = [{"Name": name, "Value": encoded_words(value)} for name, value in message.headers]
    if message.attachments:
        content["Attachments"] = [_attachment(attachment) for attachment in message.attachments]
    return content


def _body(message: RenderedMessage) -> "BodyTypeDef":
    body: BodyTypeDef = {}
    if message.text or message.html is None:
        body["Text"] = {"Data": message.text, "Charset": "UTF-8"}
    if message.html is not None:
        body["Html"] = {"Data": message.html, "Charset": "UTF-8"}
    return body


def _attachment(attachment: Attachment) -> "AttachmentTypeDef":
    return {
        "RawContent": attachment.content,
        "FileName": attachment.filename,
        "ContentType": attachment.media_type,
        "ContentDisposition": "ATTACHMENT",
        "ContentTransferEncoding": "BASE64",
    }
