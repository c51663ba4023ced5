"""From a loaded row to the gate's facts, and what a provider's refusal says of an address."""

from waypost.messaging.addresses import address_key
from waypost.messaging.gate import GateFacts, PrimaryFacts
from waypost.messaging.values import (
    AccountState,
    Channel,
    Delivery,
    MessageClass,
    Outcome,
    SuppressionReason,
    TenantState,
)
from waypost.store.event_effects import Suppression
from waypost.store.send import LoadedMessage


def gate_facts(message: LoadedMessage) -> GateFacts:
    """What the verdict on this message rests on."""
    return GateFacts(
        now=message.now,
        due_at=message.due_at or message.now,
        expires_at=message.expires_at,
        meant_for=message.meant_for,
        cancel_requested=message.cancel_requested_at is not None,
        message_class=MessageClass(message.class_),
        tenant=TenantState(message.tenant_state),
        late_policy=message.late_policy,
        late_after=message.late_after,
        account=AccountState(message.account_state),
        suppression=SuppressionReason(message.suppression) if message.suppression else None,
        consent=message.consent,
        primary=_primary(message),
        contact_deleted=message.contact_deleted,
    )


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
