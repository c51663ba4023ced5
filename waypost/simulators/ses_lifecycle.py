"""What becomes of an accepted email: decided by its recipient, as SES's mailbox simulator does.

Addresses at simulator.amazonses.com, with or without `+label`: success, bounce, complaint, ooto, suppressionlist.
At any domain the local part's word before the first `+` does the same (`bounce+anything@example.com`): see
`LIFECYCLES`. All others are delivered. A word in `REFUSED_AT_ONCE` makes the API itself refuse the message.
"""

from dataclasses import dataclass

SIMULATOR_DOMAIN = "simulator.amazonses.com"


@dataclass(frozen=True, slots=True)
class Step:
    """One event: its SES type, how many event delays after acceptance, and the bounce's or complaint's kind."""

    kind: str
    after: float = 1.0
    bounce_type: str = ""
    bounce_subtype: str = ""


SEND = Step("Send", 0.2)
DELIVERY = Step("Delivery", 1.0)
OPEN = Step("Open", 2.0)
CLICK = Step("Click", 3.0)

DELIVERED = (SEND, DELIVERY)
LIFECYCLES: dict[str, tuple[Step, ...]] = {
    "success": DELIVERED,
    "bounce": (SEND, Step("Bounce", 1.0, "Permanent", "General")),
    "suppressed": (SEND, Step("Bounce", 1.0, "Permanent", "Suppressed")),
    "no-email": (SEND, Step("Bounce", 1.0, "Permanent", "NoEmail")),
    "soft-bounce": (SEND, Step("Bounce", 1.0, "Transient", "MailboxFull")),
    "too-large": (SEND, Step("Bounce", 1.0, "Transient", "MessageTooLarge")),
    "undetermined": (SEND, Step("Bounce", 1.0, "Undetermined", "Undetermined")),
    "late-bounce": (*DELIVERED, Step("Bounce", 2.0, "Permanent", "General")),
    "complaint": (*DELIVERED, Step("Complaint", 2.0)),
    "delay": (SEND, Step("DeliveryDelay", 1.0), Step("Delivery", 3.0)),
    "open": (*DELIVERED, OPEN),
    "click": (*DELIVERED, OPEN, CLICK),
    # AWS does not say that a rejected message has a Send event; without one is the harder case for a consumer.
    "reject": (Step("Reject", 1.0),),
    "rendering-failure": (Step("Rendering Failure", 1.0),),
    "silent": (SEND,),
    "no-events": (),
    "ooto": DELIVERED,
}
MAILBOX_SIMULATOR: dict[str, tuple[Step, ...]] = {
    "success": DELIVERED,
    "bounce": LIFECYCLES["bounce"],
    "complaint": LIFECYCLES["complaint"],
    "ooto": LIFECYCLES["ooto"],
    "suppressionlist": LIFECYCLES["suppressed"],
}
REFUSED_AT_ONCE = {
    "message-rejected": ("MessageRejected", "Message failed: it was refused by the simulator's rule for this address."),
    "bad-request": ("BadRequestException", "Local address contains control or whitespace"),
}


def magic_word(recipient: str) -> str:
    """The local part's word before the first `+`; empty where there is none."""
    word, plus, _ = recipient.partition("+")
    return word.lower() if plus and "@" not in word else ""


def lifecycle(recipient: str) -> tuple[Step, ...]:
    """The events of a message to this address."""
    local, _, domain = recipient.rpartition("@")
    if domain.lower() == SIMULATOR_DOMAIN:
        return MAILBOX_SIMULATOR.get(local.partition("+")[0].lower(), DELIVERED)
    return LIFECYCLES.get(magic_word(recipient), DELIVERED)
