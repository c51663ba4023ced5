"""The transition table of a message's delivery: events arrive late, twice and out of order, and status only climbs."""

from dataclasses import dataclass, replace

from waypost.messaging.values import Delivery, EventKind

_RANK = {delivery: rank for rank, delivery in enumerate(Delivery)}

_CLIMBS_TO = {
    EventKind.DELAY: Delivery.DELAYED,
    EventKind.DELIVERY: Delivery.DELIVERED,
    EventKind.OPEN: Delivery.OPENED,
    EventKind.CLICK: Delivery.CLICKED,
}

EVIDENCE = frozenset(EventKind) - {EventKind.STOP, EventKind.START}
"""Any event about an attempt proves that the provider accepted it."""


@dataclass(frozen=True, slots=True)
class DeliveryStatus:
    """Where a message stands after it was handed over; flags are independent of the climb."""

    delivery: Delivery = Delivery.NONE
    bounced: bool = False
    complained: bool = False
    undeliverable: bool = False

    def after(self, kind: EventKind) -> "DeliveryStatus":
        """The status once `kind` is known too. The order of events does not matter, nor how often one comes."""
        match kind:
            case EventKind.BOUNCE:  # whether the address is good for nothing more is another question
                return replace(self, bounced=True)
            case EventKind.COMPLAINT:
                return replace(self, complained=True)
            case EventKind.REJECT | EventKind.RENDERING_FAILURE:
                return replace(self, undeliverable=True)
            case EventKind.DELAY | EventKind.DELIVERY | EventKind.OPEN | EventKind.CLICK:
                return self._climb(_CLIMBS_TO[kind])
            case EventKind.SEND | EventKind.STOP | EventKind.START:
                return self

    def _climb(self, to: Delivery) -> "DeliveryStatus":
        if _RANK[to] <= _RANK[self.delivery]:
            return self
        return DeliveryStatus(to, self.bounced, self.complained, self.undeliverable)
