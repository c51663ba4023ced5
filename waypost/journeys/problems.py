"""What is wrong with a document: where, what, and what was perhaps meant."""

from collections.abc import Iterable
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any, TypeAlias

Path: TypeAlias = tuple[str | int, ...]
"""A place in a document: ("steps", "welcome", "next")."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """One thing that is wrong. `line` counts from 1; `code` is stable."""

    code: str
    message: str
    step: str | None = None
    line: int | None = None
    path: Path = ()
    suggestion: str | None = None

    def as_json(self) -> dict[str, Any]:
        """The problem for machines."""
        return {
            "code": self.code,
            "step": self.step,
            "line": self.line,
            "field": ".".join(map(str, self.path)),
            "message": self.message,
            "suggestion": self.suggestion,
        }

    def __str__(self) -> str:
        place = f"line {self.line}: " if self.line is not None else ""
        step = f"step {self.step}: " if self.step is not None else ""
        hint = f" ({self.suggestion})" if self.suggestion else ""
        return f"{place}{step}{self.message}{hint}"


def did_you_mean(word: object, known: Iterable[str]) -> str | None:
    """The known word that is nearest to one that is not; None where none is near."""
    near = get_close_matches(str(word)[:80].lower(), sorted(known), n=1, cutoff=0.6)
    return f"did you mean {near[0]}?" if near else None
