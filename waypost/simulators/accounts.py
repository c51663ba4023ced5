"""Simulated provider accounts, and the rules by which one exists without being configured.

An SES account is known by the access key id in the request's SigV4 `Credential`; a Twilio account by its SID. Rules:

1. A key seen for the first time makes an account with no limits.
2. An SES account K publishes to the topic `arn:aws:sns:<region>:000000000000:waypost-K` (the region being the one of
   the request's credential scope) and to the queue `http://<host>:<port>/000000000000/waypost-K`, so a provider
   account row can be written knowing only the key. Asking SQS for a queue `waypost-K` makes the account too.
3. An SES account without a secret takes any signature. One given a secret over the control API checks SigV4.
4. A Twilio account takes the first auth token that it is shown as its own and refuses others from then on (20003).
5. Any From identity, configuration set or messaging service exists, unless the account lists its own.
6. Characters of a key that a queue name cannot hold (all but letters, digits, `-`, `_`) become `-`.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError

from waypost.simulators.errors import ControlError
from waypost.simulators.limits import DailyQuota, RateLimit

AWS_ACCOUNT_ID = "000000000000"
DEFAULT_REGION = "us-east-1"
QUEUE_PREFIX = "waypost-"
PROVIDERS = ("ses", "twilio")


class AccountSettings(BaseModel):
    """What `PUT /control/accounts/{provider}/{key}` may set. Rates are recipients a second, quotas recipients a day."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    secret: str | None = None
    region: str | None = None
    sending_rate: float | None = None
    daily_quota: int | None = None
    sending_enabled: bool = True
    suspended: bool = False
    credentials_expired: bool = False
    identities: list[str] | None = None
    configuration_sets: list[str] | None = None
    event_kinds: list[str] | None = None
    """Event types that the configuration sets publish; None means all."""
    identity_notifications: bool = False
    """Send bounces, complaints and deliveries, untagged, also where no configuration set was named."""
    topic_arn: str | None = None
    queues: list[str] | None = None
    """Names of the queues subscribed to the topic; None means the account's own, [] none."""
    raw_delivery: bool = False
    webhook_url: str | None = None
    """An HTTP(S) subscription of the topic; it gets events once its SubscribeURL was fetched."""
    signature_version: str = "2"
    inbound_url: str | None = None
    latency_ms: float | None = None


@dataclass(slots=True)
class Account:
    """One simulated account and its counters."""

    provider: str
    key: str
    settings: AccountSettings = field(default_factory=AccountSettings)
    seen_region: str | None = None
    rate: RateLimit | None = None
    quota: DailyQuota = field(default_factory=DailyQuota)
    requests: int = 0
    accepted: int = 0
    refused: int = 0
    subscription_token: str | None = None
    subscribed: bool = False
    opted_out: set[tuple[str, str]] = field(default_factory=set)
    """Twilio: (sender, recipient) pairs of which the recipient said STOP."""

    @property
    def region(self) -> str:
        """The region set, else the first one a request named."""
        return self.settings.region or self.seen_region or DEFAULT_REGION

    @property
    def resource_name(self) -> str:
        """Name of the account's own queue and topic."""
        return QUEUE_PREFIX + re.sub(r"[^A-Za-z0-9_-]", "-", self.key)

    @property
    def topic_arn(self) -> str:
        """The topic that events are published to."""
        return self.settings.topic_arn or f"arn:aws:sns:{self.region}:{AWS_ACCOUNT_ID}:{self.resource_name}"

    @property
    def queue_names(self) -> list[str]:
        """Queues subscribed to the topic."""
        return [self.resource_name] if self.settings.queues is None else self.settings.queues

    def configure(self, changes: dict[str, Any]) -> None:
        """Apply settings by name. Raises `ControlError` on an unknown one."""
        try:
            settings = AccountSettings.model_validate(self.settings.model_dump() | changes)
        except ValidationError as wrong:
            first = wrong.errors()[0]
            raise ControlError(f"account setting {'.'.join(map(str, first['loc']))}: {first['msg']}") from wrong
        if settings.webhook_url != self.settings.webhook_url:
            self.subscribed, self.subscription_token = False, None
        if settings.sending_rate != self.settings.sending_rate:
            self.rate = None if settings.sending_rate is None else RateLimit(settings.sending_rate)
        self.settings = settings

    def view(self) -> dict[str, Any]:
        """What the control API shows; never the secret."""
        secret = None if self.settings.secret is None else "set"
        return self.settings.model_dump() | {
            "secret": secret,
            "provider": self.provider,
            "key": self.key,
            "region": self.region,
            "topic_arn": self.topic_arn if self.provider == "ses" else None,
            "queues": self.queue_names if self.provider == "ses" else [],
            "requests": self.requests,
            "accepted": self.accepted,
            "refused": self.refused,
            "webhook_subscribed": self.subscribed,
        }


class Accounts:
    """All simulated accounts."""

    def __init__(self) -> None:
        self._accounts: dict[tuple[str, str], Account] = {}
        self._by_queue: dict[str, Account] = {}

    def __iter__(self) -> Iterator[Account]:
        return iter(self._accounts.values())

    def get(self, provider: str, key: str, *, region: str | None = None) -> Account:
        """The account, made on first sight."""
        account = self._accounts.get((provider, key))
        if account is None:
            account = self._accounts[provider, key] = Account(provider, key, seen_region=region)
            if provider == "ses":
                self._by_queue[account.resource_name] = account
        elif account.seen_region is None:
            account.seen_region = region
        return account

    def configure(self, provider: str, key: str, changes: dict[str, Any]) -> Account:
        """Make or change an account. Raises `ControlError`."""
        if provider not in PROVIDERS:
            raise ControlError(f"unknown provider {provider!r}; known are {', '.join(PROVIDERS)}")
        account = self.get(provider, key)
        account.configure(changes)
        return account

    def for_queue(self, name: str) -> Account | None:
        """The account whose own queue this is, made on first sight; None for other queues."""
        if not name.startswith(QUEUE_PREFIX):
            return None
        return self._by_queue.get(name) or self.get("ses", name.removeprefix(QUEUE_PREFIX))

    def for_token(self, token: str) -> Account | None:
        """The account whose webhook subscription waits for this token."""
        return next((each for each in self._accounts.values() if each.subscription_token == token), None)
