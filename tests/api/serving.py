"""The app behind a real uvicorn on a loopback port, for clients that are not asynchronous."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from time import monotonic, sleep

import uvicorn
from fastapi import FastAPI

from waypost.stack import ports


@contextmanager
def serving(app: FastAPI) -> Iterator[str]:
    """The base URL of the app while it runs in a thread of its own."""
    port = ports.free_port()
    config = uvicorn.Config(app, host="127.0.0.1", port=port, log_config=None, access_log=False, http="httptools")
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    started = monotonic()
    while not server.started:
        assert thread.is_alive() and monotonic() - started < 10, "uvicorn did not start"
        sleep(0.01)
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        server.should_exit = True
        thread.join(10)
