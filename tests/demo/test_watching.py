from collections.abc import Iterator
from typing import Any
from uuid import UUID, uuid4

from waypost.demo.endings import End
from waypost.demo.watching import Watch

_ROW = {"outcome": "sent", "bounced": False, "complained": False, "undeliverable": False}


class Pages:
    """A door behind which messages get delivered, one each time that somebody looks at a page."""

    def __init__(self, count: int, *, size: int) -> None:
        self.messages = [uuid4() for _ in range(count)]
        self._size = size
        self._late: Iterator[UUID] = iter(self.messages)
        self._delivered: set[UUID] = set()
        self.looks: list[str | None] = []

    async def page(self, path: str, *, cursor: str | None, **query: Any) -> dict[str, Any]:
        self.looks.append(cursor)
        self._delivered.add(next(self._late, self.messages[-1]))
        start = int(cursor or 0)
        some = self.messages[start : start + self._size]
        more = start + self._size < len(self.messages)
        return {
            "data": [
                {**_ROW, "id": str(each), "delivery": "delivered" if each in self._delivered else "none"}
                for each in some
            ],
            "next_cursor": str(start + self._size) if more else None,
        }


def _watch(pages: Pages, *ends: End) -> Watch:
    foreseen = {message: frozenset(ends) for message in pages.messages}
    return Watch(pages, tag="demo-x", foreseen=foreseen)  # type: ignore[arg-type]  # a stand-in for Door


async def test_it_ends_as_soon_as_all_have_and_a_settled_page_is_not_read_again() -> None:
    pages = Pages(5, size=2)
    watch = _watch(pages, End.DELIVERED)
    seen = [settled async for settled in watch.until_settled(patience_s=5)]
    assert seen[-1] == watch.settled == len(watch.rows) == 5
    assert seen == sorted(seen)
    assert pages.looks.count(None) == 2
    assert len(pages.looks) < 3 * len(seen) + 1


async def test_it_gives_up_when_nothing_settles_any_more() -> None:
    watch = _watch(Pages(1, size=2), End.BOUNCED)
    assert {settled async for settled in watch.until_settled(patience_s=0.3)} == {0}
