"""What of an exception may reach Temporal's history: our own words, and of anything else its type and code.

Exception texts carry personal data (psycopg's `Key (email)=(…)`, pydantic's `input_value`, a provider's "Email address
not verified: …"), so a text is kept only when the exception is one of ours, which are written to carry none.
"""

import re

from temporalio.api.failure.v1 import Failure
from temporalio.converter import DefaultFailureConverter, PayloadConverter
from temporalio.exceptions import ApplicationError, CancelledError, FailureError

from waypost.messaging.failure import WaypostFailure

_IDENTIFIER = re.compile(r"[A-Za-z_][A-Za-z0-9_.\-]{0,63}")
_SQLSTATE = re.compile(r"[0-9A-Z]{5}")


class ReferencesOnlyFailureConverter(DefaultFailureConverter):
    """The one failure converter of client, workers, replayer, simulation and tests."""

    def to_failure(self, exception: BaseException, payload_converter: PayloadConverter, failure: Failure) -> None:
        """Write `exception` and, through recursion, its causes to `failure`, without foreign texts or details."""
        super().to_failure(_safe(exception), payload_converter, failure)


def _safe(exception: BaseException) -> BaseException:
    if isinstance(exception, WaypostFailure):
        return _as_application_error(exception, str(exception), type_=exception.type)
    if isinstance(exception, FailureError) and exception.failure is not None:
        return exception  # decoded from a history, so it was converted by us before
    if isinstance(exception, ApplicationError):
        # The SDK's own class can be raised by any library with any text: keep how it behaves, not what it says.
        return _as_application_error(exception, _code(exception), type_=_identifier(exception.type, "ApplicationError"))
    if isinstance(exception, CancelledError):
        return _like(exception, CancelledError("Cancelled"))
    if isinstance(exception, FailureError):
        return exception  # time-outs, activity errors: the SDK's own words, with converted causes
    return _as_application_error(exception, _code(exception), type_=type(exception).__name__)


def _as_application_error(exception: BaseException, message: str, *, type_: str) -> BaseException:
    error = ApplicationError(
        message,
        type=type_,
        non_retryable=getattr(exception, "non_retryable", False),
        next_retry_delay=getattr(exception, "next_retry_delay", None),
    )
    return _like(exception, error)


def _like(exception: BaseException, error: BaseException) -> BaseException:
    """`error` at the place and with the causes of `exception`."""
    error.__traceback__ = exception.__traceback__
    error.__cause__ = exception.__cause__
    error.__context__ = exception.__context__
    error.__suppress_context__ = exception.__suppress_context__
    return error


def _code(exception: BaseException) -> str:
    """The type, and a machine's code where the exception has one: an SQLSTATE, an errno, an HTTP or AWS code."""
    name = type(exception).__name__
    sqlstate = getattr(exception, "sqlstate", None)
    if isinstance(sqlstate, str) and _SQLSTATE.fullmatch(sqlstate):
        return f"{name} {sqlstate}"
    for attribute in ("errno", "status_code"):
        value = getattr(exception, attribute, None)
        if isinstance(value, int):
            return f"{name} {value}"
    response = getattr(exception, "response", None)  # botocore's ClientError
    error = response.get("Error") if isinstance(response, dict) else None
    code = _identifier(error.get("Code"), "") if isinstance(error, dict) else ""
    return f"{name} {code}" if code else name


def _identifier(value: object, otherwise: str) -> str:
    """A name that a program chose; anything else is text and stays here."""
    return value if isinstance(value, str) and _IDENTIFIER.fullmatch(value) else otherwise
