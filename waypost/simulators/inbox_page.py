"""The inbox page."""

from waypost.simulators.simulator import Simulator
from waypost.simulators.wire import Reply, Request, text_reply


class InboxPage:
    """Answers `/`."""

    def __init__(self, simulator: Simulator) -> None:
        self._simulator = simulator

    def handle(self, request: Request) -> Reply:
        """One request."""
        return text_reply(f"{len(self._simulator.inbox)} messages", content_type=b"text/html; charset=utf-8")
