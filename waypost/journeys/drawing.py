"""A journey as a picture's parts: boxes and labelled arrows, with how many contacts are at each step."""

from collections.abc import Mapping
from dataclasses import dataclass

from waypost.journeys.document import Journey
from waypost.journeys.entries import ApiEntry, DateEntry, EventEntry, ScheduleEntry, SegmentEntry
from waypost.journeys.graph import edges_of
from waypost.journeys.pieces import END
from waypost.journeys.steps import Approval, Branch, Exit, Send, Split, Step, Wait, WaitFor
from waypost.journeys.wording import say_duration, words_of

ENTRY = ""
"""The id of the box that stands for the entry: no step is called so."""

_LABELS = {
    "next": "",
    "on_timeout": "in time: no",
    "on_reject": "no",
    "on_failure": "failed",
    "otherwise": "missing or past",
    "else": "else",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Box:
    """A step. `shape` is one of entry, send, wait, choice, act, exit."""

    id: str
    shape: str
    head: str
    text: str
    count: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Arrow:
    """A way from one box to another."""

    tail: str
    head: str
    label: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Drawing:
    """The parts, the entry first, then the steps in their order, then the end."""

    title: str
    boxes: tuple[Box, ...]
    arrows: tuple[Arrow, ...]


def draw(journey: Journey, counts: Mapping[str, int] | None = None) -> Drawing:
    """The drawing. `counts`: how many contacts are at a step now; those that are left out have none shown."""
    counts = counts or {}
    boxes = [Box(id=ENTRY, shape="entry", head=journey.name, text=_entry(journey))]
    arrows = [Arrow(tail=ENTRY, head=journey.start)]
    for step_id, step in journey.steps.items():
        boxes.append(Box(id=step_id, shape=_shape(step), head=step_id, text=words_of(step), count=counts.get(step_id)))
        arrows += _arrows(step_id, step)
    if any(arrow.head == END for arrow in arrows):
        boxes.append(Box(id=END, shape="exit", head=END, text="completed"))
    return Drawing(title=journey.name, boxes=tuple(boxes), arrows=tuple(arrows))


def _arrows(step_id: str, step: Step) -> list[Arrow]:
    """One an edge; edges between the same two steps share one."""
    labels: dict[str, list[str]] = {}
    for edge in edges_of(step):
        label = _LABELS.get(edge.key, edge.label)
        if edge.key == "next" and isinstance(step, WaitFor):
            label = step.watch.event or "it holds"
        elif edge.key == "next" and isinstance(step, Approval):
            label = "yes"
        elif edge.key == "on_timeout" and isinstance(step, WaitFor | Approval):
            label = f"after {say_duration(step.timeout)}"
        labels.setdefault(edge.to, []).append(label)
    return [Arrow(tail=step_id, head=to, label=" · ".join(filter(None, said))) for to, said in labels.items()]


def _shape(step: Step) -> str:
    if isinstance(step, Send):
        return "send"
    if isinstance(step, Wait | WaitFor | Approval):
        return "wait"
    if isinstance(step, Branch | Split):
        return "choice"
    return "exit" if isinstance(step, Exit) else "act"


def _entry(journey: Journey) -> str:
    match entry := journey.entry:
        case EventEntry():
            return f"event {entry.event}"
        case SegmentEntry():
            return f"enters segment {entry.segment}"
        case ApiEntry():
            return "by the API"
        case ScheduleEntry():
            every = f", every {say_duration(entry.every)}" if entry.every is not None else ""
            return f"{entry.segment or entry.list} at {entry.first:%Y-%m-%d %H:%M}{every}"
        case DateEntry():
            near = f"{say_duration(abs(entry.offset))} {'before' if entry.offset.days < 0 else 'after'} "
            yearly = ", every year" if entry.yearly else ""
            return f"{near if entry.offset else ''}{entry.attribute}{yearly}, {entry.at:%H:%M}"
