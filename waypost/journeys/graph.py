"""The graph of a journey: which step leads where, by which edge, and whether time passes on it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import assert_never

from waypost.journeys.problems import Path
from waypost.journeys.steps import (
    AddToList,
    Approval,
    Branch,
    EmitEvent,
    Exit,
    RemoveFromList,
    Send,
    Split,
    StartJourney,
    Step,
    UpdateContact,
    Wait,
    WaitFor,
    Webhook,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Edge:
    """A way out of a step. `key` is stable and small; `label` is for people; `at` is where the step says it."""

    key: str
    label: str
    to: str
    at: Path
    takes_time: bool = False


def edges_of(step: Step) -> tuple[Edge, ...]:
    """The edges of a step, in the order in which it says them."""
    match step:
        case Exit():
            return ()
        case Branch():
            named = (
                Edge(
                    key=str(place),
                    label=choice.name or f"choice {place + 1}",
                    to=choice.next,
                    at=("choices", place, "next"),
                )
                for place, choice in enumerate(step.choices)
            )
            return (*named, _edge("else", step.else_))
        case Split():
            return tuple(_way("ways", place, way.name, way.next) for place, way in enumerate(step.ways))
        case Wait():
            missing = () if step.otherwise is None else (_edge("otherwise", step.otherwise),)
            return (_edge("next", step.next, takes_time=step.date is None), *missing)
        case WaitFor():
            seen = _edge("next", step.next, takes_time=step.watch.event is not None)
            return (seen, _edge("on_timeout", step.on_timeout, takes_time=True))
        case Approval():
            answers = (("next", step.next), ("on_reject", step.on_reject), ("on_timeout", step.on_timeout))
            return tuple(_edge(label, to, takes_time=True) for label, to in answers)
        case Webhook():
            failed = () if step.on_failure is None else (_edge("on_failure", step.on_failure),)
            return (_edge("next", step.next), *failed)
        case Send() | UpdateContact() | AddToList() | RemoveFromList() | EmitEvent() | StartJourney():
            return (_edge("next", step.next),)
        case _:
            assert_never(step)


def _way(field: str, place: int, label: str, to: str) -> Edge:
    return Edge(key=str(place), label=label, to=to, at=(field, place, "next"))


def _edge(label: str, to: str, *, takes_time: bool = False) -> Edge:
    return Edge(key=label, label=label, to=to, at=(label,), takes_time=takes_time)


_WRITTEN_EDGES = ("next", "otherwise", "on_timeout", "on_reject", "on_failure", "else")


def edges_written(step: object) -> tuple[Edge, ...]:
    """The edges of a step that is not sound, as far as they can be made out; time may pass on each."""
    if not isinstance(step, dict):
        return ()
    found = [_edge(name, step[name], takes_time=True) for name in _WRITTEN_EDGES if isinstance(step.get(name), str)]
    for name in ("choices", "ways"):
        for place, one in enumerate(step[name] if isinstance(step.get(name), list) else ()):
            if isinstance(one, dict) and isinstance(one.get("next"), str):
                at = (name, place, "next")
                found.append(Edge(key=str(place), label=name, to=one["next"], at=at, takes_time=True))
    return tuple(found)


Graph = Mapping[str, Sequence[Edge]]
"""The edges of each step."""


def reachable(graph: Graph, start: str) -> frozenset[str]:
    """The steps to which a way leads from `start`, itself among them."""
    found, pending = set[str](), [start]
    while pending:
        step = pending.pop()
        if step in graph and step not in found:
            found.add(step)
            pending += [edge.to for edge in graph[step]]
    return frozenset(found)


def timeless_loop(graph: Graph) -> tuple[str, ...] | None:
    """A way from a step back to itself on which no time passes, the step first and last; None where there is none."""
    below = {step: {edge.to for edge in edges if not edge.takes_time} & graph.keys() for step, edges in graph.items()}
    while leaves := {step for step, after in below.items() if not after & below.keys()}:
        below = {step: after for step, after in below.items() if step not in leaves}
    if not below:
        return None
    way = [next(iter(below))]
    while (after := min(below[way[-1]] & below.keys())) not in way:
        way.append(after)
    return (*way[way.index(after) :], after)


def target_of(step: Step, edge: str) -> str:
    """Where the edge of this key leads. Raises KeyError for one that the step does not have."""
    return {one.key: one.to for one in edges_of(step)}[edge]
