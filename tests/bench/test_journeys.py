"""The journeys' benches: their control writes the rows that the API writes, their crowd is one that the API knows."""

from __future__ import annotations

from collections.abc import Sequence

import orjson
import pytest

from tests import services
from tests.relay.ledger import Ledger
from waypost.bench.event_rows import BareRows
from waypost.bench.events import NAMES, PROPERTIES
from waypost.bench.journey_arm import batch
from waypost.bench.journey_crowd import JourneyLedger, external_id
from waypost.bench.journey_documents import MOMENT, TOUR, WAITING
from waypost.bench.wakes import Waits
from waypost.journeys.validation import check_journey
from waypost.messaging.ids import contact_id


async def test_the_control_writes_the_events_rows_of_contacts_that_the_api_knows_by_name(
    database: services.Database,
) -> None:
    rows = await Ledger.open(database)
    ledger = JourneyLedger(database.owner_url, tenant=rows.tenant)
    ledger.gather(4)
    async with BareRows(database.owner_url, tenant=rows.tenant, connections=2) as bare:
        assert await bare.rate([bare.rows([0, 1], NAMES, PROPERTIES), bare.rows([3, 3], NAMES, PROPERTIES)]) > 0
    found = await rows.execute("SELECT contact_id, name, properties FROM contact_events ORDER BY contact_id, name")
    assert [row["properties"] for row in found] == [PROPERTIES] * 4
    whose = contact_id(tenant=rows.tenant, external_id=external_id(3))
    assert sorted(row["name"] for row in found if row["contact_id"] == whose) == ["searched", "viewed"]
    assert (ledger.enrollments("x").all, ledger.untold(), ledger.ends(), ledger.left(0)) == (0, 0, [], {})
    ledger.close()
    await rows.close()


@pytest.mark.parametrize("document", [WAITING, MOMENT, TOUR])
def test_what_is_walked_is_a_sound_journey(document: object) -> None:
    assert not check_journey(orjson.dumps(document).decode()).problems


@pytest.mark.parametrize(("names", "said"), [(["a"], ["a", "a", "a"]), (["a", "b"], ["a", "b", "a"])])
def test_a_batch_has_an_event_of_each_contact_with_an_id_of_its_own(names: Sequence[str], said: list[str]) -> None:
    events = orjson.loads(batch("w", [5, 6, 5], names, {}))["events"]
    assert [event["name"] for event in events] == said
    assert [event["contact"] for event in events] == ["c-5", "c-6", "c-5"]
    assert len({event["id"] for event in events}) == 3


def test_a_wake_that_never_came_is_missing_and_in_no_percentile() -> None:
    waits = Waits(offered=4, seconds=[0.1, 0.2, 0.3])
    assert waits.missing == 1
    assert waits.at(50) == pytest.approx(0.2)
    assert waits.figures()["most"] == 300.0
