"""What the journeys' benches put into the ledger and read from it: contacts by COPY, and where enrollments are.

As the database's owner, whom row security does not bind; no process of the product is one.
"""

from collections import defaultdict
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import orjson
import psycopg

from waypost.messaging.ids import contact_id

_COPY = "COPY contacts (tenant_id, id, external_id, email, time_zone, consent, attributes) FROM STDIN"

_COUNTS = """
SELECT count(*), count(*) FILTER (WHERE state = 'open'),
       count(*) FILTER (WHERE state = 'open' AND step = %(step)s AND resting_since IS NOT NULL),
       count(*) FILTER (WHERE how = 'completed')
FROM enrollments WHERE tenant_id = %(tenant)s
"""

_UNTOLD = "SELECT count(*) FROM enrollment_inbox WHERE tenant_id = %s"

_ENDS = """
SELECT EXTRACT(epoch FROM ended_at)::float8 FROM enrollments WHERE tenant_id = %s AND ended_at IS NOT NULL ORDER BY 1
"""

_LEFT = """
SELECT c.external_id, EXTRACT(epoch FROM v.left_at)::float8
FROM enrollments e
JOIN contacts c ON c.tenant_id = e.tenant_id AND c.id = e.contact_id
JOIN enrollment_visits v ON v.tenant_id = e.tenant_id AND v.enrollment_id = e.id
WHERE e.tenant_id = %s AND v.left_at >= to_timestamp(%s)
ORDER BY e.id, v.number
"""

_STEPS = "SELECT count(*) FROM enrollment_visits WHERE tenant_id = %s AND enrollment_id = %s"

_ENDED = """
SELECT e.id FROM enrollments e JOIN journeys j ON j.tenant_id = e.tenant_id AND j.id = e.journey_id
WHERE e.tenant_id = %s AND j.key = %s AND e.how = 'completed' ORDER BY e.id
"""

_QUEUES = "SELECT count(*) FROM tenants WHERE state <> 'closed'"


@dataclass(frozen=True, slots=True)
class EnrollmentCounts:
    """Of a tenant's enrollments: all, the open ones, those that rest at a step, those that walked to the end."""

    all: int
    open: int
    resting: int
    completed: int


def external_id(number: int) -> str:
    """The n-th contact's."""
    return f"c-{number}"


class JourneyLedger:
    """The stack's database, seen from outside. Blocking."""

    def __init__(self, owner: str, *, tenant: UUID) -> None:
        self._connection = psycopg.connect(owner, autocommit=True)
        self._tenant = tenant

    def close(self) -> None:
        """Give the connection back."""
        self._connection.close()

    def gather(self, count: int) -> None:
        """Contacts `c-0` …, as the API would make them."""
        with self._connection.cursor() as cursor, cursor.copy(_COPY) as copy:
            for number in range(count):
                name = external_id(number)
                attributes = orjson.dumps({"plan": ("basic", "plus", "team")[number % 3], "points": number % 5000})
                consent, address = '{"email": true}', f"ok+journey-{number}@crowd.test"
                identity = contact_id(tenant=self._tenant, external_id=name)
                copy.write_row((self._tenant, identity, name, address, "Etc/UTC", consent, attributes.decode()))
        self._connection.execute("ANALYZE contacts")

    def enrollments(self, step: str) -> EnrollmentCounts:
        """How many there are, and how many rest at the step."""
        return EnrollmentCounts(*self._one(_COUNTS, {"tenant": self._tenant, "step": step}))

    def untold(self) -> int:
        """What enrollments were told and have not taken note of."""
        return int(self._one(_UNTOLD, (self._tenant,))[0])

    def ends(self) -> list[float]:
        """When enrollments ended, in order; seconds since 1970, as all times here."""
        return [row[0] for row in self._connection.execute(_ENDS, (self._tenant,)).fetchall()]

    def left(self, since: float) -> dict[str, list[float]]:
        """By contact, when its enrollment left a step, in order."""
        found: defaultdict[str, list[float]] = defaultdict(list)
        for name, at in self._connection.execute(_LEFT, (self._tenant, since)).fetchall():
            found[name].append(at)
        return found

    def steps(self, enrollment: UUID) -> int:
        """How many steps an enrollment has taken."""
        return int(self._one(_STEPS, (self._tenant, enrollment))[0])

    def ended(self, journey: str) -> list[UUID]:
        """Those that walked a journey to its end."""
        return [row[0] for row in self._connection.execute(_ENDED, (self._tenant, journey)).fetchall()]

    def queues(self) -> int:
        """How many queues a worker process of the stack polls: each tenant here has its own."""
        return int(self._one(_QUEUES, ())[0])

    def _one(self, query: str, values: Any) -> tuple[Any, ...]:
        row = self._connection.execute(query.encode(), values).fetchone()
        assert row is not None
        return row
