"""From an accepted email to the events of its life: SES event publishing to the account's SNS topic."""

import time
from functools import partial

from waypost.simulators.acceptance import Acceptance, random_uuid
from waypost.simulators.accounts import Account
from waypost.simulators.faults import Subject
from waypost.simulators.ses_events import IDENTITY_NOTIFICATIONS, SNS_SUBJECT, SesEvent, event_document
from waypost.simulators.ses_lifecycle import LIFECYCLES, Step, lifecycle
from waypost.simulators.simulator import Simulator
from waypost.simulators.sns_webhooks import SnsWebhooks


class SesPublisher:
    """Publishes events; their JSON is written when a subscriber takes them."""

    def __init__(self, simulator: Simulator, webhooks: SnsWebhooks) -> None:
        self._simulator = simulator
        self._webhooks = webhooks

    def new_message_id(self) -> str:
        """A message id of SES's shape."""
        return f"0100{int(time.time() * 1000):012x}-{random_uuid()}-000000"

    def begin(self, acceptance: Acceptance, account: Account, *, fails_to_render: bool) -> None:
        """Schedule the events of an accepted email."""
        delay = self._simulator.config.event_delay_ms / 1000
        steps = LIFECYCLES["rendering-failure"] if fails_to_render else lifecycle(acceptance.recipients[0])
        for step in steps:
            self._simulator.schedule.after(step.after * delay, partial(self._happen, acceptance, account, step))

    def _happen(self, acceptance: Acceptance, account: Account, step: Step) -> None:
        self._simulator.inbox.note(acceptance.message_id, step.kind)
        if not published(acceptance, account, step.kind):
            return
        event = SesEvent(random_uuid(), step, acceptance, time.time())
        subject = Subject(
            provider="ses",
            account=account.key,
            recipients=acceptance.recipients,
            attempt=acceptance.attempt_id,
            kind=step.kind,
        )
        self._simulator.feed.publish(subject, partial(self._deliver, event, account))

    def _deliver(self, event: SesEvent, account: Account, copy: int) -> None:
        if copy:
            event = SesEvent(random_uuid(), event.step, event.acceptance, event.at)
        for name in account.queue_names:
            self._simulator.queue(name).put(partial(self._queue_body, event, account))
        if account.settings.webhook_url is not None:
            self._webhooks.notify(account, partial(self._envelope, event, account, signed=True))

    def _queue_body(self, event: SesEvent, account: Account) -> bytes:
        if account.settings.raw_delivery:
            return event_document(event, account)
        return self._envelope(event, account, signed=self._simulator.sign_sqs)

    def _envelope(self, event: SesEvent, account: Account, *, signed: bool) -> bytes:
        return self._simulator.notary.notification(
            event_document(event, account),
            sns_id=event.sns_id,
            subject=SNS_SUBJECT,
            topic_arn=account.topic_arn,
            version=account.settings.signature_version,
            base_url=self._simulator.base_url,
            signed=signed,
        )


def published(acceptance: Acceptance, account: Account, kind: str) -> bool:
    """Whether the account gets this event: through a configuration set, else only identity notifications it has on."""
    if acceptance.configuration_set is None:
        return account.settings.identity_notifications and kind in IDENTITY_NOTIFICATIONS
    return account.settings.event_kinds is None or kind in account.settings.event_kinds
