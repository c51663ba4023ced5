"""Where boxes and arrows go: layers from the top, the order in a layer by the middle of what it hangs on (Sugiyama)."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

from waypost.journeys.drawing import Arrow, Drawing

BOX_WIDTH, BOX_HEIGHT = 200, 58
_GAP_X, _GAP_Y = 34, 62
_LANE = 26
"""Between two arrows that pass a layer without a box of theirs, and to the right of everything."""

_SWEEPS = 6


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """An arrow's corners from tail to head; `back` leads upwards, to the right of everything."""

    arrow: Arrow
    points: tuple[tuple[float, float], ...]
    back: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Layout:
    """The middle of each box's top edge, the lines, and the size of it all. Pixels, from the top left."""

    places: Mapping[str, tuple[float, float]]
    lines: tuple[Line, ...]
    width: float
    height: float


def lay_out(drawing: Drawing) -> Layout:
    """A place for everything; the same for the same drawing."""
    order = [box.id for box in drawing.boxes]
    back = _back_arrows(order, drawing.arrows)
    forward = [arrow for arrow in drawing.arrows if arrow not in back]
    layer = _layers(order, forward)
    chains = {arrow: _chain(arrow, layer) for arrow in forward}
    rows = _rows(order, layer, list(chains.values()))
    across = _across(rows, _neighbours(list(chains.values())))
    places = {box: (across[box], _top(layer[box])) for box in order}
    ports = _ports(chains, across)
    edge = max(across.values()) + BOX_WIDTH / 2 + _LANE
    lines = [
        Line(arrow=arrow, points=_points(chain, across, layer[arrow.tail], ports[arrow]))
        for arrow, chain in chains.items()
    ]
    lines += [_backwards(arrow, places, edge + place * _LANE) for place, arrow in enumerate(back)]
    height = _top(max(layer.values())) + BOX_HEIGHT + 12
    return Layout(places=places, lines=tuple(lines), width=edge + len(back) * _LANE + 80 * bool(back), height=height)


_Node = str | tuple[Arrow, int]
"""A box, or where an arrow passes a layer."""
_Near = Mapping[_Node, Sequence[_Node]]
_Points = tuple[tuple[float, float], ...]


def _back_arrows(order: Sequence[str], arrows: Sequence[Arrow]) -> list[Arrow]:
    """Arrows that close a circle, found by walking from the first box; without them there is none."""
    below: dict[str, list[Arrow]] = {box: [] for box in order}
    for arrow in arrows:
        below[arrow.tail].append(arrow)
    found, done, way = list[Arrow](), set[str](), list[str]()
    pending: list[tuple[str, bool]] = [(box, False) for box in reversed(order)]
    while pending:
        box, leaving = pending.pop()
        if leaving:
            way.remove(box)
            done.add(box)
        elif box not in done and box not in way:
            way.append(box)
            pending.append((box, True))
            found += [arrow for arrow in below[box] if arrow.head in way]
            pending += [(arrow.head, False) for arrow in reversed(below[box]) if arrow.head not in way]
    return found


def _layers(order: Sequence[str], arrows: Sequence[Arrow]) -> dict[str, int]:
    """Each box one below the lowest that leads to it."""
    layer = dict.fromkeys(order, 0)
    for _ in order:
        for arrow in arrows:
            layer[arrow.head] = max(layer[arrow.head], layer[arrow.tail] + 1)
    return layer


def _chain(arrow: Arrow, layer: Mapping[str, int]) -> tuple[_Node, ...]:
    passed = range(layer[arrow.tail] + 1, layer[arrow.head])
    return (arrow.tail, *((arrow, row) for row in passed), arrow.head)


def _rows(order: Sequence[str], layer: Mapping[str, int], chains: Iterable[Sequence[_Node]]) -> list[list[_Node]]:
    rows: list[list[_Node]] = [[] for _ in range(max(layer.values()) + 1)]
    for box in order:
        rows[layer[box]].append(box)
    for chain in chains:
        for node in chain[1:-1]:
            rows[node[1] if isinstance(node, tuple) else 0].append(node)
    return rows


def _neighbours(chains: Iterable[Sequence[_Node]]) -> tuple[_Near, _Near]:
    """Of each node those above and those below."""
    above: dict[_Node, list[_Node]] = {}
    below: dict[_Node, list[_Node]] = {}
    for chain in chains:
        for upper, lower in pairwise(chain):
            below.setdefault(upper, []).append(lower)
            above.setdefault(lower, []).append(upper)
    return above, below


def _across(rows: list[list[_Node]], near: tuple[_Near, _Near]) -> dict[_Node, float]:
    """The middle of each node. Rows are put under and over the middles of their neighbours in turn."""
    above, below = near
    across: dict[_Node, float] = {}
    for row in rows:
        _place(row, {node: _middle(node, above, across, float(place)) for place, node in enumerate(row)}, across)
    for sweep in range(_SWEEPS):
        side = below if sweep % 2 == 0 else above
        for row in reversed(rows) if sweep % 2 == 0 else rows:
            wanted = {node: _middle(node, side, across, across[node]) for node in row}
            row.sort(key=lambda node: wanted[node])
            _place(row, wanted, across)
    left = min(x - _width(node) / 2 for node, x in across.items()) - 12
    return {node: x - left for node, x in across.items()}


def _middle(node: _Node, side: _Near, across: Mapping[_Node, float], otherwise: float) -> float:
    found = [across[one] for one in side.get(node, ()) if one in across]
    return sum(found) / len(found) if found else otherwise


def _place(row: Sequence[_Node], wanted: Mapping[_Node, float], across: dict[_Node, float]) -> None:
    """As near as can be to where they should be, in their order and without overlaps (pool adjacent violators)."""
    offsets, offset = [], 0.0
    for place, node in enumerate(row):
        offset += (_width(row[place - 1]) + _width(node)) / 2 + _GAP_X if place else 0.0
        offsets.append(offset)
    pools: list[tuple[float, int]] = []
    for node, offset in zip(row, offsets, strict=True):
        total, count = wanted[node] - offset, 1
        while pools and pools[-1][0] / pools[-1][1] >= total / count:
            before, size = pools.pop()
            total, count = total + before, count + size
        pools.append((total, count))
    starts = [total / count for total, count in pools for _ in range(count)]
    across.update({node: start + offset for node, start, offset in zip(row, starts, offsets, strict=True)})


def _width(node: _Node) -> float:
    return BOX_WIDTH if isinstance(node, str) else _LANE


def _ports(chains: Mapping[Arrow, Sequence[_Node]], across: Mapping[_Node, float]) -> dict[Arrow, float]:
    """Where each arrow leaves its box, from the box's middle: side by side, in the order of where they lead."""
    leaving: dict[str, list[Arrow]] = {}
    for arrow in chains:
        leaving.setdefault(arrow.tail, []).append(arrow)
    ports: dict[Arrow, float] = {}
    for arrows in leaving.values():
        arrows.sort(key=lambda arrow: across[chains[arrow][1]])
        step = min(44.0, BOX_WIDTH / (len(arrows) + 1))
        ports |= {arrow: (place - (len(arrows) - 1) / 2) * step for place, arrow in enumerate(arrows)}
    return ports


def _points(chain: Sequence[_Node], across: Mapping[_Node, float], row: int, port: float) -> _Points:
    points = [(across[chain[0]] + port, _top(row) + BOX_HEIGHT)]
    for place, node in enumerate(chain[1:-1], row + 1):
        points += [(across[node], _top(place)), (across[node], _top(place) + BOX_HEIGHT)]
    return (*points, (across[chain[-1]], _top(row + len(chain) - 1)))


def _top(row: int) -> float:
    return row * (BOX_HEIGHT + _GAP_Y) + 12.0


def _backwards(arrow: Arrow, places: Mapping[str, tuple[float, float]], lane: float) -> Line:
    (tail_x, tail_y), (head_x, head_y) = places[arrow.tail], places[arrow.head]
    half, middle = BOX_WIDTH / 2, BOX_HEIGHT / 2
    out, back = (tail_x + half, tail_y + middle + 8), (head_x + half, head_y + middle - 8)
    return Line(arrow=arrow, points=(out, (lane, out[1]), (lane, back[1]), back), back=True)
