"""What can be asked of one value: an attribute, a contact's field, an event's property.

For a value that is missing, null, or of another kind than the comparison's, nothing holds but `missing`.
"""

import math
from typing import Annotated, Literal, Self

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    StrictBool,
    StrictFloat,
    StrictInt,
    StrictStr,
    StringConstraints,
    model_validator,
)
from pydantic_core import PydanticCustomError

from waypost.segments.moments import Period, When

MAX_TEXT = 512
MAX_CHOICES = 100


class Piece(BaseModel):
    """A part of a rule: unknown fields are refused, nothing changes."""

    model_config = ConfigDict(frozen=True, extra="forbid")


def _storable(text: str) -> str:
    if "\0" in text or any("\ud800" <= character <= "\udfff" for character in text):
        raise PydanticCustomError("text", "Text holds no U+0000 and no lone surrogates.")
    return text


def _finite(number: float) -> float:
    if not math.isfinite(number):
        raise PydanticCustomError("number", "Numbers are finite.")
    return number


Text = Annotated[StrictStr, StringConstraints(max_length=MAX_TEXT), AfterValidator(_storable)]
Scalar = StrictBool | StrictInt | Annotated[StrictFloat, AfterValidator(_finite)] | Text


class Compare(Piece):
    """Numbers by size, texts by their characters' code points; `eq` and `ne` take true and false, too."""

    op: Literal["eq", "ne", "gt", "gte", "lt", "lte"]
    value: Scalar
    ignore_case: bool = False

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if isinstance(self.value, bool) and self.op not in ("eq", "ne"):
            raise PydanticCustomError("comparison", "true and false are compared by eq and ne only.")
        return self


class OneOf(Piece):
    """Equal to one of the values."""

    op: Literal["in"]
    values: Annotated[tuple[Scalar, ...], Field(min_length=1, max_length=MAX_CHOICES)]
    ignore_case: bool = False


class Presence(Piece):
    """There is a value that is not null, or there is none."""

    op: Literal["exists", "missing"]


class TextMatch(Piece):
    """A text that has another one somewhere, at its beginning or at its end."""

    op: Literal["contains", "starts_with", "ends_with"]
    value: Annotated[Text, Field(min_length=1)]
    ignore_case: bool = True


class Has(Piece):
    """A list of which one element equals the value."""

    op: Literal["has"]
    value: Scalar


class Around(Piece):
    """A date or time before or after another one."""

    op: Literal["before", "after"]
    moment: When


class Within(Piece):
    """A date or time in the period that ends now, or in the one that begins now; both ends count."""

    op: Literal["within_last", "within_next"]
    period: Period


Comparison = Annotated[
    Compare | OneOf | Presence | TextMatch | Has | Around | Within,
    Field(discriminator="op"),
]
