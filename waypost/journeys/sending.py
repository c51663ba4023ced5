"""What the gate says of a journey's message, from what the interpreter knows: the product's own gate is asked."""

from dataclasses import dataclass
from datetime import datetime, timedelta

from waypost.journeys.document import Journey
from waypost.journeys.happenings import Around
from waypost.journeys.steps import Send
from waypost.messaging.gate import (
    FREE_RULES,
    GateFacts,
    PrimaryFacts,
    Refuse,
    SendingRules,
    TopicFacts,
    Verdict,
    verdict,
)
from waypost.messaging.values import (
    AccountState,
    Channel,
    Delivery,
    MessageClass,
    Outcome,
    Subscription,
    TenantState,
)
from waypost.segments.people import Person


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """One message that would go out now."""

    now: datetime
    step: Send
    channel: Channel
    meant_for: datetime
    expires_at: datetime
    late_policy: str
    primary: PrimaryFacts | None = None


def judge(
    journey: Journey, around: Around, person: Person, asked: Asked, own: list[tuple[datetime, Channel]]
) -> Verdict:
    """The verdict. `own`: when the enrollment itself has sent marketing before, and by which channel."""
    if (person.email if asked.channel is Channel.EMAIL else person.phone) is None:
        return Refuse(Outcome.FAILED, "no_address")
    marketing = asked.step.message_class == "marketing"
    sent = [*around.sent, *own]
    word = person.consent.get(asked.channel.value)
    return verdict(
        GateFacts(
            now=asked.now,
            due_at=asked.now,
            expires_at=asked.expires_at,
            meant_for=asked.meant_for,
            cancel_requested=False,
            message_class=MessageClass.MARKETING if marketing else MessageClass.TRANSACTIONAL,
            tenant=TenantState.ACTIVE,
            late_policy=asked.late_policy,
            late_after=late_after(journey, around),
            account=AccountState.OPEN,
            suppression=around.suppressed.get(asked.channel),
            consent=word if isinstance(word, bool) else None,
            primary=asked.primary,
            topic=_topic(asked.step, around, person) if marketing else None,
            rules=_rules(journey, around) if marketing else FREE_RULES,
            zone=person.time_zone,
            channel=asked.channel,
            sent_at=[at for at, channel in sent if channel is asked.channel],
            sent_at_any=[at for at, _ in sent],
        )
    )


def late_after(journey: Journey, around: Around) -> timedelta:
    """How much later than meant a message may be: the journey's word, else the tenant's."""
    return journey.late_after if journey.late_after is not None else around.late_after


def primary_facts(outcome: Outcome | None, *, delivered: bool, bounced: bool) -> PrimaryFacts:
    """What a fallback knows of its primary."""
    delivery = Delivery.DELIVERED if delivered else Delivery.NONE
    return PrimaryFacts(outcome=outcome, delivery=delivery, bounced=bounced, undeliverable=False)


def _rules(journey: Journey, around: Around) -> SendingRules:
    return SendingRules(
        zone=journey.time_zone or around.zone,
        quiet_hours=journey.quiet_hours or around.quiet_hours,
        caps=(*around.caps, *journey.frequency_caps),
    )


def _topic(step: Send, around: Around, person: Person) -> TopicFacts | None:
    if step.topic is None:
        return None
    word = person.topics.get(step.topic)
    return TopicFacts(
        opt_in=step.topic in around.opt_in_topics,
        subscription=Subscription(word) if word in set(Subscription) else None,
    )
