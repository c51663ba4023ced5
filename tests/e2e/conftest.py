"""One real stack for all of this package, and a caller who uses it as a shop would."""

from __future__ import annotations

import shutil
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import httpx
import pytest

from waypost.simulators.control_client import ControlClient
from waypost.stack import running
from waypost.stack.running import RunningStack

Message = Mapping[str, Any]


class Shop:
    """The demo tenant's key, the admin key, and the simulators' levers."""

    def __init__(self, stack: RunningStack) -> None:
        self.stack = stack
        self.control = ControlClient(stack.urls["simulators"])
        self.api = _client(stack, str(stack.demo_api_key))
        self.admin = _client(stack, stack.admin_key)
        self.tenant = next(row["id"] for row in self.admin.get("/v1/tenants").json()["data"] if row["name"] == "demo")

    def close(self) -> None:
        """Give back sockets."""
        for each in (self.control, self.api, self.admin):
            each.close()

    def send(self, *, key: str | None = None, **body: Any) -> str:
        """The id of an accepted message."""
        headers = {"idempotency-key": key} if key else {}
        answer = self.api.post("/v1/messages", json=body, headers=headers)
        assert answer.status_code == 202, answer.text
        return str(answer.json()["id"])

    def email(self, address: str, **more: Any) -> str:
        """A short e-mail."""
        content = {"subject": "Hi", "text": "Hello"}
        return self.send(**{"to": {"email": address}, "channel": "email", "content": content, **more})

    def sms(self, number: str) -> str:
        """A short text message."""
        return self.send(to={"phone": number}, content={"body": "Hello"})

    def story(self, message: str) -> Message:
        """All about it."""
        found: Message = self.api.get(f"/v1/messages/{message}").raise_for_status().json()
        return found

    def until(self, message: str, holds: Callable[[Message], object], *, seconds: float = 20) -> Message:
        """Its story as soon as that holds."""
        deadline = time.monotonic() + seconds
        while not holds(story := self.story(message)):
            assert time.monotonic() < deadline, f"{story['status']}, {story['delivery']}: {story['timeline']}"
            time.sleep(0.05)
        return story

    def until_delivered(self, message: str) -> Message:
        """Its story as soon as the provider said so."""
        return self.until(message, lambda story: story["delivery"] == "delivered")

    def until_closed(self, message: str) -> Message:
        """Its story as soon as it has its outcome."""
        return self.until(message, lambda story: story["outcome"])

    def account(self, name: str) -> Message:
        """A provider account as administration sees it."""
        rows = self.admin.get("/v1/provider-accounts").json()["data"]
        found: Message = next(row for row in rows if row["name"] == name)
        return found


def _client(stack: RunningStack, key: str) -> httpx.Client:
    headers = {"authorization": f"Bearer {key}"}
    return httpx.Client(base_url=stack.urls["api"], headers=headers, trust_env=False, timeout=15)


@pytest.fixture(scope="package")
def stack() -> Iterator[RunningStack]:
    """`waypost dev` in a folder that goes with it."""
    folder = Path(tempfile.mkdtemp(prefix="waypost-test-"))
    folder.chmod(0o711)  # PostgreSQL's user must get through it when we are root
    try:
        with running.ensured(folder, "--unsafe-fast") as found:
            yield found
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="package")
def shop(stack: RunningStack) -> Iterator[Shop]:
    """The caller."""
    made = Shop(stack)
    yield made
    made.close()
