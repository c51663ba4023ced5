"""The people of the demo: made up, always the same ones, and written to a CSV file that is then imported.

Some of their addresses tell the simulators what to do with a message (docs/simulators.md), so that every kind of ending
is seen. None of the addresses exists: example.com and the numbers of area code 500.
"""

import csv
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path

from waypost.demo.errors import ExamplesError

_FIRST = (
    "Ada", "Amara", "Anton", "Bela", "Bruno", "Carla", "Chidi", "Clara", "Daan", "Dilek", "Elif", "Emil", "Fatima",
    "Felix", "Greta", "Hugo", "Ines", "Ivan", "Jana", "Jonas", "Kai", "Karin", "Leo", "Lina", "Malik", "Mara",
    "Nadia", "Nils", "Olga", "Omar", "Paula", "Priya", "Rosa", "Samir", "Sofia", "Tariq", "Theo", "Ulla", "Vera",
    "Yuki",
)  # fmt: skip
_LAST = (
    "Abebe", "Bauer", "Becker", "Costa", "Diaz", "Eriksen", "Fischer", "Gruber", "Haas", "Ibrahim", "Jansen",
    "Kaya", "Keller", "Klein", "Kovac", "Lang", "Lopez", "Maier", "Moser", "Nagy", "Novak", "Okafor", "Patel",
    "Petrov", "Pichler", "Reiter", "Rossi", "Sato", "Schmid", "Silva", "Steiner", "Suzuki", "Tanaka", "Toth",
    "Urban", "Vogel", "Weber", "Winkler", "Yilmaz", "Zeman",
)  # fmt: skip
_PLACES = (
    ("en-GB", "Europe/London"),
    ("de-AT", "Europe/Vienna"),
    ("en-US", "America/New_York"),
    ("de-DE", "Europe/Berlin"),
    ("fr-FR", "Europe/Paris"),
    ("en-IN", "Asia/Kolkata"),
    ("pt-BR", "America/Sao_Paulo"),
)

CYCLE = 20
"""Fates repeat after so many people."""
_EMAIL_WORDS = {2: "open", 3: "bounce", 6: "complaint", 9: "click", 11: "silent", 13: "delay", 17: "open"}
_PHONE_BLOCKS = {8: "+1500562", 14: "+1500561", 16: "+1500568"}
_STOPS = 4
_ORDINARY_PHONES = 15_005_700_000

MOST = 100_000
"""People at most: the simulators' blocks of numbers hold half as many of one fate."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Person:
    """A row of the CSV file."""

    external_id: str
    first_name: str = field(repr=False)
    last_name: str = field(repr=False)
    email: str = field(repr=False)
    phone: str = field(repr=False)
    locale: str
    time_zone: str

    @property
    def number(self) -> int:
        """Counted from 0, as the external id ends."""
        return int(self.external_id.rpartition("-")[2])

    @property
    def gets_a_text(self) -> bool:
        """Every other one is told by SMS that the parcel is on its way."""
        return self.number % 2 == 0

    @property
    def signs_in(self) -> bool:
        """One of ten asks for a login code."""
        return self.number % 10 == 1

    @property
    def will_stop(self) -> bool:
        """Answers STOP."""
        return self.number % CYCLE == _STOPS

    def as_contact(self) -> dict[str, object]:
        """An item of `POST /v1/contacts/batch`."""
        return {
            "external_id": self.external_id,
            "email": self.email,
            "phone": self.phone,
            "locale": self.locale,
            "time_zone": self.time_zone,
            "attributes": {"first_name": self.first_name, "last_name": self.last_name},
        }


def people(count: int) -> Iterator[Person]:
    """The first `count` of them."""
    for number in range(count):
        first = _FIRST[number * 7 % len(_FIRST)]
        last = _LAST[(number // len(_FIRST) + number * 3) % len(_LAST)]
        locale, time_zone = _PLACES[number % len(_PLACES)]
        yield Person(
            external_id=f"demo-{number}",
            first_name=first,
            last_name=last,
            email=_email(number, f"{first}.{last}.{number}".lower()),
            phone=_phone(number),
            locale=locale,
            time_zone=time_zone,
        )


def _email(number: int, name: str) -> str:
    word = _EMAIL_WORDS.get(number % CYCLE)
    return f"{word}+{name}@example.com" if word else f"{name}@example.com"


def _phone(number: int) -> str:
    block = _PHONE_BLOCKS.get(number % CYCLE)
    return f"{block}{number // CYCLE:04d}" if block else f"+{_ORDINARY_PHONES + number}"


_COLUMNS = tuple(column.name for column in fields(Person))


def write_csv(path: Path, persons: Iterator[Person]) -> None:
    """One line a person, after a line of column names."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", encoding="utf-8", newline="") as file:
        lines = csv.writer(file, lineterminator="\n")
        lines.writerow(_COLUMNS)
        lines.writerows([getattr(person, column) for column in _COLUMNS] for person in persons)


def read_csv(path: Path) -> Sequence[Person]:
    """The file again. Raises `ExamplesError`."""
    try:
        with path.open(encoding="utf-8", newline="") as file:
            return [Person(**row) for row in csv.DictReader(file)]
    except (OSError, TypeError) as error:
        raise ExamplesError(f"{path} is not a file of contacts ({type(error).__name__}).") from error
