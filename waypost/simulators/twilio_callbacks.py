"""What Twilio sends to us: status callbacks and inbound messages, form-encoded and signed.

The signature is HMAC-SHA1 over the exact URL and the sorted parameters (source: Twilio, "Security").
"""

import asyncio
import base64
import hashlib
import hmac
from functools import partial
from typing import Any
from urllib.parse import urlencode, urlsplit

from waypost.simulators.accounts import Account
from waypost.simulators.errors import ControlError
from waypost.simulators.faults import Subject
from waypost.simulators.inbox import InboxMessage
from waypost.simulators.poster import Poster
from waypost.simulators.simulator import Simulator
from waypost.simulators.twilio_fate import fate_of
from waypost.simulators.twilio_messages import API_VERSION, TwilioMessage, TwilioMessages

STOP_WORDS = frozenset({"STOP", "STOPALL", "UNSUBSCRIBE", "CANCEL", "END", "QUIT", "REVOKE", "OPTOUT"})
START_WORDS = frozenset({"START", "YES", "UNSTOP"})
STATUS_PATH = "/status/"


def signature(token: str, url: str, params: dict[str, str]) -> str:
    """The X-Twilio-Signature of a form POST."""
    text = url + "".join(name + value for name, value in sorted(params.items()))
    return base64.b64encode(hmac.new(token.encode(), text.encode(), hashlib.sha1).digest()).decode()


def attempt_of(status_callback: str | None) -> str | None:
    """The attempt id in a status callback's path: the segment after `/status/`."""
    _, found, tail = urlsplit(status_callback or "").path.rpartition(STATUS_PATH)
    return tail or None if found else None


class TwilioCallbacks:
    """Moves messages through their statuses and tells their status callbacks."""

    def __init__(self, simulator: Simulator, messages: TwilioMessages, poster: Poster) -> None:
        self._simulator = simulator
        self._messages = messages
        self._poster = poster
        self._tasks: set[asyncio.Task[Any]] = set()
        self._last_callback: dict[str, str] = {}

    def begin(self, message: TwilioMessage, account: Account) -> None:
        """Schedule the statuses of an accepted message."""
        delay = self._simulator.config.event_delay_ms / 1000
        fate = fate_of(message.to)
        if message.status_callback is not None:
            self._last_callback[account.key] = message.status_callback
        steps = (("queued", 0.2), *fate.statuses)
        for status, after in steps:
            code = fate.error_code if status in ("undelivered", "failed") else None
            self._simulator.schedule.after(after * delay, partial(self._move, message, account, status, code))

    def inbound(self, request: dict[str, Any]) -> dict[str, Any]:
        """Let a person write to us: `from`, `to`, `body`, optionally `account`, `url`, `params`. Raises `ControlError`.

        Without `url` the account's `inbound_url` is used, else the last status callback with `/status/…` replaced by
        `/inbound`.
        """
        person, number, body = (str(request.get(name) or "") for name in ("from", "to", "body"))
        account = self._account(request.get("account"))
        if not person or not number:
            raise ControlError("`from` (the person's number) and `to` (your number) are needed")
        url = str(request.get("url") or self._inbound_url(account))
        self._mind_keyword(account, person=person, number=number, body=body)
        message = TwilioMessage(account.key, number, person, None, body, "received", direction="inbound")
        self._messages.add(message)
        self._simulator.inbox.add(inbox_text(message, inbound=True))
        params = inbound_params(message) | {str(k): str(v) for k, v in (request.get("params") or {}).items()}
        subject = Subject(provider="twilio", account=account.key, recipients=(number,), kind="inbound")
        self._simulator.feed.publish(subject, partial(self._post, url, params, account))
        return {"sid": message.sid, "url": url}

    def _account(self, key: object) -> Account:
        if key:
            return self._simulator.accounts.get("twilio", str(key))
        known = [each for each in self._simulator.accounts if each.provider == "twilio"]
        if len(known) != 1:
            raise ControlError("`account` is needed: there is not exactly one Twilio account")
        return known[0]

    def _inbound_url(self, account: Account) -> str:
        if account.settings.inbound_url is not None:
            return account.settings.inbound_url
        base, found, _ = self._last_callback.get(account.key, "").rpartition(STATUS_PATH)
        if not found:
            raise ControlError("`url` is needed: the account has no inbound_url and no status callback was seen")
        return f"{base}/inbound"

    def _mind_keyword(self, account: Account, *, person: str, number: str, body: str) -> None:
        word = body.strip().upper()
        if word in STOP_WORDS:
            account.opted_out.add((number, person))
        elif word in START_WORDS:
            account.opted_out.discard((number, person))

    def _move(self, message: TwilioMessage, account: Account, status: str, code: int | None) -> None:
        message.move(status, code)
        self._simulator.inbox.note(message.sid, status)
        url = message.status_callback
        if url is None:
            return
        subject = Subject(
            provider="twilio", account=account.key, recipients=(message.to,), attempt=attempt_of(url), kind=status
        )
        self._simulator.feed.publish(subject, partial(self._post, url, status_params(message, status, code), account))

    def _post(self, url: str, params: dict[str, str], account: Account, _copy: int) -> None:
        headers = [
            ("content-type", "application/x-www-form-urlencoded"),
            ("user-agent", "TwilioProxy/1.1"),
            ("x-twilio-signature", signature(account.settings.secret or "", url, params)),
        ]
        task = asyncio.create_task(self._poster.post(url, headers, urlencode(params).encode()))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


def status_params(message: TwilioMessage, status: str, code: int | None) -> dict[str, str]:
    """The parameters of a status callback."""
    params = {
        "AccountSid": message.account,
        "ApiVersion": API_VERSION,
        "From": message.sender,
        "MessageSid": message.sid,
        "MessageStatus": status,
        "SmsSid": message.sid,
        "SmsStatus": status,
        "To": message.to,
    }
    if message.service is not None:
        params["MessagingServiceSid"] = message.service
    if code is not None:
        params["ErrorCode"] = str(code)
    return params


def inbound_params(message: TwilioMessage) -> dict[str, str]:
    """The parameters of an inbound message's webhook."""
    return {
        "AccountSid": message.account,
        "ApiVersion": API_VERSION,
        "Body": message.body,
        "From": message.sender,
        "MessageSid": message.sid,
        "NumMedia": "0",
        "NumSegments": "1",
        "SmsMessageSid": message.sid,
        "SmsSid": message.sid,
        "SmsStatus": "received",
        "To": message.to,
    }


def inbox_text(message: TwilioMessage, *, inbound: bool) -> InboxMessage:
    """A text message for people to look at."""
    return InboxMessage(
        provider="twilio",
        account=message.account,
        message_id=message.sid,
        channel="whatsapp" if message.to.startswith("whatsapp:") else "sms",
        source=message.sender or message.service or "",
        recipient=message.to,
        text=message.body,
        attempt_id=attempt_of(message.status_callback),
        inbound=inbound,
    )
