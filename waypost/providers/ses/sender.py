"""One email, one `SendEmail`. Bulk sends are their own module on the same connection."""

from typing import TYPE_CHECKING

from waypost.messaging.provider import Attachment, ProviderAccount, ProviderReply, RenderedMessage, ReplyKind
from waypost.providers.deadlines import Deadlines
from waypost.providers.ses.addresses import ascii_address, encoded_words, mailbox
from waypost.providers.ses.connection import open_ses
from waypost.providers.ses.errors import classify

if TYPE_CHECKING:
    from mypy_boto3_sesv2.type_defs import (
        AttachmentTypeDef,
        BodyTypeDef,
        MessageTypeDef,
        SendEmailRequestTypeDef,
    )

ATTEMPT_TAG = "waypost_attempt"
"""The tag that brings the attempt's id back in every event; needs a configuration set with event publishing."""


class SesSender:
    """An SES account's door. Thread-safe and blocking; implements `waypost.messaging.provider.Sender`."""

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

    def close(self) -> None:
        """Give back sockets."""
        self._wire.close()


def send_request(message: RenderedMessage) -> "SendEmailRequestTypeDef":
    """The `SendEmail` request of a message. Raises `ValueError` where an address cannot be written in ASCII."""
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
