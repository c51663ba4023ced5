"""Ids are UUIDv5 of the uniqueness key, so that PostgreSQL's constraint and Temporal's workflow ID say the same."""

from uuid import UUID, uuid5

from waypost.messaging.values import Channel, Part

_NAMESPACE = UUID("6f0b9a52-7f0e-5d4e-9a3b-6a1d7c1f0e11")


def contact_id(*, tenant: UUID, external_id: str) -> UUID:
    """The id of a tenant's contact."""
    return _derive(tenant, "contact", external_id)


def template_id(*, tenant: UUID, key: str) -> UUID:
    """The id of a tenant's template."""
    return _derive(tenant, "template", key)


def sender_id(*, tenant: UUID, key: str) -> UUID:
    """The id of a tenant's sender."""
    return _derive(tenant, "sender", key)


def suppression_id(*, tenant: UUID, channel: Channel, address: str) -> UUID:
    """The id of a suppressed address (normalised as addresses.address_key says)."""
    return _derive(tenant, "suppression", channel, address)


def topic_id(*, tenant: UUID, key: str) -> UUID:
    """The id of a tenant's topic."""
    return _derive(tenant, "topic", key)


def list_id(*, tenant: UUID, key: str) -> UUID:
    """The id of a tenant's list."""
    return _derive(tenant, "list", key)


def segment_id(*, tenant: UUID, key: str) -> UUID:
    """The id of a tenant's segment."""
    return _derive(tenant, "segment", key)


def contact_event_id(*, tenant: UUID, key: str) -> UUID:
    """The id of what a contact did, by the tenant's own id of it."""
    return _derive(tenant, "event", key)


def request_id(*, tenant: UUID, idempotency_key: str, generation: int) -> UUID:
    """The id of a request; a key that is used again after its retention is a new generation."""
    return _derive(tenant, "request", str(generation), idempotency_key)


def campaign_id(*, tenant: UUID, key: str) -> UUID:
    """The id of a tenant's campaign."""
    return _derive(tenant, "campaign", key)


def run_id(*, campaign: UUID, number: int) -> UUID:
    """The id of a campaign's n-th run, counted from 1."""
    return uuid5(campaign, f"run/{number}")


def journey_id(*, tenant: UUID, key: str) -> UUID:
    """The id of a tenant's journey."""
    return _derive(tenant, "journey", key)


def journey_version_id(*, journey: UUID, number: int) -> UUID:
    """The id of a journey's n-th published version, counted from 1."""
    return uuid5(journey, f"version/{number}")


def enrollment_id(*, journey: UUID, contact: UUID, key: str, number: int) -> UUID:
    """The id of a contact's n-th enrollment in a journey with an entry key (empty: none), counted from 1."""
    return uuid5(journey, f"enrollment/{contact}/{number}/{key}")


def visit_id(*, enrollment: UUID, number: int) -> UUID:
    """The id of the n-th step that an enrollment took, counted from 1: the source of its messages."""
    return uuid5(enrollment, f"visit/{number}")


def message_id(*, tenant: UUID, source_id: UUID, part: Part) -> UUID:
    """The id of a message of a request, campaign run or visit."""
    return _derive(tenant, "message", str(source_id), part)


def attempt_id(*, message: UUID, number: int) -> UUID:
    """The id of the n-th try of a message, counted from 1."""
    return uuid5(message, f"attempt/{number}")


def import_id(*, tenant: UUID, file_hash: str, options: str) -> UUID:
    """The id of an import: a file (SHA-256, hexadecimal) and how it is read (JSON with sorted keys)."""
    return _derive(tenant, "import", file_hash, options)


def _derive(tenant: UUID, *parts: str) -> UUID:
    # Lengths keep ("a", "bc") and ("ab", "c") apart.
    return uuid5(_NAMESPACE, "/".join([str(tenant), *(f"{len(part)}:{part}" for part in parts)]))
