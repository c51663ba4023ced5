"""All the state of one simulator process, put together."""

import time
from dataclasses import dataclass
from pathlib import Path

from waypost.simulators.acceptance import Acceptance
from waypost.simulators.accounts import Account, Accounts
from waypost.simulators.faults import Faults
from waypost.simulators.feed import Feed
from waypost.simulators.inbox import Inbox, InboxMessage
from waypost.simulators.persistence import (
    QUEUES_SUFFIX,
    TWILIO_SUFFIX,
    Journal,
    beside,
    save_queues,
    saved_messages,
)
from waypost.simulators.schedule import Schedule
from waypost.simulators.sns import Notary
from waypost.simulators.sqs_queue import Queue
from waypost.simulators.truth import TruthLog, body_digest

SIGNED_AT_STOP = 5_000
"""A longer backlog is saved unsigned: signing it would take longer than a supervisor waits."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SimulatorConfig:
    """How a simulator runs. Times are milliseconds."""

    host: str = "127.0.0.1"
    port: int = 0
    """0: any free port."""
    public_url: str | None = None
    """Origin that clients use, where it is not http://host:port."""
    log_path: Path | None = None
    latency_ms: float = 0.0
    """From acceptance to reply."""
    event_delay_ms: float = 50.0
    """From acceptance to delivery; the Send event comes after a fifth, opens and clicks after two and three."""
    sqs_linger_ms: float = 10.0
    """How long a waiting poll may be kept to fill up."""
    sign_sqs: bool = True
    """Sign the SNS envelopes in queues too: about 0.26 ms of CPU an event."""
    sns_retry_seconds: float = 20.0
    """Between SNS's tries of a webhook."""
    inbox_size: int = 5_000
    seed: int = 1


class Simulator:
    """The simulated providers' shared state. One event loop, one thread."""

    def __init__(self, config: SimulatorConfig) -> None:
        self.config = config
        self.base_url = config.public_url or ""
        self.accounts = Accounts()
        self.faults = Faults(config.seed)
        self.schedule = Schedule()
        self.feed = Feed(self.faults, self.schedule, seed=config.seed)
        self.inbox = Inbox(config.inbox_size)
        self.truth = TruthLog(config.log_path)
        self.notary = Notary()
        self.queues: dict[str, Queue] = {}
        self.requests = 0
        self.sign_sqs = config.sign_sqs
        self.started = time.time()
        self.twilio_journal = Journal(None if config.log_path is None else beside(config.log_path, TWILIO_SUFFIX))
        self._restore_queues()

    def queue(self, name: str) -> Queue:
        """A queue, made on first use."""
        queue = self.queues.get(name)
        if queue is None:
            queue = self.queues[name] = Queue(name, linger=self.config.sqs_linger_ms / 1000)
        return queue

    def existing_queue(self, name: str) -> Queue | None:
        """A queue that a client may ask for: one in use, or the own one of an account (rule 2 of `accounts`)."""
        return self.queue(name) if self.accounts.for_queue(name) is not None else self.queues.get(name)

    def latency_ms(self, account: Account) -> float:
        """The account's latency, else the process's."""
        own = account.settings.latency_ms
        return self.config.latency_ms if own is None else own

    def accept(self, acceptance: Acceptance, message: InboxMessage, *, operation: str, call: str) -> None:
        """Write the truth log, then everything else. Called once a recipient."""
        self.truth.append(
            {
                "provider": acceptance.provider,
                "account": acceptance.account,
                "operation": operation,
                "message_id": acceptance.message_id,
                "attempt_id": acceptance.attempt_id,
                "recipient": acceptance.recipients[0],
                "body_sha256": body_digest(subject=message.subject, html=message.html, text=message.text),
                "call": call,
            }
        )
        self.inbox.add(message)

    def quiesce(self) -> None:
        """Let every event that is still to come happen now."""
        self.schedule.run_all()

    def close(self) -> None:
        """Let events happen, save unread queues, close the logs."""
        self.quiesce()
        self.faults.remove(None)
        self.feed.resume()
        self.sign_sqs = self.sign_sqs and sum(queue.ready for queue in self.queues.values()) < SIGNED_AT_STOP
        if self.config.log_path is not None:
            save_queues(beside(self.config.log_path, QUEUES_SUFFIX), self.queues.values())
        self.twilio_journal.close()
        self.truth.close()

    def _restore_queues(self) -> None:
        if self.config.log_path is None:
            return
        for name, message in saved_messages(beside(self.config.log_path, QUEUES_SUFFIX)):
            self.queue(name).restore(message)
