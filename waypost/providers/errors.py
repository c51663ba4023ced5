"""Everything the provider adapters raise. Facts are attributes; no message holds text that a provider wrote.

ProviderError
├── NotSentError            proof that no byte of the request left
├── ReplyLostError          the request may have arrived; its reply is missing or unreadable
├── EndpointRefusedError    an account names an origin it must not use
├── AccountUnusableError    an account lacks what the asked-for adapter needs
├── EventError              an event is malformed
├── SignatureError          an event is not from whom it says
├── TrustUnavailableError   the certificate could not be had just now: ask the provider to deliver again
└── FeedError               the queue could not be read or written
"""


class ProviderError(Exception):
    """The root. `code` is stable, ours or the provider's, and carries no personal data."""

    def __init__(self, code: str) -> None:
        super().__init__(code)
        self.code = code


class NotSentError(ProviderError):
    """No byte of the request left this machine: the provider cannot have acted on it."""


class ReplyLostError(ProviderError):
    """Bytes of the request left and no complete reply came: nobody knows what the provider did."""


class EndpointRefusedError(ProviderError):
    """An account names an origin it must not use. `field` is the account's field that is wrong."""

    def __init__(self, code: str, *, field: str) -> None:
        super().__init__(code)
        self.field = field


class AccountUnusableError(ProviderError):
    """The account has no such adapter, or lacks a setting that it needs (`code` names it)."""


class EventError(ProviderError):
    """A provider's event cannot be read: keep it aside, never retry it."""


class SignatureError(ProviderError):
    """The event is not proven to be from whom it says: refuse it."""


class TrustUnavailableError(ProviderError):
    """The signing certificate could not be fetched just now: answer 5xx, the provider delivers again."""


class FeedError(ProviderError):
    """The account's queue could not be used just now."""
