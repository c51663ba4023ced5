"""What becomes of a text message: decided by its recipient's number.

Twilio's own magic numbers refuse at once (source: Twilio, "Test credentials"). The others are ours, in number blocks of
10,000 so that a load test can have many distinct recipients of one fate. All other numbers are delivered.

| number            | fate |
|---|---|
| +15005550001      | 21211 invalid number |
| +15005550002      | 21612 cannot route |
| +15005550003      | 21408 no permission for the region |
| +15005550004      | 21610 opted out |
| +15005550009      | 21614 cannot receive SMS |
| +1500561xxxx      | undelivered, 30003 unreachable handset |
| +1500562xxxx      | 21610 opted out |
| +1500563xxxx      | undelivered, 30006 landline |
| +1500564xxxx      | undelivered, 30007 filtered by a carrier |
| +1500565xxxx      | failed, 30008 unknown error |
| +1500566xxxx      | sent, and never anything more |
| +1500567xxxx      | 21635 landline, refused at once |
| +1500568xxxx      | delivered, after ten delays |

From numbers: +15005550001 is 21212 invalid, +15005550007 is 21606 not owned, +15005550008 is 21611 queue full.
"""

from dataclasses import dataclass

from waypost.simulators.errors import TwilioError


@dataclass(frozen=True, slots=True)
class Fate:
    """Statuses after `queued`, each with its delay in event delays; the last one may carry an error code."""

    statuses: tuple[tuple[str, float], ...]
    error_code: int | None = None


DELIVERED = Fate((("sent", 1.0), ("delivered", 2.0)))
READ = Fate((("sent", 1.0), ("delivered", 2.0), ("read", 4.0)))
BLOCKS: dict[str, Fate] = {
    "+1500561": Fate((("sent", 1.0), ("undelivered", 2.0)), 30003),
    "+1500563": Fate((("sent", 1.0), ("undelivered", 2.0)), 30006),
    "+1500564": Fate((("sent", 1.0), ("undelivered", 2.0)), 30007),
    "+1500565": Fate((("failed", 1.0),), 30008),
    "+1500566": Fate((("sent", 1.0),)),
    "+1500568": Fate((("sent", 1.0), ("delivered", 10.0))),
}
BLOCK_LENGTH = len("+1500561")
UNSUBSCRIBED = (21610, "Attempt to send to unsubscribed recipient")
REFUSED_TO: dict[str, tuple[int, str]] = {
    "+15005550001": (21211, "The 'To' number +15005550001 is not a valid phone number."),
    "+15005550002": (21612, "The 'To' phone number: +15005550002, is not currently reachable via SMS."),
    "+15005550003": (
        21408,
        "Permission to send an SMS has not been enabled for the region of the 'To' number.",
    ),
    "+15005550004": UNSUBSCRIBED,
    "+15005550009": (21614, "'To' number is not a valid mobile number"),
}
REFUSED_BLOCKS: dict[str, tuple[int, str]] = {
    "+1500562": UNSUBSCRIBED,
    "+1500567": (21635, "'To' number cannot be a landline"),
}
REFUSED_FROM: dict[str, tuple[int, str, int]] = {
    "+15005550001": (21212, "The 'From' number +15005550001 is not a valid phone number.", 400),
    "+15005550007": (21606, "The 'From' phone number provided is not a valid, SMS-capable Twilio phone number.", 400),
    "+15005550008": (21611, "This 'From' number has exceeded the maximum number of queued messages", 429),
}


def bare_number(address: str) -> str:
    """The number of `whatsapp:+…`, or the number itself."""
    return address.removeprefix("whatsapp:")


def check_numbers(*, to: str, sender: str) -> None:
    """Raise `TwilioError` where a magic number refuses at once."""
    if refused := REFUSED_FROM.get(bare_number(sender)):
        raise TwilioError(refused[0], refused[1], status=refused[2])
    number = bare_number(to)
    if magic := REFUSED_TO.get(number) or REFUSED_BLOCKS.get(number[:BLOCK_LENGTH]):
        raise TwilioError(*magic)


def fate_of(to: str) -> Fate:
    """What becomes of an accepted message to this address."""
    ordinary = READ if to.startswith("whatsapp:") else DELIVERED
    return BLOCKS.get(bare_number(to)[:BLOCK_LENGTH], ordinary)
