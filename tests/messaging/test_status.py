"""Status only climbs: any order and any number of copies of the same events end at the same place."""

from __future__ import annotations

from functools import reduce

from hypothesis import given
from hypothesis import strategies as st

from waypost.messaging.status import EVIDENCE, DeliveryStatus
from waypost.messaging.values import Delivery, EventKind

_events = st.lists(st.sampled_from(list(EventKind)), max_size=8)


def _after(events: list[EventKind], start: DeliveryStatus | None = None) -> DeliveryStatus:
    return reduce(DeliveryStatus.after, events, start or DeliveryStatus())


@given(_events.flatmap(lambda events: st.tuples(st.just(events), st.permutations(events))))
def test_the_order_of_events_does_not_matter(
    orders: tuple[list[EventKind], list[EventKind]],
) -> None:
    assert _after(orders[0]) == _after(orders[1])


@given(_events)
def test_copies_of_events_change_nothing(events: list[EventKind]) -> None:
    once = _after(events)
    assert _after(events, once) == once


@given(_events, st.sampled_from(list(EventKind)))
def test_one_more_event_never_takes_anything_back(events: list[EventKind], kind: EventKind) -> None:
    before = _after(events)
    later = before.after(kind)
    ranks = list(Delivery)
    assert ranks.index(later.delivery) >= ranks.index(before.delivery)
    assert (later.bounced, later.complained, later.undeliverable) >= (
        before.bounced,
        before.complained,
        before.undeliverable,
    )


def test_a_bounce_is_final_for_its_message() -> None:
    assert DeliveryStatus().after(EventKind.BOUNCE) == DeliveryStatus(bounced=True)


def test_a_late_delay_does_not_undo_a_click() -> None:
    clicked = DeliveryStatus().after(EventKind.CLICK)
    assert clicked.after(EventKind.DELAY).after(EventKind.DELIVERY) == clicked


def test_a_rejection_and_a_rendering_failure_make_a_message_undeliverable() -> None:
    for kind in (EventKind.REJECT, EventKind.RENDERING_FAILURE):
        assert DeliveryStatus().after(kind) == DeliveryStatus(undeliverable=True)


def test_a_persons_stop_or_start_is_no_evidence_of_an_attempt() -> None:
    assert set(EventKind) - {EventKind.STOP, EventKind.START} == EVIDENCE
