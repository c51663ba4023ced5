"""The loop that makes the months to come of attempts and events, and drops those that nobody keeps."""

import logging

from prometheus_client import Gauge

from waypost.store.database import Database, DatabaseAway
from waypost.store.months import default_rows, drop_month, make_month

logger = logging.getLogger(__name__)

_ASTRAY = Gauge("waypost_default_partition_rows", "Rows that are in no month; counted up to 10,000", ["table"])


class Months:
    """The loop's work. `message_days` and `event_days` are the installation's retention, 0: for ever."""

    def __init__(self, database: Database, *, message_days: int, event_days: int) -> None:
        self._database = database
        self._days = {"message_days": message_days, "event_days": event_days}

    async def look(self) -> bool:
        """Make one and drop one, each in a transaction of its own; whether there may be more."""
        made: str | None = None
        try:
            async with self._database.transaction() as connection:
                made = await make_month(connection)
        except DatabaseAway as error:  # among others: a DEFAULT partition too large to be looked through in time
            logger.warning("no month was made", extra={"error": type(error).__name__})
        async with self._database.transaction() as connection:
            dropped = await drop_month(connection, **self._days)
        async with self._database.transaction() as connection:
            astray = await default_rows(connection)
        for table, rows in astray.items():
            _ASTRAY.labels(table).set(rows)
        return made is not None or dropped is not None
