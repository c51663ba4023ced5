"""A document's text as a tree, with the line of each of its places. YAML 1.2's core types; JSON is YAML.

Not PyYAML's own construction: that reads `on` as true, 21:00 as a number and 2026-11-24 as a date, lets a key come
twice and unrolls aliases for ever. Aliases are refused, and everything is bounded before it is built.
"""

import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import yaml

from waypost.journeys.problems import Path, Problem

MAX_CHARACTERS = 131_072
MAX_NODES = 6_000
MAX_DEPTH = 24

_WORDS: Mapping[str, Any] = {
    "": None,
    "~": None,
    **dict.fromkeys(("null", "Null", "NULL"), None),
    **dict.fromkeys(("true", "True", "TRUE"), True),
    **dict.fromkeys(("false", "False", "FALSE"), False),
}
_INTEGER = re.compile(r"[-+]?[0-9]{1,30}", re.ASCII)
_FLOAT = re.compile(r"[-+]?(\.[0-9]{1,30}|[0-9]{1,30}(\.[0-9]{0,30})?)([eE][-+]?[0-9]{1,3})?", re.ASCII)


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """A tree, and where its places are written: lines count from 1."""

    tree: Any
    lines: Mapping[Path, int]
    problems: tuple[Problem, ...] = ()

    def line(self, path: Path) -> int | None:
        """The line of a place, or of the nearest one around it that is written."""
        return next((self.lines[path[:end]] for end in range(len(path), -1, -1) if path[:end] in self.lines), None)


class _RefusedError(Exception):
    """Reading stops: there is no tree."""

    def __init__(self, code: str, message: str, line: int | None, suggestion: str | None = None) -> None:
        super().__init__(message)
        self.problem = Problem(code=code, message=message, line=line, suggestion=suggestion)


@dataclass(slots=True)
class _Reading:
    events: Iterator[yaml.Event]
    lines: dict[Path, int] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)
    nodes: int = 0


def read_source(text: str) -> Source:
    """The tree of a text, as far as it can be read; never raises."""
    if len(text) > MAX_CHARACTERS:
        said = f"A journey's document has at most {MAX_CHARACTERS:,} characters."
        return Source(tree=None, lines={}, problems=(Problem(code="too_large", message=said),))
    if text.lstrip().startswith("{"):
        text = text.replace("\t", " ")  # JSON may be indented by tabs, YAML may not
    try:
        return _read(text)
    except _RefusedError as refused:
        return Source(tree=None, lines={}, problems=(refused.problem,))
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark is not None else None
        return _unreadable(f"This is no YAML: {error.problem or error.context or 'it cannot be read'}.", line)
    except (yaml.YAMLError, ValueError, IndexError, OverflowError):  # what PyYAML lets through of odd characters
        return _unreadable("This is no YAML: it has characters that cannot be read.", None)


def _unreadable(message: str, line: int | None) -> Source:
    return Source(tree=None, lines={}, problems=(Problem(code="unreadable", message=message, line=line),))


def _read(text: str) -> Source:
    reading = _Reading(events=iter(yaml.parse(text, Loader=yaml.SafeLoader)))
    next(reading.events)
    if isinstance(first := next(reading.events), yaml.StreamEndEvent):
        raise _RefusedError("empty", "There is nothing in the document.", 1)
    assert isinstance(first, yaml.DocumentStartEvent)
    tree = _node(reading, next(reading.events), (), 0)
    next(reading.events)
    if not isinstance(more := next(reading.events), yaml.StreamEndEvent):
        raise _RefusedError("two_documents", "A file has one journey: here a second document begins.", _line(more))
    return Source(tree=tree, lines=reading.lines, problems=tuple(reading.problems))


def _line(event: yaml.Event) -> int:
    return event.start_mark.line + 1 if event.start_mark is not None else 1


def _node(reading: _Reading, event: yaml.Event, path: Path, depth: int) -> Any:
    reading.nodes += 1
    if reading.nodes > MAX_NODES:
        raise _RefusedError("too_large", f"A journey's document has at most {MAX_NODES:,} values.", _line(event))
    if depth > MAX_DEPTH:
        raise _RefusedError("too_deep", f"Values are nested at most {MAX_DEPTH} deep.", _line(event))
    reading.lines.setdefault(path, _line(event))
    if isinstance(event, yaml.AliasEvent) or getattr(event, "anchor", None) is not None:
        said = "Anchors (&) and aliases (*) are not read: say it again where it is meant."
        raise _RefusedError("alias", said, _line(event), "in quotes it is a text")
    if isinstance(event, yaml.ScalarEvent):
        return _scalar(event)
    if isinstance(event, yaml.SequenceStartEvent):
        return _sequence(reading, path, depth)
    return _mapping(reading, path, depth)


def _sequence(reading: _Reading, path: Path, depth: int) -> list[Any]:
    found: list[Any] = []
    while not isinstance(event := next(reading.events), yaml.SequenceEndEvent):
        found.append(_node(reading, event, (*path, len(found)), depth + 1))
    return found


def _mapping(reading: _Reading, path: Path, depth: int) -> dict[str, Any]:
    found: dict[str, Any] = {}
    while not isinstance(event := next(reading.events), yaml.MappingEndEvent):
        if not isinstance(event, yaml.ScalarEvent):
            raise _RefusedError("key", "A name is a text.", _line(event))
        key = _well_formed(event.value)
        place = (*path, key)
        if key in found:
            reading.problems.append(_twice(place, _line(event), reading.lines[place]))
        else:
            reading.lines[place] = _line(event)
        value = _node(reading, next(reading.events), place, depth + 1)
        found.setdefault(key, value)
    return found


def _twice(path: Path, line: int, before: int) -> Problem:
    step = str(path[1]) if len(path) > 1 and path[0] == "steps" else None
    what = "Two steps have the id" if len(path) == 2 and step else "This name comes twice:"
    return Problem(
        code="duplicate",
        message=f"{what} {path[-1]}; the first is in line {before}.",
        step=step,
        line=line,
        path=path,
        suggestion="give one of them another id" if step and len(path) == 2 else "leave one of them out",
    )


def _scalar(event: yaml.ScalarEvent) -> Any:
    text: str = event.value
    if not event.implicit[0] or event.style is not None:
        return _well_formed(text)
    if text in _WORDS:
        return _WORDS[text]
    if _INTEGER.fullmatch(text):
        return int(text)
    if _FLOAT.fullmatch(text) and math.isfinite(number := float(text)):
        return number
    return _well_formed(text)


def _well_formed(text: str) -> str:
    """JSON writes a character beyond the first plane as two halves; they are put together."""
    if any("\ud800" <= character <= "\udfff" for character in text):
        return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
    return text
