"""Failures in Temporal's history: our own words, and of anybody else's exception its type and code."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import NoReturn

import psycopg
import pytest
from botocore.exceptions import ClientError
from pydantic import BaseModel, EmailStr
from temporalio.api.failure.v1 import Failure
from temporalio.converter import DataConverter
from temporalio.exceptions import ApplicationError, CancelledError

from tests.services import Database
from waypost.messaging.failure import WaypostFailure
from waypost.temporal.client import DATA_CONVERTER

CANARY = "zq7canary9address24chars"
ADDRESS = f"{CANARY}@example.com"


class AccountBusyError(WaypostFailure):
    """One of ours, as activities raise them."""

    non_retryable = True


def failure_of(error: BaseException, converter: DataConverter = DATA_CONVERTER) -> Failure:
    """What would be written to the history."""
    failure = Failure()
    converter.failure_converter.to_failure(error, converter.payload_converter, failure)
    return failure


def raised(make: Callable[[], object]) -> BaseException:
    """The exception with its traceback, as an activity's caller sees it."""
    try:
        make()
    except BaseException as error:
        return error
    raise AssertionError("nothing was raised")


class _Person(BaseModel):
    email: EmailStr
    age: int


def _invalid() -> object:
    return _Person.model_validate({"email": CANARY, "age": CANARY})


def _refused_by_ses() -> NoReturn:
    raise ClientError(
        {
            "Error": {"Code": "MessageRejected", "Message": f"Email address not verified: {ADDRESS}"},
            "ResponseMetadata": {
                "HTTPStatusCode": 400,
                "RequestId": "r",
                "HTTPHeaders": {},
                "RetryAttempts": 0,
                "HostId": "",
            },
        },
        "SendEmail",
    )


def _application_error() -> NoReturn:
    raise ApplicationError(f"cannot write to {ADDRESS}", {"to": ADDRESS}, type="Refused", non_retryable=True)


def _application_error_whose_type_is_text() -> NoReturn:
    raise ApplicationError("no", type=f"cannot write to {ADDRESS}")


def _cancelled_with_text() -> NoReturn:
    raise CancelledError(f"gave up on {ADDRESS}", {"to": ADDRESS})


def _noted() -> NoReturn:
    error = ValueError(ADDRESS)
    error.add_note(f"while writing to {ADDRESS}")
    raise error


def _grouped() -> NoReturn:
    raise ExceptionGroup(ADDRESS, [ValueError(ADDRESS), LookupError(ADDRESS)])


def _nested() -> None:
    try:
        try:
            _invalid()
        except ValueError:
            raise LookupError(ADDRESS)  # noqa: B904 - a context, not a cause, is what is tested
    except LookupError as error:
        raise AccountBusyError("every call of the account is taken") from error


@dataclass
class _Odd(Exception):  # noqa: N818 - a library might call it so
    """An exception whose `status_code` is not a code."""

    status_code: str


def _odd() -> NoReturn:
    raise _Odd(status_code=ADDRESS)


@pytest.mark.parametrize(
    ("make", "type_", "codes"),
    [
        (_invalid, "ValidationError", []),
        (_refused_by_ses, "ClientError", ["MessageRejected"]),
        (_application_error, "Refused", []),
        (_application_error_whose_type_is_text, "ApplicationError", []),
        (_noted, "ValueError", []),
        (_grouped, "ExceptionGroup", []),
        (_nested, "AccountBusyError", ["every call of the account is taken", "LookupError", "ValidationError"]),
        (_odd, "_Odd", []),
        (_cancelled_with_text, "", []),
    ],
)
def test_foreign_text_never_reaches_a_history(make: Callable[[], object], type_: str, codes: list[str]) -> None:
    error = raised(make)
    failure = failure_of(error)
    written = failure.SerializeToString().decode(errors="replace")
    assert CANARY not in written
    assert failure.application_failure_info.type == type_
    for code in codes:
        assert code in written
    assert failure.stack_trace


def test_the_default_converter_would_have_told() -> None:
    """The control: the same exceptions carry the address where ours does not stand in the way."""
    for make in (_invalid, _refused_by_ses, _application_error, _nested):
        assert CANARY in str(failure_of(raised(make), DataConverter.default))


def test_postgresqls_detail_stays_here_and_its_sqlstate_is_told(module_database: Database) -> None:
    def duplicate() -> None:
        with psycopg.connect(module_database.owner_url) as connection:
            connection.execute("CREATE TEMPORARY TABLE people (email text UNIQUE)")
            connection.execute("INSERT INTO people VALUES (%s)", (ADDRESS,))
            connection.execute("INSERT INTO people VALUES (%s)", (ADDRESS,))

    error = raised(duplicate)
    assert CANARY in str(error)
    failure = failure_of(error)
    assert CANARY not in failure.SerializeToString().decode(errors="replace")
    assert failure.application_failure_info.type == "UniqueViolation"
    assert "23505" in failure.message


def test_our_own_words_come_back_as_they_were_written() -> None:
    failure = failure_of(raised(_nested))
    back = DATA_CONVERTER.failure_converter.from_failure(failure, DATA_CONVERTER.payload_converter)
    assert isinstance(back, ApplicationError)
    assert back.message == "every call of the account is taken"
    assert back.type == "AccountBusyError"
    assert back.non_retryable


def test_a_failure_that_was_read_from_a_history_is_written_as_it_was() -> None:
    converter = DATA_CONVERTER.failure_converter
    first = failure_of(raised(_nested))
    second = failure_of(converter.from_failure(first, DATA_CONVERTER.payload_converter))
    assert second == first


def test_how_an_application_error_behaves_is_kept() -> None:
    assert failure_of(raised(_application_error)).application_failure_info.non_retryable
    assert not failure_of(ValueError("x")).application_failure_info.non_retryable


def test_a_cancellation_stays_one() -> None:
    assert failure_of(raised(_cancelled_with_text)).HasField("canceled_failure_info")
    assert failure_of(asyncio.CancelledError(ADDRESS)).message != ADDRESS
