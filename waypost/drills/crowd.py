"""A crowd of contacts, made at the rate of a COPY: the API's door is not what these drills and benches are about.

As the database's owner, whom row security does not bind; no process of the product is one.
"""

from dataclasses import dataclass
from uuid import UUID

import psycopg
from psycopg import conninfo

from waypost.messaging.ids import list_id
from waypost.stack.postgres import OWNER
from waypost.stack.secrets import StackSecrets


def owner_of(*, database_url: str, secrets: StackSecrets) -> str:
    """How the owner of an embedded server's database connects to it."""
    return conninfo.make_conninfo(database_url, user=OWNER, password=secrets.postgres_password)


@dataclass(frozen=True, slots=True, kw_only=True)
class Crowd:
    """Contacts `{prefix}-0` … of one tenant; the n-th of each has the address `{word}+{prefix}-n@crowd.test`."""

    tenant: UUID
    prefix: str
    count: int
    word: str = "ok"
    """What the simulators read before the `+`: which fate the address has."""
    time_zone: str | None = None

    def address(self, number: int) -> str:
        """The n-th one's address."""
        return f"{self.word}+{self.prefix}-{number}@crowd.test"

    def addresses(self) -> list[str]:
        """All of them."""
        return [self.address(number) for number in range(self.count)]


# Attributes as a shop has them: five values and a list, so that a template has something to do.
_CONTACTS = """
INSERT INTO contacts (tenant_id, id, external_id, email, time_zone, consent, attributes)
SELECT tenant, md5(tenant || '/' || prefix || '-' || n)::uuid, prefix || '-' || n,
       word || '+' || prefix || '-' || n || '@crowd.test', zone, '{"email": true}',
       jsonb_build_object(
           'first_name', (ARRAY['Ann', 'Ben', 'Cleo', 'Dora', 'Emil', 'Fay', 'Gus'])[1 + n %% 7],
           'city', (ARRAY['Ghent', 'Lyon', 'Porto', 'Turin', 'Graz'])[1 + n %% 5],
           'plan', (ARRAY['basic', 'plus', 'team'])[1 + n %% 3], 'points', n %% 5000, 'code', 'C-' || n,
           'items', (SELECT jsonb_agg(jsonb_build_object('name', 'Item ' || i, 'price', (n * i) %% 97))
                     FROM generate_series(1, 3 + n %% 4) AS i))
FROM (VALUES (%(tenant)s::uuid, %(prefix)s::text, %(word)s::text, %(zone)s::text)) AS g (tenant, prefix, word, zone),
     generate_series(0, %(count)s::int - 1) AS n
"""

_LIST = """
INSERT INTO lists (tenant_id, id, key, name) VALUES (%(tenant)s, %(list_id)s, %(list)s, %(list)s) ON CONFLICT DO NOTHING
"""

_MEMBERS = """
INSERT INTO list_members (tenant_id, list_id, contact_id)
SELECT l.tenant_id, l.id, c.id FROM lists l JOIN contacts c ON c.tenant_id = l.tenant_id
WHERE l.tenant_id = %(tenant)s AND l.key = %(list)s AND starts_with(c.external_id, %(prefix)s::text || '-')
"""


def gather(owner: str, crowd: Crowd, *, into: str | None = None) -> None:
    """Make the contacts, and them members of the list of this key where one is given. Blocking."""
    values = {
        "tenant": str(crowd.tenant),
        "prefix": crowd.prefix,
        "word": crowd.word,
        "zone": crowd.time_zone,
        "count": crowd.count,
        "list": into,
        "list_id": list_id(tenant=crowd.tenant, key=into) if into is not None else None,
    }
    with psycopg.connect(owner, autocommit=True) as connection:
        connection.execute(_CONTACTS, values)
        if into is not None:
            connection.execute(_LIST, values)
            connection.execute(_MEMBERS, values)
        connection.execute("ANALYZE contacts")
        connection.execute("ANALYZE list_members")
