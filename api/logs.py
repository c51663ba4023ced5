"""Logs as JSON lines on stderr. A line holds types, codes, route patterns and times: never a body, a path's values,
an exception's text or anything else that a person could be found by.
"""

import logging
import sys
import traceback
from datetime import UTC, datetime
from typing import Any

import orjson

from waypost.logs import event_of

LOGGER = logging.getLogger("waypost.api")


class JsonFormatter(logging.Formatter):
    """One JSON object a line: time, level, event, and the facts given as `extra={"facts": …}`."""

    def format(self, record: logging.LogRecord) -> str:
        """The line. An exception adds its type and where it was raised, not its text."""
        facts: dict[str, Any] = getattr(record, "facts", {})
        line = {
            "at": datetime.fromtimestamp(record.created, UTC),
            "level": record.levelname.lower(),
            "event": event_of(record),
            **facts,
        }
        if record.exc_info and record.exc_info[1] is not None:
            line |= describe(record.exc_info[1])
        return orjson.dumps(line, default=str).decode()


def describe(error: BaseException) -> dict[str, str]:
    """An exception without its text: its type, its cause's type, and where it was raised."""
    frames = traceback.extract_tb(error.__traceback__)
    cause = error.__cause__ or error.__context__
    return {
        "error": _type_name(error),
        "cause": _type_name(cause) if cause else "",
        "where": " < ".join(f"{frame.name}:{frame.lineno}" for frame in reversed(frames[-5:])),
    }


def _type_name(error: BaseException) -> str:
    return f"{type(error).__module__}.{type(error).__qualname__}"


def configure() -> None:
    """Send the process's logs to stderr as JSON lines; libraries from WARNING up."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonFormatter())
    logging.basicConfig(level=logging.WARNING, handlers=[handler], force=True)
    LOGGER.setLevel(logging.INFO)
