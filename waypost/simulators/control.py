"""The control API: faults, accounts, the truth log, counters. What drills and tests steer the simulators with."""

import time
from collections.abc import Callable
from typing import Any

import orjson

from waypost.simulators.errors import ControlError
from waypost.simulators.faults import Fault
from waypost.simulators.poster import Poster
from waypost.simulators.simulator import Simulator
from waypost.simulators.sns_webhooks import SnsWebhooks
from waypost.simulators.truth import MAX_PAGE
from waypost.simulators.twilio_callbacks import TwilioCallbacks
from waypost.simulators.wire import Reply, Request, json_reply

PREFIX = "/control/"


class Control:
    """Answers `/control/…`."""

    def __init__(self, simulator: Simulator, webhooks: SnsWebhooks, twilio: TwilioCallbacks, poster: Poster) -> None:
        self._simulator = simulator
        self._webhooks = webhooks
        self._twilio = twilio
        self._poster = poster
        self._routes: dict[tuple[str, str], Callable[[Request, list[str]], Reply]] = {
            ("GET", "health"): lambda *_: json_reply({"status": "ok", "url": simulator.base_url}),
            ("POST", "quiesce"): self._quiesce,
            ("GET", "faults"): lambda *_: json_reply(simulator.faults.view()),
            ("PUT", "faults"): self._put_faults,
            ("POST", "faults"): self._post_faults,
            ("DELETE", "faults"): self._delete_faults,
            ("GET", "log"): self._log,
            ("GET", "stats"): self._stats,
            ("GET", "accounts"): self._accounts,
            ("PUT", "accounts"): self._put_account,
            ("GET", "inbox"): self._inbox,
            ("POST", "twilio"): self._inbound,
        }

    def handle(self, request: Request) -> Reply:
        """One request."""
        first, *rest = request.path.removeprefix(PREFIX).strip("/").split("/")
        route = self._routes.get((request.method, first))
        if route is None:
            return json_reply({"error": f"no such control: {request.method} {request.path}"}, status=404)
        try:
            return route(request, rest)
        except ControlError as error:
            return json_reply({"error": str(error)}, status=400)

    def _quiesce(self, *_: Any) -> Reply:
        self._simulator.quiesce()
        return json_reply({"status": "quiet"})

    def _put_faults(self, request: Request, _: list[str]) -> Reply:
        return self._faults_changed(self._simulator.faults.replace(read_json(request)))

    def _post_faults(self, request: Request, _: list[str]) -> Reply:
        return self._faults_changed(self._simulator.faults.add(read_json(request)))

    def _delete_faults(self, _: Request, rest: list[str]) -> Reply:
        self._simulator.faults.remove(integer(rest[0]) if rest else None)
        return self._faults_changed([])

    def _faults_changed(self, made: list[Fault]) -> Reply:
        self._simulator.feed.resume()
        for fault in made:
            if fault.spec.duration is not None:
                self._simulator.schedule.after(fault.spec.duration + 0.001, self._simulator.feed.resume)
        return json_reply(self._simulator.faults.view())

    def _log(self, request: Request, _: list[str]) -> Reply:
        query = request.query()
        since, limit = integer(query.get("since", "0")), integer(query.get("limit", "1000"))
        entries = self._simulator.truth.page(since, min(limit, MAX_PAGE))
        total = self._simulator.truth.count
        return json_reply({"entries": entries, "next": min(since, total) + len(entries), "total": total})

    def _stats(self, *_: Any) -> Reply:
        simulator = self._simulator
        truth, feed = simulator.truth, simulator.feed
        return json_reply(
            {
                "accepted": truth.count,
                "duplicates": truth.duplicates,
                "recent_duplicates": list(truth.recent_duplicates),
                "accepted_by_account": [
                    {"provider": provider, "account": account, "accepted": number}
                    for (provider, account), number in truth.by_account.items()
                ],
                "accounts": [account.view() for account in simulator.accounts],
                "requests": simulator.requests,
                "events": {
                    "published": feed.counters.published,
                    "delivered": feed.counters.delivered,
                    "dropped": feed.counters.dropped,
                    "duplicated": feed.counters.duplicated,
                    "held": feed.held,
                    "scheduled": len(simulator.schedule),
                },
                "webhooks": {"posted": self._poster.posted, "failed": self._poster.failed},
                "queues": {
                    name: {"ready": queue.ready, "inflight": queue.inflight, "dropped": queue.dropped}
                    for name, queue in simulator.queues.items()
                },
                "inbox": len(simulator.inbox),
                "cpu_seconds": time.process_time(),
                "uptime_seconds": time.time() - simulator.started,
            }
        )

    def _accounts(self, *_: Any) -> Reply:
        return json_reply([account.view() for account in self._simulator.accounts])

    def _put_account(self, request: Request, rest: list[str]) -> Reply:
        if len(rest) != 2:
            raise ControlError("PUT /control/accounts/{ses|twilio}/{key}")
        changes = read_json(request)
        if not isinstance(changes, dict):
            raise ControlError("the body must be an object of account settings")
        account = self._simulator.accounts.configure(rest[0], rest[1], changes)
        for name in account.settings.queues or ():
            self._simulator.queue(name)
        self._webhooks.subscribe(account)
        return json_reply(account.view())

    def _inbox(self, request: Request, _: list[str]) -> Reply:
        query = request.query()
        found = self._simulator.inbox.search(query.get("q", ""), skip=0, limit=integer(query.get("limit", "50")))
        return json_reply([shown(each) for each in found])

    def _inbound(self, request: Request, rest: list[str]) -> Reply:
        if rest != ["inbound"]:
            raise ControlError("POST /control/twilio/inbound")
        body = read_json(request)
        if not isinstance(body, dict):
            raise ControlError("the body must be an object with account, from, to and body")
        return json_reply(self._twilio.inbound(body))


def shown(message: Any) -> dict[str, Any]:
    """An inbox message as JSON."""
    return {
        "provider": message.provider,
        "account": message.account,
        "message_id": message.message_id,
        "channel": message.channel,
        "source": message.source,
        "recipient": message.recipient,
        "subject": message.subject,
        "html": message.html,
        "text": message.text,
        "headers": message.headers,
        "attachments": message.attachments,
        "tags": message.tags,
        "attempt_id": message.attempt_id,
        "inbound": message.inbound,
        "at": message.at,
        "status": message.status,
        "events": message.events,
    }


def read_json(request: Request) -> object:
    """The request's body. Raises `ControlError`."""
    try:
        return orjson.loads(request.body or b"{}")
    except orjson.JSONDecodeError as wrong:
        raise ControlError("the body is not valid JSON") from wrong


def integer(text: str) -> int:
    """A number of a request. Raises `ControlError`."""
    try:
        return int(text)
    except ValueError as wrong:
        raise ControlError(f"{text!r} is not a number") from wrong
