"""The plain part of Liquid without python-liquid: text, `{{ names }}` of texts and whole numbers, loops of both.

Nearly all that a campaign's template does for each recipient is that, and it takes a fifth of the time. Whatever is
out of the ordinary (a filter, a name that is missing, a value that is a list, a long text) makes `QuickText.regions`
return None: then python-liquid renders it all, and decides what is right and what is refused.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from liquid import Environment, Node
from liquid.builtin.expressions import LoopExpression
from markupsafe import escape

from waypost.messaging.liquid_limits import (
    MAX_LOOP_ITERATIONS,
    MAX_OUTPUT,
    CheckedOutputNode,
    FixedPath,
    MeteredForNode,
    PlainBlock,
    TextNode,
)

_SPECIAL = re.compile("[&<>'\"]")
_LONGEST_VALUE: Final = 500
_GREATEST_NUMBER: Final = 10**18
_COST_OF_VALUE: Final = 1 + _LONGEST_VALUE // 16
_MOST_WORK: Final = 1_000_000
"""A tenth of python-liquid's budget, in its units: what takes more is for it to render or refuse."""

Path = tuple[object, ...]


@dataclass(frozen=True, slots=True)
class _Cut:
    """Static text of so many characters stands here: a region ends."""

    length: int


@dataclass(frozen=True, slots=True)
class _Loop:
    path: Path
    body: tuple[tuple[bool, "str | Path"], ...]
    """Pieces, and of a path whether it leads on from the item."""
    cost: int
    """Of a round."""


_Operation = str | Path | _Loop | _Cut


class _OutOfTheOrdinaryError(Exception):
    """Not for us to render."""


@dataclass(frozen=True, slots=True)
class QuickText:
    """A program of one text's regions; make it once a version."""

    _operations: tuple[_Operation, ...]
    _autoescape: bool

    def regions(self, context: Mapping[str, object]) -> list[str] | None:
        """Each region; None where python-liquid must render it."""
        regions: list[str] = []
        region: list[str] = []
        size = work = 0
        try:
            for operation in self._operations:
                if isinstance(operation, str):
                    region.append(operation)
                elif isinstance(operation, tuple):
                    region.append(self._value(context, operation))
                elif isinstance(operation, _Loop):
                    items = _items(context, operation)
                    work += len(items) * operation.cost
                    if work > _MOST_WORK:
                        return None
                    region += self._rounds(context, operation, items)
                else:
                    size += operation.length
                    regions.append("".join(region))
                    region = []
        except _OutOfTheOrdinaryError:
            return None
        regions.append("".join(region))
        return regions if size + sum(map(len, regions)) <= MAX_OUTPUT else None

    def _rounds(self, context: Mapping[str, object], loop: _Loop, items: list[object]) -> list[str]:
        return [
            piece if isinstance(piece, str) else self._value(item if own else context, piece)
            for item in items
            for own, piece in loop.body
        ]

    def _value(self, start: object, path: Path) -> str:
        value = _find(start, path)
        if type(value) is int and -_GREATEST_NUMBER < value < _GREATEST_NUMBER:
            return str(value)
        # A carriage return comes out of python-liquid's buffer as another line break.
        if type(value) is not str or len(value) > _LONGEST_VALUE or "\r" in value:
            raise _OutOfTheOrdinaryError
        return str(escape(value)) if self._autoescape and _SPECIAL.search(value) else value


def _find(start: object, path: Path) -> object:
    found = start
    try:
        for segment in path:
            if type(found) is not dict:
                raise _OutOfTheOrdinaryError
            found = found[segment]
    except (KeyError, TypeError):
        raise _OutOfTheOrdinaryError from None
    return found


def _items(context: Mapping[str, object], loop: _Loop) -> list[object]:
    found = _find(context, loop.path)
    if type(found) is not list or len(found) > MAX_LOOP_ITERATIONS:
        raise _OutOfTheOrdinaryError
    return found


def cut(length: int) -> _Cut:
    """Where a static text of so many characters was taken out."""
    return _Cut(length)


def quick(nodes: Sequence[Node | _Cut], *, env: Environment) -> QuickText | None:
    """The program of a template's nodes, cuts between them; None where they hold more than the plain part."""
    operations = [_operation(node) for node in nodes]
    known = tuple(operation for operation in operations if operation is not None)
    within = len(known) * _COST_OF_VALUE < _MOST_WORK
    return QuickText(known, env.autoescape) if within and len(known) == len(operations) else None


def _operation(node: Node | _Cut) -> _Operation | None:
    if isinstance(node, _Cut):
        return node
    return _loop(node) if type(node) is MeteredForNode else _piece(node)


def _piece(node: Node) -> "str | Path | None":
    if type(node) is TextNode:
        return node.text if "\r" not in node.text else None
    if type(node) is CheckedOutputNode and type(node.expression) is FixedPath:
        return tuple(node.expression.path)
    return None


def _loop(node: MeteredForNode) -> _Loop | None:
    expression: LoopExpression = node.expression
    unusual = expression.limit or expression.offset or expression.reversed or expression.cols or node.default
    if unusual or type(expression.iterable) is not FixedPath:
        return None
    if type(node.block) is not PlainBlock or node.block.blank:
        return None
    body = [_piece(each) for each in node.block.nodes]
    known = tuple(piece for piece in body if piece is not None)
    if len(known) < len(body):
        return None
    cost = node.body_cost + len(known) * _COST_OF_VALUE
    pieces = tuple(_from_item(piece, expression.identifier) for piece in known)
    return _Loop(tuple(expression.iterable.path), pieces, cost)


def _from_item(piece: "str | Path", name: str) -> tuple[bool, "str | Path"]:
    return (True, piece[1:]) if isinstance(piece, tuple) and piece[:1] == (name,) else (False, piece)
