"""Structured logs: a JSON object a line on standard error, codes and ids only.

Messages are constant sentences; what varies is in `extra`. An exception is told by its type and place, never by its
text, which may carry an address (psycopg's `Key (email)=(…)`).
"""

import logging
import traceback
from datetime import UTC, datetime

import orjson

_OWN = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}


class JsonFormatter(logging.Formatter):
    """One record as one line of JSON."""

    def __init__(self, process: str) -> None:
        super().__init__()
        self._process = process

    def format(self, record: logging.LogRecord) -> str:
        """The line."""
        line = {
            "at": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "process": self._process,
            "logger": record.name,
            "event": record.msg if not record.args else record.msg.split("%")[0],
            **{key: value for key, value in vars(record).items() if key not in _OWN},
        }
        if record.exc_info and record.exc_info[1] is not None:
            line |= _exception(record.exc_info[1])
        return orjson.dumps(line, default=str).decode()


def _exception(error: BaseException) -> dict[str, object]:
    frames = traceback.extract_tb(error.__traceback__)[-5:]
    return {"error": type(error).__name__, "where": [f"{frame.name}:{frame.lineno}" for frame in frames]}


def configure_logs(process: str, *, level: int = logging.INFO) -> None:
    """Send every log of this process to standard error as JSON lines; libraries' from WARNING on."""
    handler = logging.StreamHandler()
    handler.setFormatter(JsonFormatter(process))
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(logging.WARNING)
    for name in ("waypost", "activities", "workflows", "api"):
        logging.getLogger(name).setLevel(level)
