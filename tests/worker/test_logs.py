"""Logs tell what happened in codes and ids; no text of an exception or of a library comes through."""

from __future__ import annotations

import asyncio
import gc
import io
import json
import logging
from typing import Any

import pytest

from waypost.logs import JsonFormatter, configure_logs

ADDRESS = "zq7canary@example.com"


@pytest.fixture
def written() -> Any:
    """What a process writes, as it configures itself; the test's own handlers come back afterwards."""
    root = logging.getLogger()
    before, level = root.handlers[:], root.level
    configure_logs("worker-fast")
    (handler,) = root.handlers
    assert isinstance(handler, logging.StreamHandler)
    stream = io.StringIO()
    handler.setStream(stream)
    yield stream
    root.handlers[:], root.level = before, level


def lines(stream: io.StringIO) -> list[dict[str, Any]]:
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def test_our_sentence_and_its_facts_are_one_line(written: io.StringIO) -> None:
    logging.getLogger("waypost.worker").info("execution still open", extra={"message_id": "m-1"})
    (line,) = lines(written)
    assert (line["event"], line["message_id"], line["level"], line["process"], line["logger"]) == (
        "execution still open",
        "m-1",
        "info",
        "worker-fast",
        "waypost.worker",
    )


def test_an_exception_is_told_by_its_type_and_place(written: io.StringIO) -> None:
    try:
        raise LookupError(ADDRESS)
    except LookupError:
        logging.getLogger("activities.doors").exception("a sender failed")
    (line,) = lines(written)
    assert line["error"] == "LookupError"
    assert line["where"][-1].startswith("test_an_exception_is_told_by_its_type_and_place:")
    assert ADDRESS not in written.getvalue()


def test_what_caused_an_exception_is_told_by_its_type(written: io.StringIO) -> None:
    try:
        raise RuntimeError(ADDRESS) from LookupError(ADDRESS)
    except RuntimeError as error:
        logging.getLogger("api.middleware").error("request failed", extra={"route": "/v1/tenants"}, exc_info=error)
    (line,) = lines(written)
    assert (line["error"], line["cause"], line["route"]) == ("RuntimeError", "LookupError", "/v1/tenants")
    assert ADDRESS not in written.getvalue()


def test_what_a_library_puts_together_is_cut_to_its_first_words(written: io.StringIO) -> None:
    library = logging.getLogger("library")
    library.warning("error connecting in %r: %s", "pool", ADDRESS)
    library.warning(f"cannot write to: {ADDRESS}")
    library.warning(f"{ADDRESS} was refused", extra={"recipient": ADDRESS})
    library.error(ValueError(ADDRESS))
    assert [line["event"] for line in lines(written)] == [
        "error connecting in",
        "cannot write to",
        "zq",
        "ValueError",
    ]
    assert ADDRESS not in written.getvalue()


async def test_a_task_that_nobody_awaited_does_not_tell_its_exceptions_text(written: io.StringIO) -> None:
    async def fail() -> None:
        raise ValueError(f"Key (email)=({ADDRESS}) already exists")

    loop = asyncio.get_running_loop()
    before = loop.get_exception_handler()
    loop.set_exception_handler(None)
    task = asyncio.create_task(fail())
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    del task
    gc.collect()
    loop.set_exception_handler(before)
    (line,) = lines(written)
    assert line["event"] == "Task exception was never retrieved"
    assert line["error"] == "ValueError"
    assert ADDRESS not in written.getvalue()


def test_a_line_is_json_whatever_is_in_it() -> None:
    record = logging.makeLogRecord({"name": "waypost.x", "msg": 'a "quoted"\nline', "odd": object()})
    assert json.loads(JsonFormatter("p").format(record))["event"] == 'a "quoted"\nline'
