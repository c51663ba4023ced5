"""What events prove about attempts: the same whatever their order and however often they come."""

from datetime import UTC, datetime, timedelta
from uuid import UUID

from hypothesis import given, settings
from hypothesis import strategies as st

from waypost.messaging.evidence import Evidence, LedgerAttempt, LedgerMessage, Resolution, weigh
from waypost.messaging.status import DeliveryStatus
from waypost.messaging.values import AttemptState, Delivery, EventKind, Outcome

NOW = datetime(2026, 11, 24, tzinfo=UTC)
CLOSED = st.sampled_from([AttemptState.VOID, AttemptState.REJECTED])
OPEN = st.sampled_from([AttemptState.IN_FLIGHT, AttemptState.UNKNOWN, AttemptState.ACCEPTED, AttemptState.ASSUMED_SENT])


def attempt(number: int, state: AttemptState) -> LedgerAttempt:
    return LedgerAttempt(id=UUID(int=number), number=number, state=state)


@st.composite
def messages(draw: st.DrawFn) -> LedgerMessage:
    """Ledgers as they come about: closed attempts, a given-up one of a login code, at most one open at the end."""
    states = draw(st.lists(CLOSED, max_size=2))
    if draw(st.booleans()):
        states.insert(draw(st.integers(0, len(states))), AttemptState.ABANDONED)
    if len(states) > 1 or not states or draw(st.booleans()):
        states.append(draw(OPEN))  # with none open, which of two late acceptances wins is the order's
    return LedgerMessage(
        outcome=draw(st.sampled_from([None, Outcome.MAYBE_SENT, Outcome.EXPIRED])),
        outcome_reason=None,
        status=DeliveryStatus(),
        attempts=tuple(attempt(number, state) for number, state in enumerate(states, 1)),
    )


@st.composite
def events_of(draw: st.DrawFn, message: LedgerMessage) -> list[Evidence]:
    return draw(
        st.lists(
            st.builds(
                Evidence,
                attempt_id=st.sampled_from([each.id for each in message.attempts]),
                kind=st.sampled_from(EventKind),
                occurred_at=st.integers(0, 5).map(lambda seconds: NOW + timedelta(seconds=seconds)),
                machine=st.booleans(),
            ),
            max_size=6,
        )
    )


@settings(max_examples=120, deadline=None)
@given(st.data())
def test_any_order_any_copies_and_any_batches_end_the_same(data: st.DataObject) -> None:
    message = data.draw(messages())
    events = data.draw(events_of(message))
    expected = weigh(message, events)
    copies = [*events, *data.draw(st.lists(st.sampled_from(events), max_size=4) if events else st.just([]))]
    seen = message
    for event in data.draw(st.permutations(copies)):
        seen = weigh(seen, [event])
    assert seen == expected
    assert sum(each.is_open for each in seen.attempts) <= 1


@settings(max_examples=50, deadline=None)
@given(st.data())
def test_weighing_again_changes_nothing(data: st.DataObject) -> None:
    message = data.draw(messages())
    events = data.draw(events_of(message))
    once = weigh(message, events)
    assert weigh(once, events) == once


def test_a_bounce_that_may_be_an_automatic_reply_is_a_delay_at_most() -> None:
    message = LedgerMessage(
        outcome=Outcome.SENT,
        outcome_reason=None,
        status=DeliveryStatus(),
        attempts=(attempt(1, AttemptState.ACCEPTED),),
    )
    reply = Evidence(attempt_id=UUID(int=1), kind=EventKind.BOUNCE, occurred_at=NOW, machine=True)
    assert weigh(message, [reply]).status == DeliveryStatus(Delivery.DELAYED)
    delivery = Evidence(attempt_id=UUID(int=1), kind=EventKind.DELIVERY, occurred_at=NOW)
    assert weigh(message, [reply, delivery]).status == DeliveryStatus(Delivery.DELIVERED)


def test_a_stop_proves_nothing_about_the_attempt() -> None:
    message = LedgerMessage(
        outcome=None, outcome_reason=None, status=DeliveryStatus(), attempts=(attempt(1, AttemptState.UNKNOWN),)
    )
    assert weigh(message, [Evidence(attempt_id=UUID(int=1), kind=EventKind.STOP, occurred_at=NOW)]) == message


def test_a_rejected_attempt_keeps_its_state_and_says_what_was_learnt() -> None:
    message = LedgerMessage(
        outcome=Outcome.FAILED,
        outcome_reason="rejected",
        status=DeliveryStatus(),
        attempts=(attempt(1, AttemptState.REJECTED),),
    )
    (after,) = weigh(message, [Evidence(attempt_id=UUID(int=1), kind=EventKind.SEND, occurred_at=NOW)]).attempts
    assert (after.state, after.resolution) == (AttemptState.REJECTED, Resolution.LATE_ACCEPTANCE)
