"""The load's own HTTP: connections are kept, and what fails is told."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from waypost.drills.posting import NoAnswerError, Poster


class Server:
    """Answers each request with what it was told to, and counts connections."""

    def __init__(self) -> None:
        self.connections = 0
        self.answer = b"HTTP/1.1 202 Accepted\r\nContent-Length: 11\r\nRetry-After: 1\r\n\r\n" + b'{"id": "x"}'
        self.url = ""

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        try:
            while head := await reader.readuntil(b"\r\n\r\n"):
                await reader.readexactly(int(head.decode().lower().split("content-length: ")[1].split("\r\n")[0]))
                writer.write(self.answer)
                if not self.answer:
                    break
        except asyncio.IncompleteReadError:
            pass
        writer.close()


@pytest.fixture
async def server() -> AsyncIterator[Server]:
    served = Server()
    running = await asyncio.start_server(served.serve, "127.0.0.1", 0)
    served.url = f"http://127.0.0.1:{running.sockets[0].getsockname()[1]}"
    yield served
    running.close()
    await running.wait_closed()


async def test_requests_one_after_the_other_share_a_connection_and_those_at_once_do_not(server: Server) -> None:
    poster = Poster(server.url, timeout_s=5)
    first = await poster.post("/send", {"a": 1}, {"authorization": "Bearer x"})
    assert (first.status, first.headers["retry-after"], first.content()) == (202, "1", {"id": "x"})
    await poster.post("/send", {}, {})
    assert server.connections == 1
    await asyncio.gather(*(poster.post("/send", {}, {}) for _ in range(3)))
    assert server.connections == 3
    poster.close()


async def test_a_connection_that_is_closed_without_an_answer_is_no_answer(server: Server) -> None:
    server.answer = b""
    with pytest.raises(NoAnswerError):
        await Poster(server.url, timeout_s=5).post("/send", {}, {})


async def test_nobody_there_is_no_answer() -> None:
    with pytest.raises(NoAnswerError):
        await Poster("http://127.0.0.1:1", timeout_s=5).post("/send", {}, {})
