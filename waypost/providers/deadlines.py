"""How long one request to a provider may take."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Deadlines:
    """Seconds, all of them bounds on one HTTP request.

    connect  making the connection, over all of the host's addresses, TLS included
    read     silence while waiting for the next byte of the reply
    total    from the first step to the last byte: a reply that drips outlives every read time-out, but not this
    """

    connect: float = 2.0
    read: float = 8.0
    total: float = 10.0
