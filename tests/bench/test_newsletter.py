"""All arms send as much, and as personal."""

from uuid import uuid4

from waypost.bench.bare_loop import CALL, open_ses, requests
from waypost.bench.newsletter import LIQUID_HTML, SES_HTML, VARIABLES, bulk_request, person, rendered, single_request
from waypost.simulators.running import RunningSimulator


def test_every_arm_has_ten_kilobytes_five_variables_and_a_loop() -> None:
    assert min(len(LIQUID_HTML), len(SES_HTML), len(rendered(person(3, word="x"))[1])) > 10_000
    assert all(f"contact.{name}" in LIQUID_HTML and f"{{{{{name}}}}}" in SES_HTML for name in VARIABLES)
    assert "{% for item in contact.items %}" in LIQUID_HTML
    assert "{{" not in "".join(rendered(person(3, word="x")))


def test_a_call_says_the_same_whichever_way_it_is_made(simulator: RunningSimulator) -> None:
    ses = open_ses(endpoint=simulator.url, key="NEWSLETTER")
    who = person(7, word="same")
    ses.send_email(**single_request(who, attempt=str(uuid4())))
    for whole in (True, False):
        ses.send_bulk_email(**bulk_request([who], [str(uuid4())], whole=whole))
    found = [entry["body_sha256"] for entry in simulator.control.log() if entry["recipient"] == who.address]
    assert len(found) == 3
    assert len(set(found)) == 1


def test_the_bare_loops_calls_are_of_fifty_and_carry_unsubscribe_headers() -> None:
    calls = requests(CALL + 1, word="bare", slotted=True)
    assert [len(call["BulkEmailEntries"]) for call in calls] == [CALL, 1]
    names = [header["Name"] for header in calls[0]["BulkEmailEntries"][0]["ReplacementHeaders"]]
    assert names == ["List-Unsubscribe", "List-Unsubscribe-Post"]
