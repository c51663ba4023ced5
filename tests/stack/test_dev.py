"""`waypost dev` as a user has it: the whole stack, once."""

from __future__ import annotations

import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import psutil
import pytest

from waypost.stack import running
from waypost.stack.lock import StackLock
from waypost.stack.running import RunningStack


@pytest.fixture(scope="module")
def data() -> Iterator[Path]:
    folder = Path(tempfile.mkdtemp(prefix="waypost-test-"))
    folder.chmod(0o711)
    yield folder
    shutil.rmtree(folder)


@pytest.fixture(scope="module")
def stack(data: Path) -> Iterator[RunningStack]:
    with running.ensured(data, "--unsafe-fast") as found:
        yield found


def test_the_demo_tenants_key_opens_the_api_and_the_accounts_are_simulated(stack: RunningStack) -> None:
    with httpx.Client(base_url=stack.urls["api"], trust_env=False) as api:
        assert stack.demo_api_key is not None
        senders = api.get("/v1/senders", headers={"authorization": f"Bearer {stack.demo_api_key}"}).json()["data"]
        assert {sender["key"] for sender in senders} == {"email", "sms", "whatsapp"}
        accounts = api.get("/v1/provider-accounts", headers={"authorization": f"Bearer {stack.admin_key}"}).json()
    assert {account["endpoint"] for account in accounts["data"]} == {stack.urls["simulators"]}


def test_an_email_and_a_text_message_go_out_and_come_back_delivered(stack: RunningStack) -> None:
    wanted = {
        "email": {"to": {"email": "anna@example.com"}, "content": {"subject": "Hi", "text": "Hello"}},
        "sms": {"to": {"phone": "+14155550123"}, "content": {"body": "Hello"}},
    }
    headers = {"authorization": f"Bearer {stack.demo_api_key}"}
    with httpx.Client(base_url=stack.urls["api"], headers=headers, trust_env=False) as api:
        accepted = [api.post("/v1/messages", json={"channel": name, **body}) for name, body in wanted.items()]
        assert [answer.status_code for answer in accepted] == [202, 202]
        for answer in accepted:
            _await_delivery(api, answer.json()["id"])


def test_every_printed_address_answers(stack: RunningStack) -> None:
    pages = [
        url
        for name, url in stack.urls.items()
        if url.startswith("http") and name not in ("ingest", "simulators", "api")
    ]
    assert {url: httpx.get(url, trust_env=False).status_code for url in pages} == dict.fromkeys(pages, 200)


def test_a_second_start_on_the_folder_says_who_has_it(stack: RunningStack) -> None:
    refused = _dev(stack.data)
    assert refused.returncode == 1
    assert f"already running on {stack.data} (process {stack.pid})" in refused.stderr


def test_kill_nine_of_the_supervisor_leaves_nothing_and_the_next_start_finds_the_data(stack: RunningStack) -> None:
    children = psutil.Process(stack.pid).children(recursive=True)
    assert len(children) > 7
    psutil.Process(stack.pid).send_signal(signal.SIGKILL)
    StackLock.acquire(stack.data).release()  # the guardian holds it until all is stopped
    assert [child for child in children if _lives(child)] == []
    with running.ensured(stack.data, "--unsafe-fast", "--no-workers") as again:
        assert again.demo_api_key == stack.demo_api_key
        assert {name: again.ports[name] for name in ("api", "postgres")} == {
            name: stack.ports[name] for name in ("api", "postgres")
        }


def _await_delivery(api: httpx.Client, message: str) -> None:
    deadline = time.monotonic() + 15
    while (story := api.get(f"/v1/messages/{message}").json())["delivery"] != "delivered":
        assert time.monotonic() < deadline, f"{story['status']}, {story['delivery']}"
        time.sleep(0.05)


def _dev(data: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    argv = (sys.executable, "-P", "-m", "waypost.cli.main", "dev", "--data", str(data), *arguments)
    return subprocess.run(argv, capture_output=True, text=True, timeout=60, check=False)


def _lives(process: psutil.Process) -> bool:
    """Given a moment: the guardian itself ends just after it has let go of the lock."""
    deadline = time.monotonic() + 2
    while time.monotonic() < deadline:
        try:
            if process.status() == psutil.STATUS_ZOMBIE:
                return False
        except psutil.NoSuchProcess:
            return False
        time.sleep(0.02)
    return True
