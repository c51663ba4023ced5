"""What of an exception may reach Temporal's history: our own words, and of anything else its type and code.

Exception texts carry personal data (psycopg's `Key (email)=(…)`, pydantic's `input_value`, a provider's "Email address
not verified: …"), so a text is kept only when the exception is one of ours, which are written to carry none.
"""

from temporalio.api.failure.v1 import Failure
from temporalio.converter import DefaultFailureConverter, PayloadConverter
from temporalio.exceptions import ApplicationError, FailureError

from waypost.messaging.failure import WaypostFailure


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
        return _as_application_error(exception, _code(exception), type_=exception.type or "ApplicationError")
    if isinstance(exception, FailureError):
        return exception  # time-outs, cancellations, activity errors: the SDK's own words, with converted causes
    return _as_application_error(exception, _code(exception), type_=type(exception).__name__)


def _as_application_error(exception: BaseException, message: str, *, type_: str) -> ApplicationError:
    error = ApplicationError(
        message,
        type=type_,
        non_retryable=getattr(exception, "non_retryable", False),
        next_retry_delay=getattr(exception, "next_retry_delay", None),
    )
    error.__traceback__ = exception.__traceback__
    error.__cause__ = exception.__cause__
    error.__context__ = exception.__context__
    error.__suppress_context__ = exception.__suppress_context__
    return error


def _code(exception: BaseException) -> str:
    """A machine's code of the exception, where it has one: an SQLSTATE, an errno, an HTTP status."""
    for attribute in ("sqlstate", "errno", "status_code"):
        value = getattr(exception, attribute, None)
        if isinstance(value, int) or (isinstance(value, str) and value.isalnum()):
            return f"{type(exception).__name__} {value}"
    return type(exception).__name__
