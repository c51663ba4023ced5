"""A row's cells as a contact, or why they are none."""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from waypost.imports import addresses, cells
from waypost.imports.layout import Column, Layout
from waypost.imports.options import IdFrom
from waypost.messaging.addresses import email_key
from waypost.messaging.content_errors import AddressError, LabelError
from waypost.messaging.labels import MAX_ATTRIBUTES_BYTES, validate_data

_SURELY_SMALL = MAX_ATTRIBUTES_BYTES // 8
"""Characters that no way of writing JSON makes too long."""
_EXTERNAL_ID = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.:@|~+=,-]{0,127}", re.ASCII)

Judged = Callable[[str], Any]

_PLAIN: dict[str, Judged] = {
    "email": addresses.email,
    "phone": addresses.phone,
    "time_zone": addresses.time_zone,
    "locale": addresses.locale,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class GivenContact:
    """What a row says of a contact. What it says nothing of (no column, an empty cell) is left as it is."""

    number: int
    external_id: str
    fields: dict[str, str] = field(repr=False)
    attributes: dict[str, Any] = field(repr=False)
    consent: dict[str, bool]

    def then(self, later: "GivenContact") -> "GivenContact":
        """This row and a later one of the same contact as one: the later word wins."""
        return GivenContact(
            number=later.number,
            external_id=self.external_id,
            fields={**self.fields, **later.fields},
            attributes={**self.attributes, **later.attributes},
            consent={**self.consent, **later.consent},
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusal:
    """Why a row was left out. `field`: of the file's fields, None where the whole row is meant."""

    number: int
    field: str | None
    message: str


class Judge:
    """Judges rows of one layout."""

    def __init__(self, layout: Layout, id_from: IdFrom) -> None:
        self._width = len(layout.columns)
        self._id_from = id_from
        columns = list(enumerate(layout.columns))
        self._plain = [(at, one.field, _PLAIN[one.field]) for at, one in columns if one.field in _PLAIN]
        self._external_id = next((at for at, one in columns if one.field == IdFrom.EXTERNAL_ID), None)
        self._consent = [(at, one.field.partition(".")[2]) for at, one in columns if one.field.startswith("consent.")]
        self._attributes = [_attribute(at, one) for at, one in columns if one.field.startswith("attributes.")]
        self._names = sum(len(name) + 2 for _, name, _ in self._attributes)

    def judge(self, number: int, row: Sequence[str]) -> GivenContact | Refusal:
        """The contact, or what is wrong with every field of it in one text."""
        if len(row) != self._width:
            return Refusal(
                number=number, field=None, message=f"The row has {len(row)} cells, the header has {self._width}."
            )
        found: list[tuple[str, str]] = []
        fields = self._read_fields(row, found)
        external_id = self._read_id(row, fields, found)
        consent = self._read_consent(row, found)
        attributes = self._read_attributes(row, found)
        if found:
            names = ", ".join(dict.fromkeys(name for name, _ in found))
            return Refusal(number=number, field=names[:500], message=" ".join(text for _, text in found)[:2_000])
        return GivenContact(
            number=number, external_id=external_id, fields=fields, attributes=attributes, consent=consent
        )

    def _read_fields(self, row: Sequence[str], found: list[tuple[str, str]]) -> dict[str, str]:
        fields = {}
        for at, name, read in self._plain:
            cell = row[at].strip()
            if cell:
                try:
                    fields[name] = read(cell)
                except AddressError as error:
                    found.append((name, f"{error.message} {error.hint or ''}".strip()))
        return fields

    def _read_id(self, row: Sequence[str], fields: dict[str, str], found: list[tuple[str, str]]) -> str:
        if self._external_id is None:
            if "email" not in fields and not any(name == "email" for name, _ in found):
                found.append(("email", "The cell is empty, and the e-mail address is the id."))
            given = email_key(fields.get("email", "_"))
        else:
            given = row[self._external_id].strip(" ")
        if not _EXTERNAL_ID.fullmatch(given):
            allowed = "1 to 128 of A-Z a-z 0-9 _ . : @ | ~ + = , - beginning with a letter, a digit or _."
            found.append((self._id_from.value, f"An id is {allowed}"))
        return given

    def _read_consent(self, row: Sequence[str], found: list[tuple[str, str]]) -> dict[str, bool]:
        consent = {}
        for at, channel in self._consent:
            if row[at].strip():
                try:
                    consent[channel] = cells.consent(row[at])
                except ValueError as error:
                    found.append((f"consent.{channel}", str(error)))
        return consent

    def _read_attributes(self, row: Sequence[str], found: list[tuple[str, str]]) -> dict[str, Any]:
        attributes = {}
        size = self._names
        for at, name, read in self._attributes:
            cell = row[at]
            if cell:
                size += len(cell)
                try:
                    attributes[name] = read(cell)
                except ValueError as error:
                    found.append((f"attributes.{name}", str(error)))
        if size > _SURELY_SMALL:
            try:
                validate_data(attributes, field="attributes", max_bytes=MAX_ATTRIBUTES_BYTES)
            except LabelError as error:
                found.append(("attributes", error.message))
        return attributes


def _attribute(at: int, column: Column) -> tuple[int, str, Judged]:
    return at, column.field.removeprefix("attributes."), partial(cells.attribute, kind=column.kind)
