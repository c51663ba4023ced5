"""From a loaded row to the gate's facts, and what a provider's refusal says of an address."""

from datetime import timedelta

from waypost.journeys.durations import read_duration
from waypost.messaging.addresses import address_key
from waypost.messaging.gate import FREE_RULES, GateFacts, PrimaryFacts, SendingRules, TopicFacts
from waypost.messaging.rules import FrequencyCap, QuietHours
from waypost.messaging.values import (
    AccountState,
    Channel,
    Delivery,
    MessageClass,
    Outcome,
    Part,
    Phase,
    Subscription,
    SuppressionReason,
    TenantState,
)
from waypost.store.event_effects import Suppression
from waypost.store.journey_rules import JourneyRules
from waypost.store.send import LoadedMessage


def gate_facts(message: LoadedMessage) -> GateFacts:
    """What the verdict on this message rests on."""
    journey = message.journey
    return GateFacts(
        now=message.now,
        due_at=message.due_at or message.now,
        expires_at=message.expires_at,
        meant_for=message.meant_for,
        cancel_requested=message.cancel_requested_at is not None,
        message_class=MessageClass(message.class_),
        tenant=TenantState(message.tenant_state),
        late_policy=message.late_policy if journey is None else journey.late_policy,
        late_after=_late_after(message),
        account=AccountState(message.account_state),
        suppression=SuppressionReason(message.suppression) if message.suppression else None,
        consent=message.consent,
        primary=_primary(message),
        contact_deleted=message.contact_deleted,
        topic=_topic(message),
        rules=sending_rules(message),
        zone=message.contact_time_zone,
        channel=Channel(message.channel),
        journey_paused=journey is not None and journey.held and not rests(message),
        sent_at=journey.sent_at if journey else (),
        sent_at_any=journey.sent_at_any if journey else (),
    )


def rests(message: LoadedMessage) -> bool:
    """Whether an enrollment's execution has it in hand, and comes back to it: no dispatcher looks at its row."""
    return message.enrollment_id is not None and message.part == Part.PRIMARY and message.phase == Phase.WAITING


def sending_rules(message: LoadedMessage) -> SendingRules:
    """Hours and caps of a journey's marketing: quiet hours instead of the tenant's, caps beside them. Else none."""
    journey = _marketing(message)
    if journey is None:
        return FREE_RULES
    quiet = journey.own_quiet_hours or journey.quiet_hours
    caps = (*journey.frequency_caps, *(journey.own_frequency_caps or ()))
    return SendingRules(
        zone=journey.own_zone or journey.tenant_zone,
        quiet_hours=QuietHours.model_validate(quiet) if quiet else None,
        caps=tuple(FrequencyCap.model_validate(cap) for cap in caps),
    )


def _marketing(message: LoadedMessage) -> JourneyRules | None:
    return message.journey if message.class_ == MessageClass.MARKETING else None


def _late_after(message: LoadedMessage) -> timedelta:
    own = message.journey.own_late_after if message.journey else None
    read = read_duration(own) if own else None
    return message.late_after if read is None else read


def _topic(message: LoadedMessage) -> TopicFacts | None:
    journey = _marketing(message)
    if journey is None or journey.topic_opt_in is None:
        return None
    subscription = Subscription(journey.subscription) if journey.subscription else None
    return TopicFacts(opt_in=journey.topic_opt_in, subscription=subscription)


def _primary(message: LoadedMessage) -> PrimaryFacts | None:
    if message.primary_delivery is None:
        return None
    return PrimaryFacts(
        outcome=Outcome(message.primary_outcome) if message.primary_outcome else None,
        delivery=Delivery(message.primary_delivery),
        bounced=bool(message.primary_bounced),
        undeliverable=bool(message.primary_undeliverable),
    )


def stopped(message: LoadedMessage) -> Suppression:
    """The provider says that this person has opted out."""
    channel = Channel(message.channel)
    return Suppression(
        tenant_id=message.tenant_id,
        channel=channel,
        address=address_key(channel, message.address),
        reason=SuppressionReason.STOP,
        message_id=message.id,
    )
