"""Twilio's message resources: what its list and fetch answer from."""

import email.utils
import secrets
import time
from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from waypost.simulators.persistence import Journal
from waypost.simulators.twilio_fate import fate_of

API_VERSION = "2010-04-01"
MAX_KEPT = 100_000
GSM_SINGLE, GSM_PART, UCS_SINGLE, UCS_PART = 160, 153, 70, 67
GSM_BASIC = frozenset(
    "@£$¥èéùìòÇ\nØø\rÅåΔ_ΦΓΛΩΠΨΣΘΞÆæßÉ !\"#¤%&'()*+,-./0123456789:;<=>?¡ABCDEFGHIJKLMNOPQRSTUVWXYZÄÖÑÜ§¿"
    "abcdefghijklmnopqrstuvwxyzäöñüà^{}\\[~]|€"
)


@dataclass(slots=True)
class TwilioMessage:
    """One message; `status` moves."""

    account: str
    to: str
    sender: str
    service: str | None
    body: str
    status: str
    status_callback: str | None = None
    direction: str = "outbound-api"
    sid: str = field(default_factory=lambda: "SM" + secrets.token_hex(16))
    created_at: float = field(default_factory=time.time)
    updated_at: float = field(default_factory=time.time)
    sent_at: float | None = None
    error_code: int | None = None

    def move(self, status: str, error_code: int | None) -> None:
        """Take a new status."""
        self.status, self.error_code, self.updated_at = status, error_code, time.time()
        if self.sent_at is None and status in ("sent", "delivered", "undelivered"):
            self.sent_at = self.updated_at

    def resource(self) -> dict[str, Any]:
        """The JSON of Twilio's API."""
        uri = f"/{API_VERSION}/Accounts/{self.account}/Messages/{self.sid}"
        return {
            "sid": self.sid,
            "account_sid": self.account,
            "api_version": API_VERSION,
            "body": self.body,
            "date_created": rfc2822(self.created_at),
            "date_sent": rfc2822(self.sent_at),
            "date_updated": rfc2822(self.updated_at),
            "direction": self.direction,
            "error_code": self.error_code,
            "error_message": None,
            "from": self.sender or None,
            "messaging_service_sid": self.service,
            "num_media": "0",
            "num_segments": str(segments(self.body)),
            "price": None,
            "price_unit": "USD",
            "status": self.status,
            "subresource_uris": {"media": f"{uri}/Media.json"},
            "to": self.to,
            "uri": f"{uri}.json",
        }


JOURNALLED = (
    "account",
    "to",
    "sender",
    "service",
    "body",
    "status",
    "status_callback",
    "direction",
    "sid",
    "created_at",
)


def revived(message: TwilioMessage) -> TwilioMessage:
    """A message of an earlier process, come to the end of its statuses."""
    if message.direction == "outbound-api":
        fate = fate_of(message.to)
        message.move(fate.statuses[-1][0], fate.error_code)
        message.sent_at = message.updated_at = message.created_at
    return message


@dataclass(frozen=True, slots=True, kw_only=True)
class ListFilter:
    """Filters of Twilio's list; the times bound `date_sent`, which an unsent message does not have."""

    to: str | None = None
    sender: str | None = None
    sent_from: float | None = None
    sent_until: float | None = None

    def takes(self, message: TwilioMessage) -> bool:
        """Whether the message is in the list."""
        if (self.to is not None and message.to != self.to) or (
            self.sender is not None and message.sender != self.sender
        ):
            return False
        if self.sent_from is None and self.sent_until is None:
            return True
        sent = message.sent_at
        return (
            sent is not None
            and (self.sent_from is None or sent >= self.sent_from)
            and (self.sent_until is None or sent <= self.sent_until)
        )


class TwilioMessages:
    """The last messages of all accounts, found by sid or recipient."""

    def __init__(self, journal: Journal) -> None:
        self._journal = journal
        self._by_sid: OrderedDict[str, TwilioMessage] = OrderedDict()
        self._by_to: dict[tuple[str, str], list[TwilioMessage]] = {}

        for line in journal.read():
            self._keep(revived(TwilioMessage(**line)))

    def add(self, message: TwilioMessage) -> None:
        """Keep a message, also for the next process; the oldest goes when there are too many."""
        self._journal.write({name: getattr(message, name) for name in JOURNALLED})
        self._keep(message)

    def _keep(self, message: TwilioMessage) -> None:
        self._by_sid[message.sid] = message
        self._by_to.setdefault((message.account, message.to), []).append(message)
        if len(self._by_sid) > MAX_KEPT:
            _, oldest = self._by_sid.popitem(last=False)
            kept = self._by_to[oldest.account, oldest.to]
            kept.remove(oldest)
            if not kept:
                del self._by_to[oldest.account, oldest.to]

    def get(self, account: str, sid: str) -> TwilioMessage | None:
        """One message of an account."""
        message = self._by_sid.get(sid)
        return message if message is not None and message.account == account else None

    def find(self, account: str, wanted: ListFilter) -> Iterator[TwilioMessage]:
        """Newest first."""
        if wanted.to is not None:
            candidates: Iterator[TwilioMessage] = reversed(self._by_to.get((account, wanted.to), []))
        else:
            candidates = (each for each in reversed(self._by_sid.values()) if each.account == account)
        return (each for each in candidates if wanted.takes(each))


def rfc2822(at: float | None) -> str | None:
    """Unix seconds as Twilio writes them."""
    return None if at is None else email.utils.format_datetime(datetime.fromtimestamp(at, UTC))


def parse_moment(text: str) -> tuple[float, float]:
    """The first and last second that a DateSent value names: a day's, or the second itself. Raises `ValueError`."""
    moment = datetime.fromisoformat(text)
    start = (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
    return start, start + (timedelta(days=1).total_seconds() if len(text) == len("2026-01-01") else 1.0)


def segments(body: str) -> int:
    """How many SMS parts a body takes."""
    plain = GSM_BASIC.issuperset(body)
    single, part = (GSM_SINGLE, GSM_PART) if plain else (UCS_SINGLE, UCS_PART)
    units = len(body) + sum(body.count(each) for each in "^{}\\[~]|€") if plain else len(body.encode("utf-16-le")) // 2
    return 1 if units <= single else -(-units // part)
