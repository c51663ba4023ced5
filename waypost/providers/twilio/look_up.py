"""Search Twilio's list for a message whose reply was lost. Implements `waypost.messaging.provider.LookUp`.

A match counts as accepted, no match helps to prove absence, so what is doubtful is `LookUpError`: nothing is concluded.
"""

import unicodedata
from datetime import datetime, timedelta
from typing import Any

from waypost.messaging.provider import FoundMessage, LookUpError, ProviderAccount, RenderedMessage
from waypost.providers.deadlines import Deadlines
from waypost.providers.twilio.errors import classify
from waypost.providers.twilio.http import open_twilio
from waypost.providers.twilio.sender import channel_address

PAGE_SIZE = 100
MAX_PAGES = 10
_ORDER_SLACK = timedelta(hours=36)
"""The list is newest first by the time of sending, not of making: read on a little past `since`."""


class TwilioLookUp:
    """Reads the account's messages. Thread-safe and blocking: one GET a page, ten pages at most."""

    def __init__(self, account: ProviderAccount, deadlines: Deadlines) -> None:
        self._client, self._http = open_twilio(account, deadlines)

    def find(self, message: RenderedMessage, *, since: datetime) -> list[FoundMessage]:
        """Messages to the same address with the same body and sender made at or after `since` (aware).

        Twilio's times are whole seconds. Raises `LookUpError` where the list could not be read whole or not compared.
        """
        try:
            records = self._records(message, since.replace(microsecond=0))
            return [_found(record) for record in records if _matches(record, message)]
        except LookUpError:
            raise
        except Exception as failure:
            raise LookUpError(classify(failure).code) from None

    def close(self) -> None:
        """Give back sockets."""
        self._http.close()

    def _records(self, message: RenderedMessage, since: datetime) -> list[Any]:
        """No filter on DateSent: a message that still waits in Twilio's queue has none and would be missed."""
        page = self._client.messages.page(to=channel_address(message.channel, message.to), page_size=PAGE_SIZE)
        kept: list[Any] = []
        for _ in range(MAX_PAGES):
            records = list(page)
            kept += [record for record in records if record.date_created >= since]
            if all(record.date_created < since - _ORDER_SLACK for record in records):
                return kept
            page = page.next_page()
            if page is None:
                return kept
        raise LookUpError("too_many_messages")


def _found(record: Any) -> FoundMessage:
    return FoundMessage(provider_message_id=record.sid, created_at=record.date_created, status=str(record.status))


def _matches(record: Any, message: RenderedMessage) -> bool:
    if message.messaging_service:
        if record.messaging_service_sid != message.messaging_service:
            return False
    elif record.from_ != channel_address(message.channel, message.from_address):
        return False
    ours, theirs = _letters(message.text), _letters(record.body or "")
    if not ours:  # emoji alone, for instance
        return message.text.strip() == (record.body or "").strip()
    if not theirs:
        raise LookUpError("body_redacted")  # the account hides bodies: it may be ours
    return ours == theirs


def _letters(text: str) -> str:
    """What Smart Encoding and trimming leave alone: letters and digits, without marks, case and punctuation."""
    return "".join(char for char in unicodedata.normalize("NFKD", text).casefold() if char.isalnum())
