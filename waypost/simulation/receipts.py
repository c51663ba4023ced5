"""What becomes of what a simulation sends: delivered at once, unless the script says something else of the step."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from waypost.messaging.provider import ProviderEvent, RenderedMessage
from waypost.messaging.values import EventKind, Part
from waypost.simulation.running import Simulation
from waypost.simulation.script import ReceiptEntry, Script
from waypost.store.events import store_and_apply
from waypost.store.journey_timeline import steps_of_attempts
from workflows.names import DELIVERED_SIGNAL

_KINDS = {
    "delivered": EventKind.DELIVERY,
    "bounced": EventKind.BOUNCE,
    "failed": EventKind.REJECT,
    "complained": EventKind.COMPLAINT,
    "opened": EventKind.OPEN,
    "clicked": EventKind.CLICK,
}
_FATES = frozenset({"delivered", "bounced", "failed", "none"})
_DELIVERED = ReceiptEntry.model_construct(receipt="delivered", step="", part=Part.PRIMARY, after=None)


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """What a provider is to report of a message, and when."""

    at: datetime
    said: str
    step: str
    part: str
    scripted: bool
    number: int
    message: RenderedMessage


class Receipts:
    """The provider's reports on what was handed over."""

    def __init__(self, simulation: Simulation, account: UUID, script: Script) -> None:
        self._simulation = simulation
        self._account = account
        self._entries = [one for one in script.events if isinstance(one, ReceiptEntry)]
        self._seen = 0

    async def look(self) -> list[Report]:
        """What is to be reported of messages that were handed over since the last look."""
        simulation, first = self._simulation, self._seen
        fresh = simulation.provider.handed_over[first:]
        if not fresh:
            return []
        async with simulation.app.transaction(simulation.tenant) as connection:
            steps = await steps_of_attempts(
                connection, tenant=simulation.tenant, attempts=[one.attempt_id for one in fresh]
            )
        self._seen += len(fresh)
        now, found = simulation.clock.now(), list[Report]()
        for number, message in enumerate(fresh, first + 1):
            step, part = steps.get(message.attempt_id, ("", ""))
            for entry in self._of(step, part):
                at = now + (entry.after or timedelta())
                found.append(
                    Report(
                        at=at,
                        said=entry.receipt,
                        step=step,
                        part=part,
                        scripted=entry is not _DELIVERED,
                        number=number,
                        message=message,
                    )
                )
        return found

    def _of(self, step: str, part: str) -> Sequence[ReceiptEntry]:
        said = [one for one in self._entries if one.step == step and one.part == part]
        if any(one.receipt in _FATES for one in said):
            return [one for one in said if one.receipt != "none"]
        return [_DELIVERED, *said]

    async def apply(self, report: Report) -> None:
        """The provider reports it now."""
        simulation, message = self._simulation, report.message
        event = ProviderEvent(
            event_id=f"{report.said}-{message.attempt_id}",
            kind=_KINDS[report.said],
            occurred_at=simulation.clock.now(),
            attempt_id=message.attempt_id,
            provider_message_id=f"simulated-{report.number}",
            recipient=message.to,
            permanent=report.said == "bounced",
        )
        async with simulation.relay.transaction() as connection:
            await store_and_apply(connection, [(self._account, event)], signal=DELIVERED_SIGNAL)
