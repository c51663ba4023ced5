"""Structured logs: a JSON object a line on standard error, codes and ids only.

Messages are constant sentences; what varies is in `extra`. An exception is told by its type and place, never by its
text, which may carry an address (psycopg's `Key (email)=(…)`).
"""

import logging
import re
import traceback
from datetime import UTC, datetime

import orjson

_OWN = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}
OUR_LOGGERS = ("waypost", "activities", "workflows", "api")
_PLAIN = re.compile(r"[A-Za-z][A-Za-z ,-]{0,119}")


class JsonFormatter(logging.Formatter):
    """One record as one line of JSON."""

    def __init__(self, process: str) -> None:
        super().__init__()
        self._process = process

    def format(self, record: logging.LogRecord) -> str:
        """The line."""
        line: dict[str, object] = {
            "at": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "process": self._process,
            "logger": record.name,
            "event": event_of(record),
        }
        if _is_ours(record.name):
            line |= {key: value for key, value in vars(record).items() if key not in _OWN}
        if record.exc_info and record.exc_info[1] is not None:
            line |= _exception(record.exc_info[1])
        return orjson.dumps(line, default=str).decode()


def event_of(record: logging.LogRecord) -> str:
    """What happened, without what varies.

    Ours are constant sentences. A library's may be put together from anything (asyncio's "Task exception was never
    retrieved" goes on with the exception's repr), so only its first words are kept.
    """
    text = str(record.msg) if isinstance(record.msg, str) else type(record.msg).__name__
    if _is_ours(record.name):
        return text.split("%")[0] if record.args else text
    words = _PLAIN.match(text)
    return words.group().rstrip() if words else "a library's message"


def _is_ours(logger: str) -> bool:
    return logger.split(".")[0] in OUR_LOGGERS


def _exception(error: BaseException) -> dict[str, object]:
    frames = traceback.extract_tb(error.__traceback__)[-5:]
    told: dict[str, object] = {
        "error": type(error).__name__,
        "where": [f"{frame.name}:{frame.lineno}" for frame in frames],
    }
    cause = error.__cause__ or error.__context__
    return told | {"cause": type(cause).__name__} if cause else told


def configure_logs(process: str, *, level: int = logging.INFO) -> None:
    """Send every log of this process to standard error as JSON lines; libraries' from WARNING on."""
    handler = logging.StreamHandler()
    handler.setFormatter(JsonFormatter(process))
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(logging.WARNING)
    for name in OUR_LOGGERS:
        logging.getLogger(name).setLevel(level)
