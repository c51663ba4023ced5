"""From a file's header to where each column goes."""

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Self

from waypost.imports.errors import FileError
from waypost.imports.options import IdFrom, ImportOptions
from waypost.messaging.values import Channel

MAX_COLUMNS = 500
MAX_NAME = 128
SKIP = "-"

_PLAIN = frozenset({"external_id", "email", "phone", "time_zone", "locale"})
_CONSENT = frozenset(f"consent.{channel}" for channel in Channel)
_KNOWN = _PLAIN | _CONSENT
_ATTRIBUTE = re.compile(r"attributes\.(?P<name>.+?)(?::(?P<kind>text|number|boolean|date))?", re.DOTALL)
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\ud800-\udfff]")
FIELDS = "external_id, email, phone, time_zone, locale, consent.email, consent.sms, consent.whatsapp, attributes.NAME"


class CellKind(StrEnum):
    """What an attribute's cells become; `infer`: a number or boolean where it cannot be anything else, else text."""

    TEXT = "text"
    NUMBER = "number"
    BOOLEAN = "boolean"
    DATE = "date"
    INFER = "infer"


@dataclass(frozen=True, slots=True, kw_only=True)
class Column:
    """Where a column's cells go: a field, `consent.CHANNEL`, `attributes.NAME`, or nowhere (`-`)."""

    field: str
    kind: CellKind = CellKind.TEXT


@dataclass(frozen=True, slots=True, kw_only=True)
class Layout:
    """The columns of a file in their order."""

    delimiter: str
    columns: tuple[Column, ...]

    def as_json(self) -> dict[str, Any]:
        """As it is stored, for whoever goes on with the file."""
        return {"delimiter": self.delimiter, "columns": [[one.field, one.kind.value] for one in self.columns]}

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Self:
        """The same again."""
        columns = tuple(Column(field=field, kind=CellKind(kind)) for field, kind in value["columns"])
        return cls(delimiter=value["delimiter"], columns=columns)


def lay_out(header: Sequence[str], *, delimiter: str, options: ImportOptions) -> Layout:
    """Where the columns of this header go. Raises `FileError`."""
    names = [name.strip() for name in header]
    if len(names) > MAX_COLUMNS:
        raise FileError(f"A file may have {MAX_COLUMNS} columns.", field="header")
    mapping = dict(options.columns)
    missing = set(mapping) - set(names)
    if missing:
        raise FileError("The mapping names a column that the header does not have.", field="map")
    kind = CellKind.INFER if options.types else CellKind.TEXT
    columns = tuple(
        _mapped(mapping[name], kind) if name in mapping else _by_name(name, number, kind)
        for number, name in enumerate(names, 1)
    )
    _check_together(columns, options.id_from)
    return Layout(delimiter=delimiter, columns=columns)


def _mapped(target: str, kind: CellKind) -> Column:
    if target == SKIP or target in _KNOWN:
        return Column(field=target)
    found = _ATTRIBUTE.fullmatch(target)
    if found is None or not _is_name(found["name"]):
        raise FileError(f"A column is mapped to one of {FIELDS}, or to - to leave it out.", field="map")
    return Column(field=f"attributes.{found['name']}", kind=CellKind(found["kind"]) if found["kind"] else kind)


def _by_name(name: str, number: int, kind: CellKind) -> Column:
    if not name:
        return Column(field=SKIP)  # spreadsheets leave columns behind that nobody fills
    if name.lower() in _KNOWN:
        return Column(field=name.lower())
    attribute = name.removeprefix("attributes.")
    if not _is_name(attribute):
        raise FileError(
            f"The header's cell {number} is no attribute's name: at most {MAX_NAME} characters of UTF-8, "
            "no control characters.",
            field="header",
        )
    return Column(field=f"attributes.{attribute}", kind=kind)


def _is_name(name: str) -> bool:
    return 0 < len(name) <= MAX_NAME and not _CONTROL.search(name)


def _check_together(columns: Sequence[Column], id_from: IdFrom) -> None:
    fields = Counter(column.field for column in columns)
    if any(count > 1 for field, count in fields.items() if field != SKIP):
        raise FileError("Two columns go to the same field; map one of them to another, or to -.", field="header")
    if id_from.value not in fields:
        raise FileError(
            f"No column is {id_from.value}, which tells one contact from another. Map the one that is, or take "
            "the e-mail address as the id.",
            field="header",
        )
    if id_from is IdFrom.EMAIL and "external_id" in fields:
        raise FileError("The id is to be the e-mail address, but a column is external_id: map it to -.", field="id")
