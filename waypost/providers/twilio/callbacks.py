"""The public URLs that Twilio calls. They are signed over byte for byte, so sender and ingest take them from here."""

from uuid import UUID


def status_url(callback_base: str, *, account_id: UUID, attempt_id: UUID) -> str:
    """Where Twilio reports a message's status; the path carries the attempt, since Twilio has no tags."""
    return f"{callback_base.rstrip('/')}/webhooks/{account_id}/twilio/status/{attempt_id}"


def inbound_url(callback_base: str, *, account_id: UUID) -> str:
    """What a number's or messaging service's "a message comes in" must be set to."""
    return f"{callback_base.rstrip('/')}/webhooks/{account_id}/twilio/inbound"
