"""The last messages with their content and events, for people to look at."""

import time
from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import islice

MAX_EVENTS_SHOWN = 50
MAX_CHARACTERS = 64 * 1024 * 1024
STATUS_WORDS = {
    "Send": "sent",
    "Delivery": "delivered",
    "DeliveryDelay": "delayed",
    "Open": "opened",
    "Click": "clicked",
    "Bounce": "bounced",
    "Complaint": "complained",
    "Reject": "rejected",
    "Rendering Failure": "not rendered",
}
"""SES's event types in the words that Twilio's statuses share."""

CLIMB = ("accepted", "queued", "sent", "delayed", "delivered", "read", "opened", "clicked")
"""From least to most; all else (failures) counts as more."""


@dataclass(slots=True)
class InboxMessage:
    """One accepted message as a person sees it."""

    provider: str
    account: str
    message_id: str
    channel: str
    source: str
    recipient: str
    subject: str = ""
    html: str = ""
    text: str = ""
    headers: list[tuple[str, str]] = field(default_factory=list)
    attachments: list[tuple[str, int]] = field(default_factory=list)
    tags: dict[str, str] = field(default_factory=dict)
    attempt_id: str | None = None
    inbound: bool = False
    at: float = field(default_factory=time.time)
    events: list[tuple[float, str]] = field(default_factory=list)

    @property
    def characters(self) -> int:
        """About what it takes in memory."""
        return len(self.html) + len(self.text) + len(self.subject)

    @property
    def status(self) -> str:
        """The furthest event so far."""
        if self.inbound:
            return "received"
        words = (STATUS_WORDS.get(kind, kind) for _, kind in self.events)
        return max(words, key=rank, default="accepted")

    def holds(self, words: str) -> bool:
        """Whether every word occurs somewhere a person would look."""
        held = f"{self.recipient} {self.source} {self.subject} {self.message_id} {self.attempt_id} {self.text}".lower()
        return all(word in held for word in words.lower().split())


def rank(status: str) -> int:
    """How far a status is."""
    return CLIMB.index(status) if status in CLIMB else len(CLIMB)


class Inbox:
    """A ring bounded in messages and in characters; the oldest messages go."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._messages: OrderedDict[str, InboxMessage] = OrderedDict()
        self._characters = 0

    def __len__(self) -> int:
        return len(self._messages)

    def add(self, message: InboxMessage) -> None:
        """Keep a message."""
        self._messages[message.message_id] = message
        self._characters += message.characters
        while len(self._messages) > self._size or self._characters > MAX_CHARACTERS:
            _, oldest = self._messages.popitem(last=False)
            self._characters -= oldest.characters

    def note(self, message_id: str, kind: str) -> None:
        """Add an event to a message that is still here."""
        message = self._messages.get(message_id)
        if message is not None and len(message.events) < MAX_EVENTS_SHOWN:
            message.events.append((time.time(), kind))

    def get(self, message_id: str) -> InboxMessage | None:
        """One message."""
        return self._messages.get(message_id)

    def search(self, words: str, *, channel: str = "", status: str = "", skip: int, limit: int) -> list[InboxMessage]:
        """Newest first."""
        return list(islice(self._matching(words, channel, status), skip, skip + limit))

    def conversation(self, number: str, *, limit: int) -> list[InboxMessage]:
        """The last text messages to and from one number, oldest first."""
        texts = (
            each
            for each in reversed(self._messages.values())
            if each.provider == "twilio" and number in (each.recipient, each.source)
        )
        return list(islice(texts, limit))[::-1]

    def _matching(self, words: str, channel: str, status: str) -> Iterator[InboxMessage]:
        for message in reversed(self._messages.values()):
            if channel and message.channel != channel:
                continue
            if status and message.status != status:
                continue
            if not words or message.holds(words):
                yield message
