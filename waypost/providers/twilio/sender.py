"""One SMS or WhatsApp message, one `POST Messages`."""

from datetime import timedelta
from typing import Any

from twilio.base import values

from waypost.messaging.provider import ProviderAccount, ProviderReply, RenderedMessage, ReplyKind
from waypost.messaging.values import Channel
from waypost.providers.deadlines import Deadlines
from waypost.providers.twilio.callbacks import status_url
from waypost.providers.twilio.errors import classify
from waypost.providers.twilio.http import open_twilio

MIN_VALIDITY = timedelta(seconds=1)
MAX_VALIDITY = timedelta(seconds=36_000)


class TwilioSender:
    """A Twilio account's door. Thread-safe and blocking; implements `waypost.messaging.provider.Sender`."""

    def __init__(self, account: ProviderAccount, deadlines: Deadlines) -> None:
        self._account = account
        self._client, self._http = open_twilio(account, deadlines)
        self._messages = self._client.messages

    def send(self, message: RenderedMessage, /) -> ProviderReply:
        """Make one `POST Messages` request, within all deadlines. Never raises for what Twilio does."""
        try:
            created = self._messages.create(**create_arguments(self._account, message))
        except Exception as failure:
            return classify(failure, retry_after=self._http.retry_after)
        if not created.sid:
            return ProviderReply(kind=ReplyKind.UNKNOWN, code="unreadable_reply")
        return ProviderReply(kind=ReplyKind.ACCEPTED, provider_message_id=created.sid)

    def close(self) -> None:
        """Give back sockets."""
        self._http.close()


def create_arguments(account: ProviderAccount, message: RenderedMessage) -> dict[str, Any]:
    """The SDK's arguments for a message."""
    return {
        "to": channel_address(message.channel, message.to),
        "body": message.text,
        "validity_period": values.unset if message.valid_for is None else _validity(message.valid_for),
        "status_callback": values.unset
        if account.callback_base is None
        else status_url(account.callback_base, account_id=account.id, attempt_id=message.attempt_id),
        **_from(message),
    }


def channel_address(channel: Channel, number: str) -> str:
    """The number as Twilio names it on that channel."""
    return f"whatsapp:{number}" if channel is Channel.WHATSAPP else number


def _from(message: RenderedMessage) -> dict[str, str]:
    """A messaging service chooses the number itself; naming one beside it would tie it to that one."""
    if message.messaging_service:
        return {"messaging_service_sid": message.messaging_service}
    return {"from_": channel_address(message.channel, message.from_address)}


def _validity(valid_for: timedelta) -> int:
    """Whole seconds in Twilio's range, rounded down: not a second longer than the message's own life."""
    return int(max(MIN_VALIDITY, min(MAX_VALIDITY, valid_for)).total_seconds())
