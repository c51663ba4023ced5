"""What can be wrong with what a simulation is given.

SimulationError
├── GivenError       a file or option says something that cannot be
├── DocumentError    a journey with problems
└── ServersError     no server could be started
"""

from collections.abc import Sequence
from dataclasses import dataclass

from waypost.journeys.problems import Problem


class SimulationError(Exception):
    """The root; the text says what to do."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Wrong:
    """One thing that is wrong with what was given: in which field, why, and in which line of a file."""

    field: str
    message: str
    line: int | None = None

    def __str__(self) -> str:
        place = f" (line {self.line})" if self.line is not None else ""
        return f"{self.field}{place}: {self.message}" if self.field else f"{self.message}{place}"


class GivenError(SimulationError):
    """`source` is the option or file that it is about."""

    def __init__(self, source: str, found: Sequence[Wrong]) -> None:
        self.source, self.found = source, tuple(found)
        super().__init__("; ".join(f"{source}: {one}" for one in found))


class DocumentError(SimulationError):
    """The journey cannot be simulated."""

    def __init__(self, source: str, problems: Sequence[Problem]) -> None:
        self.source, self.problems = source, tuple(problems)
        super().__init__("; ".join(f"{source}: {problem}" for problem in problems))


class ServersError(SimulationError):
    """PostgreSQL or the time-skipping server did not start."""
