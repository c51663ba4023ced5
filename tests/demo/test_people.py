import json
from collections import Counter
from pathlib import Path

import pytest

from waypost.demo import templates
from waypost.demo.endings import End, foretold
from waypost.demo.errors import ExamplesError
from waypost.demo.people import MOST, people, read_csv, write_csv
from waypost.demo.shop import Shop
from waypost.messaging.addresses import normalise_email, normalise_phone, normalise_time_zone
from waypost.messaging.values import Channel
from waypost.simulators.twilio_fate import BLOCKS, REFUSED_BLOCKS

_EXAMPLES = Path(__file__).parents[2] / "examples"


def test_the_example_file_is_what_the_generator_makes(tmp_path: Path) -> None:
    write_csv(tmp_path / "made.csv", people(200))
    assert (tmp_path / "made.csv").read_text() == (_EXAMPLES / "contacts.csv").read_text()
    assert read_csv(_EXAMPLES / "contacts.csv") == list(people(200))


def test_the_first_people_are_the_same_however_many_there_are() -> None:
    assert list(people(1000))[:30] == list(people(30))


def test_no_two_people_share_an_id_or_an_address() -> None:
    crowd = list(people(MOST))
    for column in ("external_id", "email", "phone"):
        assert len({getattr(person, column) for person in crowd}) == MOST


def test_addresses_and_time_zones_are_accepted_as_they_are() -> None:
    for person in people(200):
        assert normalise_email(person.email) == person.email
        assert normalise_phone(person.phone) == person.phone
        assert normalise_time_zone(person.time_zone) == person.time_zone


def test_thirty_people_show_every_kind_of_ending() -> None:
    ends = Counter(foretold(Channel.EMAIL, person.email) for person in people(30))
    assert ends.keys() == {End.DELIVERED, End.OPENED, End.CLICKED, End.BOUNCED, End.COMPLAINED, End.UNREPORTED}
    texts = {foretold(Channel.SMS, person.phone) for person in people(30)}
    assert texts == {End.DELIVERED, End.BOUNCED, End.FAILED}


def test_the_blocks_of_numbers_are_the_simulators() -> None:
    special = {person.phone[:8] for person in people(20)} & (BLOCKS.keys() | REFUSED_BLOCKS.keys())
    assert special == {"+1500561", "+1500562", "+1500568"}


def test_no_two_messages_of_a_run_say_the_same_to_the_same_person() -> None:
    shop = Shop("demo-abc123")
    bodies = [
        json.dumps(make(person)) for person in people(500) for make in (shop.receipt, shop.parcel, shop.login_code)
    ]
    assert len(set(bodies)) == len(bodies)


def test_a_value_with_an_at_sign_is_the_text_of_a_file() -> None:
    receipt = templates.load(templates.RECEIPT)
    assert receipt["locales"]["de"]["mjml"] == (_EXAMPLES / "templates" / "receipt.de.mjml").read_text()


def test_a_missing_example_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(ExamplesError, match="run the demo from a clone"):
        templates.load("nothing", tmp_path)
    with pytest.raises(ExamplesError, match=r"nothing\.csv is not a file of contacts"):
        read_csv(tmp_path / "nothing.csv")
