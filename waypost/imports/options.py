"""How a file is to be imported. Options are part of an import's identity: the same file otherwise is another import."""

from dataclasses import dataclass
from enum import StrEnum
from typing import Any, assert_never


class IdFrom(StrEnum):
    """What tells one contact from another."""

    EXTERNAL_ID = "external_id"
    EMAIL = "email"


class Delimiter(StrEnum):
    """What stands between cells; `auto`: whichever of the others the header has most of."""

    AUTO = "auto"
    COMMA = "comma"
    SEMICOLON = "semicolon"
    TAB = "tab"

    def character(self, header: str) -> str:
        """The character itself."""
        match self:
            case Delimiter.COMMA:
                return ","
            case Delimiter.SEMICOLON:
                return ";"
            case Delimiter.TAB:
                return "\t"
            case Delimiter.AUTO:
                return max(",;\t", key=header.count)
            case _:
                assert_never(self)


@dataclass(frozen=True, slots=True, kw_only=True)
class ImportOptions:
    """`columns` are (column, field) pairs of the mapping; `label` makes the same file another import."""

    columns: tuple[tuple[str, str], ...] = ()
    id_from: IdFrom = IdFrom.EXTERNAL_ID
    delimiter: Delimiter = Delimiter.AUTO
    types: bool = False
    list_key: str | None = None
    dry_run: bool = False
    label: str | None = None

    def as_json(self) -> dict[str, Any]:
        """What is stored and hashed: the order of the mapping does not matter."""
        return {
            "columns": dict(sorted(self.columns)),
            "id_from": self.id_from.value,
            "delimiter": self.delimiter.value,
            "types": self.types,
            "list": self.list_key,
            "dry_run": self.dry_run,
            "label": self.label,
        }
