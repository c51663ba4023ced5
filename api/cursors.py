"""Pages of lists: opaque cursors and the bound of a page."""

from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Annotated, Any, TypeVar
from uuid import UUID

from fastapi import Depends, Query

from api.fields import Listing
from api.problems import ApiError, FieldError
from waypost.store.pages import Page, Place

MAX_PAGE = 200
DEFAULT_PAGE = 50
_EPOCH = datetime.fromisoformat("1970-01-01T00:00:00+00:00")
_MICROSECOND = timedelta(microseconds=1)

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class PageAsked:
    """Which page of a list was asked for."""

    after: Place | None
    limit: int


def write_cursor(place: Place) -> str:
    """A place as text that callers hand back: 8 bytes of microseconds since 1970, 16 of the id."""
    since = (place.created_at - _EPOCH) // _MICROSECOND
    return urlsafe_b64encode(since.to_bytes(8, signed=True) + place.id.bytes).decode("ascii")


def read_cursor(text: str) -> Place:
    """The place again. Raises `ApiError` 422 for anything that we did not write."""
    try:
        raw = urlsafe_b64decode(text.encode("ascii"))
        if len(raw) != 24:
            raise ValueError
        place = Place(_EPOCH + int.from_bytes(raw[:8], signed=True) * _MICROSECOND, UUID(bytes=raw[8:]))
        if write_cursor(place) != text:
            raise ValueError
        return place
    except (ValueError, OverflowError):  # UnicodeEncodeError and binascii.Error are ValueErrors
        advice = "Use a next_cursor of an earlier answer as it is, or leave cursor out for the first page."
        raise ApiError("invalid_cursor", advice, errors=[FieldError(field="query.cursor", message=advice)]) from None


async def _page_asked(
    cursor: Annotated[str | None, Query(max_length=64, description="next_cursor of the page before")] = None,
    limit: Annotated[int, Query(ge=1, le=MAX_PAGE, description="Rows a page")] = DEFAULT_PAGE,
) -> PageAsked:
    return PageAsked(read_cursor(cursor) if cursor else None, limit)


AskedPage = Annotated[PageAsked, Depends(_page_asked)]
"""For a list route's signature: `page: AskedPage`."""


def listing(page: Page[Any], show: Callable[[Any], T]) -> Listing[T]:
    """A page as it is answered."""
    return listing_of([show(row) for row in page.rows], page.next)


def listing_of(shown: Sequence[T], after: Place | None) -> Listing[T]:
    """The same from rows that are shown already."""
    return Listing(data=shown, next_cursor=write_cursor(after) if after else None)
