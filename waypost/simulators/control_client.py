"""A client of the control API, for tests and drills."""

import time
from collections.abc import Callable, Iterator
from typing import Any

import httpx

from waypost.simulators.errors import ControlError

PAGE = 10_000


class ControlClient:
    """Steers a running simulator. Every method raises `ControlError` where the simulator refuses."""

    def __init__(self, url: str) -> None:
        self._http = httpx.Client(base_url=url, timeout=10.0, trust_env=False)

    def faults(self, *faults: dict[str, Any]) -> list[dict[str, Any]]:
        """Put these in place of all faults; none at all clears them. Kept-back events then flow."""
        return self._ask("PUT", "/control/faults", list(faults))  # type: ignore[no-any-return]  # JSON

    def add_fault(self, **fault: Any) -> list[dict[str, Any]]:
        """Add one fault."""
        return self._ask("POST", "/control/faults", fault)  # type: ignore[no-any-return]  # JSON

    def remove_fault(self, number: int) -> None:
        """Remove one by its id."""
        self._ask("DELETE", f"/control/faults/{number}")

    def faults_in_force(self) -> list[dict[str, Any]]:
        """All faults with their counters."""
        return self._ask("GET", "/control/faults")  # type: ignore[no-any-return]  # JSON

    def account(self, provider: str, key: str, **settings: Any) -> dict[str, Any]:
        """Make or change an account."""
        return self._ask("PUT", f"/control/accounts/{provider}/{key}", settings)  # type: ignore[no-any-return]  # JSON

    def stats(self) -> dict[str, Any]:
        """Counters."""
        return self._ask("GET", "/control/stats")  # type: ignore[no-any-return]  # JSON

    def log(self, since: int = 0) -> Iterator[dict[str, Any]]:
        """The truth log from `since` to its present end, page by page."""
        while True:
            page = self._ask("GET", f"/control/log?since={since}&limit={PAGE}")
            yield from page["entries"]
            if not page["entries"]:
                return
            since = page["next"]

    def inbox(self, words: str = "", limit: int = 50) -> list[dict[str, Any]]:
        """The newest messages in which all words occur."""
        query = {"q": words, "limit": str(limit)}
        return self._ask("GET", "/control/inbox", params=query)  # type: ignore[no-any-return]  # JSON

    def inbound(self, *, person: str, number: str, body: str, **more: Any) -> dict[str, Any]:
        """Let a person write a text message to one of your numbers."""
        request = {"from": person, "to": number, "body": body, **more}
        return self._ask("POST", "/control/twilio/inbound", request)  # type: ignore[no-any-return]  # JSON

    def wait_until(self, condition: Callable[[dict[str, Any]], bool], *, seconds: float = 5.0) -> dict[str, Any]:
        """Poll the counters until the condition holds. Raises `TimeoutError`."""
        ends = time.monotonic() + seconds
        while not condition(stats := self.stats()):
            if time.monotonic() > ends:
                raise TimeoutError("the simulator's counters did not come to that")
            time.sleep(0.02)
        return stats

    def close(self) -> None:
        """Give back sockets."""
        self._http.close()

    def _ask(self, method: str, path: str, body: object = None, params: dict[str, str] | None = None) -> Any:
        answer = self._http.request(method, path, json=body, params=params)
        if answer.is_error:
            raise ControlError(answer.json()["error"])
        return answer.json()
