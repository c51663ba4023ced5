"""A crowd is contacts and members like any others."""

from uuid import uuid4

import psycopg

from tests.services import Database
from waypost.drills.crowd import Crowd, gather


def test_a_crowd_is_in_its_list_with_the_addresses_it_says(database: Database) -> None:
    tenant = uuid4()
    crowd = Crowd(tenant=tenant, prefix="c", count=25, word="open", time_zone="Asia/Tokyo")
    with psycopg.connect(database.owner_url, autocommit=True) as connection:
        connection.execute("INSERT INTO tenants (id, name) VALUES (%s, 'crowded')", (tenant,))
        gather(database.owner_url, crowd, into="everybody")
        found = connection.execute(
            "SELECT c.email, c.time_zone, jsonb_array_length(c.attributes -> 'items') FROM lists l "
            "JOIN list_members m ON m.list_id = l.id JOIN contacts c ON c.id = m.contact_id WHERE l.key = 'everybody'"
        ).fetchall()
    assert sorted(email for email, _, _ in found) == sorted(crowd.addresses())
    assert {zone for _, zone, _ in found} == {"Asia/Tokyo"}
    assert min(items for _, _, items in found) >= 3


def test_two_crowds_of_one_tenant_are_kept_apart(database: Database) -> None:
    tenant = uuid4()
    with psycopg.connect(database.owner_url, autocommit=True) as connection:
        connection.execute("INSERT INTO tenants (id, name) VALUES (%s, 'crowded')", (tenant,))
        for prefix, count in (("a", 3), ("b", 4)):
            gather(database.owner_url, Crowd(tenant=tenant, prefix=prefix, count=count), into=prefix)
        found = connection.execute(
            "SELECT l.key, count(*) FROM lists l JOIN list_members m ON m.list_id = l.id GROUP BY 1 ORDER BY 1"
        ).fetchall()
    assert found == [("a", 3), ("b", 4)]
