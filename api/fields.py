"""Types of fields that several resources share. Everything has a bound, nothing holds control characters."""

from collections.abc import Sequence
from typing import Annotated, Generic, TypeVar

from fastapi import Path
from pydantic import AfterValidator, AwareDatetime, BaseModel, ConfigDict, StringConstraints
from pydantic_core import PydanticCustomError

from waypost.messaging.content import has_control_or_break

EXTERNAL_ID = r"^[A-Za-z0-9_][A-Za-z0-9_.:@|~+=,-]{0,127}$"
SLUG = r"^[a-z0-9][a-z0-9_-]{0,63}$"
KEY_ID = r"^[A-Z2-7]{12}$"


def _one_line(text: str) -> str:
    if has_control_or_break(text):
        raise PydanticCustomError("control_character", "Line breaks and control characters are not allowed here.")
    return text


Name = Annotated[str, StringConstraints(min_length=1, max_length=200), AfterValidator(_one_line)]
"""A name that people read."""

Note = Annotated[str, StringConstraints(max_length=500), AfterValidator(_one_line)]
"""A remark of one line."""

Slug = Annotated[str, StringConstraints(pattern=SLUG)]
"""A name that goes into paths: lower-case letters, digits, hyphens and underscores, at most 64."""

ExternalId = Annotated[str, StringConstraints(pattern=EXTERNAL_ID)]
"""The caller's own id of a contact, at most 128 characters of `A-Z a-z 0-9 _ . : @ | ~ + = , -`."""

SlugPath = Annotated[str, Path(pattern=SLUG)]
ExternalIdPath = Annotated[str, Path(pattern=EXTERNAL_ID)]
KeyIdPath = Annotated[str, Path(pattern=KEY_ID)]

When = AwareDatetime
"""A time with its offset from UTC."""


class Body(BaseModel):
    """A request's body: unknown fields are refused."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Shown(BaseModel):
    """What is shown of a row."""

    model_config = ConfigDict(frozen=True, from_attributes=True)


T = TypeVar("T")


class Listing(BaseModel, Generic[T]):
    """One page of a list. `next_cursor` goes into the next request's `cursor`; null: this was the last page."""

    model_config = ConfigDict(frozen=True)

    data: Sequence[T]
    next_cursor: str | None
