"""Why a message is not taken, not found or not changed, drawn as a tree.

    MessagingError
    ├── MessageRefusedError          something in the request must change first; `refusal` says what
    ├── IdempotencyKeyReusedError    the key belongs to another body
    ├── TenantClosedError            the tenant takes no more messages
    ├── BacklogFullError             as many messages wait as the tenant may have waiting
    ├── TemplateMovedError           the template got new versions faster than a request could be checked against one
    ├── MessageNotFoundError
    ├── MessageTooLateError          it cannot be cancelled any more
    └── MessageNotHeldError          it does not wait for an approval

Sentences are ours and never repeat a value of the request.
"""

from dataclasses import dataclass
from enum import StrEnum


class Refusal(StrEnum):
    """What a request lacks, found by looking at the tenant's rows. The strings are stable error codes."""

    CONTACT_NOT_FOUND = "contact_not_found"
    CONTACT_WITHOUT_ADDRESS = "contact_without_address"
    ADDRESS_MISSING = "address_missing"
    CHANNEL_MISMATCH = "channel_mismatch"
    TEMPLATE_NOT_FOUND = "template_not_found"
    TEMPLATE_VERSION_NOT_FOUND = "template_version_not_found"
    SENDER_NOT_FOUND = "sender_not_found"
    SENDER_CHANNEL_MISMATCH = "sender_channel_mismatch"
    SENDER_MODE_MISMATCH = "sender_mode_mismatch"
    NO_SENDER = "no_sender"
    NO_TEST_ACCOUNT = "no_test_account"
    SEND_AT_TOO_FAR = "send_at_too_far"
    EMAIL_ONLY = "email_only"
    MISSING_VARIABLE = "missing_variable"


@dataclass(frozen=True, slots=True)
class Advice:
    """What to tell the caller: a sentence, the field it is about, what to do."""

    message: str
    field: str
    hint: str


ADVICE: dict[Refusal, Advice] = {
    Refusal.CONTACT_NOT_FOUND: Advice(
        "There is no contact with this external id.", "to.contact", "Create it with PUT /v1/contacts/{external_id}."
    ),
    Refusal.CONTACT_WITHOUT_ADDRESS: Advice(
        "The contact has no address on this channel.", "to.contact", "Add an email or phone to the contact."
    ),
    Refusal.ADDRESS_MISSING: Advice(
        "There is no address for this channel in `to`.", "to", "Give to.email for email, to.phone for sms and whatsapp."
    ),
    Refusal.CHANNEL_MISMATCH: Advice(
        "The template or content is of another channel.", "channel", "Leave channel out, or name the template's own."
    ),
    Refusal.TEMPLATE_NOT_FOUND: Advice(
        "There is no template with this key.", "template.key", "Create it with PUT /v1/templates/{key}."
    ),
    Refusal.TEMPLATE_VERSION_NOT_FOUND: Advice(
        "The template has no such version.", "template.version", "Leave version out to use the current one."
    ),
    Refusal.SENDER_NOT_FOUND: Advice(
        "There is no sender with this key.", "sender", "List the senders with GET /v1/senders."
    ),
    Refusal.SENDER_CHANNEL_MISMATCH: Advice(
        "The sender is of another channel.", "sender", "Use a sender of the message's channel."
    ),
    Refusal.SENDER_MODE_MISMATCH: Advice(
        "Test keys use senders of test accounts only, live keys those of live accounts only.",
        "sender",
        "Use a sender of the key's own mode, or leave sender out to use the default one.",
    ),
    Refusal.NO_SENDER: Advice(
        "There is no default sender for this channel.", "sender", "Name a sender, or make one the channel's default."
    ),
    Refusal.NO_TEST_ACCOUNT: Advice(
        "A test key needs a default sender on a test account for this channel, and there is none.",
        "sender",
        "Add a sender that goes through a provider account of mode test.",
    ),
    Refusal.SEND_AT_TOO_FAR: Advice(
        "send_at is more than 366 days away.", "send_at", "Choose an earlier time, or send the request later."
    ),
    Refusal.EMAIL_ONLY: Advice(
        "Only an email has attachments, own headers and a reply_to.", "attachments", "Leave them out on this channel."
    ),
    Refusal.MISSING_VARIABLE: Advice(
        "The template needs a variable that data does not hold.",
        "data",
        "Add it to data, or give it a default in the template: {{ name | default: 'there' }}.",
    ),
}


class MessagingError(Exception):
    """The root. `code` is stable; `message` is a sentence; `field` a dotted path in the request."""

    code: str = "messaging"

    def __init__(self, message: str, *, field: str | None = None, hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.field = field
        self.hint = hint


class MessageRefusedError(MessagingError):
    """Something in the request must change first. `variable` names what a template lacks."""

    def __init__(self, refusal: Refusal, *, field: str | None = None, variable: str | None = None) -> None:
        advice = ADVICE[refusal]
        message = advice.message if variable is None else f"The template needs the variable {variable}."
        super().__init__(message, field=field or advice.field, hint=advice.hint)
        self.code = refusal.value
        self.refusal = refusal
        self.variable = variable


class IdempotencyKeyReusedError(MessagingError):
    """The key was used with another body and its retention is not over."""

    code = "idempotency_key_reused"

    def __init__(self) -> None:
        super().__init__(
            "This idempotency key was used with another body.",
            field="Idempotency-Key",
            hint="Use a new key for a new message; repeat the same body to get the first answer again.",
        )


class TenantClosedError(MessagingError):
    """The tenant is closing or closed."""

    code = "tenant_closed"

    def __init__(self) -> None:
        super().__init__("The tenant is closed and takes no more messages.", hint="Ask the operator to open a new one.")


class BacklogFullError(MessagingError):
    """`bound` messages of the tenant wait already; `retry_after_s` is when to ask again, in seconds."""

    code = "backlog_full"

    def __init__(self, *, bound: int, retry_after_s: int = 5) -> None:
        super().__init__(
            f"{bound} messages are waiting, as many as the tenant may have (backlog_bound).",
            field="backlog_bound",
            hint="Wait until some were sent and try again; nothing of this request was taken.",
        )
        self.bound = bound
        self.retry_after_s = retry_after_s


class TemplateMovedError(MessagingError):
    """New versions of the template came faster than the request could be checked against one."""

    code = "template_moved"

    def __init__(self) -> None:
        super().__init__(
            "New versions of the template are being published; nothing was stored.",
            field="template.key",
            hint="Send the request again.",
        )


class MessageNotFoundError(MessagingError):
    """The tenant has no such message."""

    code = "not_found"

    def __init__(self) -> None:
        super().__init__("There is no message with this id.", hint="Use the id that POST /v1/messages answered.")


class MessageTooLateError(MessagingError):
    """The message is with the provider, or has its outcome."""

    code = "too_late"

    def __init__(self) -> None:
        super().__init__(
            "The message was handed to the provider or has its outcome; it cannot be cancelled any more.",
            hint="GET the message to see what became of it.",
        )


class MessageNotHeldError(MessagingError):
    """The message does not wait for an approval of its lateness."""

    code = "not_waiting_for_approval"

    def __init__(self) -> None:
        super().__init__(
            "The message does not wait for an approval.",
            hint="List those that do: GET /v1/messages?hold_reason=late_needs_approval.",
        )
