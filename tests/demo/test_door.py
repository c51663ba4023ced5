import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, ClassVar
from uuid import uuid4

import pytest

from waypost.demo.door import Door
from waypost.demo.errors import RefusedError


class Api(BaseHTTPRequestHandler):
    """Answers what it was told to, in turn."""

    script: ClassVar[list[tuple[int, dict[str, str], dict[str, Any]]]] = []
    keys: ClassVar[list[str | None]] = []

    def do_POST(self) -> None:  # the base class's name
        self.rfile.read(int(self.headers["content-length"]))
        Api.keys.append(self.headers.get("idempotency-key"))
        status, headers, body = Api.script.pop(0)
        content = json.dumps(body).encode()
        self.send_response(status)
        for name, value in {"content-type": "application/json", "content-length": str(len(content)), **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_: object) -> None:
        """Quiet."""


@pytest.fixture
def url() -> Iterator[str]:
    Api.script, Api.keys = [], []
    server = ThreadingHTTPServer(("127.0.0.1", 0), Api)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


_ACCEPTED = {"id": str(uuid4()), "fallback_id": None, "links": {"self": "s", "execution": "e"}}


async def test_a_call_is_repeated_with_its_key_where_the_api_asks_for_patience_or_is_away(url: str) -> None:
    Api.script = [(429, {"retry-after": "0"}, {}), (503, {}, {}), (202, {"idempotent-replay": "true"}, _ACCEPTED)]
    async with Door(url, "key") as door:
        accepted = await door.send({}, key="order-1")
    assert (str(accepted.id), accepted.replayed) == (_ACCEPTED["id"], True)
    assert Api.keys == ["order-1"] * 3


async def test_a_refusal_tells_its_code(url: str) -> None:
    Api.script = [(422, {}, {"code": "no_test_account", "detail": "Make one."})]
    async with Door(url, "key") as door:
        with pytest.raises(RefusedError, match=r"POST /v1/messages was answered 422 no_test_account: Make one\."):
            await door.send({}, key="order-1")


async def test_a_refused_message_of_a_batch_is_a_refusal(url: str) -> None:
    Api.script = [(200, {}, {"verdicts": [{"status": "refused", "problem": {"code": "contact_not_found"}}]})]
    async with Door(url, "key") as door:
        with pytest.raises(RefusedError) as caught:
            await door.send_many([{}], key="batch-1")
    assert caught.value.code == "contact_not_found"
