"""How a call fault shows on the wire, for every provider alike."""

from collections.abc import Callable
from dataclasses import replace

from waypost.simulators.faults import FaultKind, FaultSpec
from waypost.simulators.wire import Manner, Reply

DEFAULT_SLOW_MS = 1_000.0
DEFAULT_DRIP_MS = 500.0


def refusal(fault: FaultSpec | None, error_reply: Callable[[FaultSpec], Reply | None]) -> Reply | None:
    """The reply of a fault that keeps a message from being accepted; None where it is accepted after all."""
    if fault is None:
        return None
    if fault.fault is FaultKind.RESET:
        return Reply(manner=Manner.RESET)
    if fault.fault is FaultKind.HANG:
        return Reply(manner=Manner.HANG)
    return error_reply(fault)


def after_acceptance(reply: Reply, fault: FaultSpec | None, server_error: Reply) -> Reply:
    """What becomes of the good reply of an accepted message."""
    if fault is None:
        return reply
    match fault.fault:
        case FaultKind.ACCEPT_THEN_5XX:
            return server_error
        case FaultKind.ACCEPT_THEN_HANG:
            return Reply(manner=Manner.HANG)
        case FaultKind.ACCEPT_THEN_RESET:
            return Reply(manner=Manner.RESET)
        case FaultKind.SLOW:
            return replace(reply, delay=(DEFAULT_SLOW_MS if fault.ms is None else fault.ms) / 1000)
        case FaultKind.DRIP:
            interval = (DEFAULT_DRIP_MS if fault.ms is None else fault.ms) / 1000
            return replace(reply, manner=Manner.DRIP, drip_interval=interval)
        case _:
            return reply


def with_latency(reply: Reply, latency_ms: float) -> Reply:
    """The provider's ordinary latency on top."""
    return reply if latency_ms <= 0 else replace(reply, delay=reply.delay + latency_ms / 1000)
