"""What `waypost accounts check` asks of an SES account, and the probe that proves its feed."""

from dataclasses import dataclass
from uuid import UUID

from waypost.messaging.provider import ProviderAccount, RenderedMessage
from waypost.messaging.values import Channel
from waypost.providers.deadlines import Deadlines
from waypost.providers.errors import AccountUnusableError
from waypost.providers.ses.connection import open_ses
from waypost.providers.ses.errors import classify

PROBE_ADDRESS = "success@simulator.amazonses.com"
"""SES's mailbox simulator: takes everything, reaches nobody, publishes real events, does not count as a bounce."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SesAccountFacts:
    """What `GetAccount` says. Quotas count recipients; `max_per_day` -1 means no limit."""

    sending_enabled: bool
    production_access: bool
    enforcement: str
    max_per_day: float
    max_per_second: float
    sent_last_day: float


def describe_account(account: ProviderAccount, deadlines: Deadlines) -> SesAccountFacts:
    """Ask SES for the account's standing; also proves the credentials. Raises `AccountUnusableError` with the code."""
    client, wire = open_ses(account, deadlines)
    try:
        with wire.call() as call:
            answer = client.get_account()
    except Exception as failure:
        raise AccountUnusableError(classify(failure, reached_wire=call.reached_wire).code or "failed") from None
    finally:
        wire.close()
    quota = answer.get("SendQuota", {})
    return SesAccountFacts(
        sending_enabled=answer.get("SendingEnabled", False),
        production_access=answer.get("ProductionAccessEnabled", False),
        enforcement=answer.get("EnforcementStatus", "UNKNOWN"),
        max_per_day=quota.get("Max24HourSend", 0.0),
        max_per_second=quota.get("MaxSendRate", 0.0),
        sent_last_day=quota.get("SentLast24Hours", 0.0),
    )


def probe_message(*, attempt_id: UUID, from_address: str, configuration_set: str | None) -> RenderedMessage:
    """A message to the mailbox simulator whose tagged events prove that the account's feed works."""
    return RenderedMessage(
        attempt_id=attempt_id,
        channel=Channel.EMAIL,
        to=PROBE_ADDRESS,
        from_address=from_address,
        subject="Waypost feed probe",
        text="This message goes to Amazon's mailbox simulator. It makes events that prove that the feed works.",
        configuration_set=configuration_set,
    )
