"""Everything that is wrong with a document, at once. Never raises, whatever it is given."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from pydantic import ValidationError

from waypost.journeys.document import STEP, Journey
from waypost.journeys.entries import EventEntry
from waypost.journeys.graph import Edge, edges_of, edges_written, reachable, timeless_loop
from waypost.journeys.model_errors import is_an_echo, problem_of
from waypost.journeys.pieces import END, Piece
from waypost.journeys.plan import MAX_PLAN_BYTES, compile_plan, write_plan
from waypost.journeys.problems import Path, Problem, did_you_mean
from waypost.journeys.references import (
    carried_paths,
    kept_names,
    missing_references,
    sender_problems,
    template_problems,
)
from waypost.journeys.source import Source, read_source
from waypost.journeys.steps import EmitEvent, Send, StartJourney, Step
from waypost.journeys.surroundings import NOTHING_KNOWN, Surroundings

MAX_PROBLEMS = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class Checked:
    """The journey, if nothing is wrong with its document; else what is, in the order of its lines."""

    journey: Journey | None
    problems: tuple[Problem, ...] = ()


def check_journey(text: str, around: Surroundings = NOTHING_KNOWN) -> Checked:
    """Read and check a document in YAML or JSON, against what there is around it as far as that is known."""
    source = read_source(text)
    if source.tree is None and source.problems:
        return Checked(journey=None, problems=source.problems)
    journey, found = _read(source)
    steps = _sound_steps(journey, source.tree)
    problems = [*source.problems, *found, *_graph_problems(source.tree, steps)]
    if journey is not None:
        problems += [*_rule_problems(journey), *_reference_problems(journey, around)]
        if not problems:
            problems += _plan_problems(journey)
    placed = _in_order(problems, source)
    return Checked(journey=None if placed else journey, problems=placed)


def _in_order(problems: list[Problem], source: Source) -> tuple[Problem, ...]:
    placed = dict.fromkeys(
        replace(
            one,
            line=one.line if one.line is not None else source.line(one.path),
            step=str(one.path[1]) if len(one.path) > 1 and one.path[0] == "steps" else one.step,
        )
        for one in problems
    )
    return tuple(sorted(placed, key=lambda one: (one.line or 0, str(one.path), one.code)))[:MAX_PROBLEMS]


def _read(source: Source) -> tuple[Journey | None, list[Problem]]:
    try:
        return Journey.model_validate(source.tree), []
    except ValidationError as error:
        return None, [problem_of(one, source) for one in error.errors(include_url=False) if not is_an_echo(one)]
    except RecursionError:  # a rule within its bounds is never so deep; what else there is is bounded by its source
        return None, [Problem(code="too_deep", message="The document is nested too deep.")]


def _sound_steps(journey: Journey | None, tree: Any) -> Mapping[str, Step]:
    """The steps that can be read, though others cannot."""
    if journey is not None:
        return journey.steps
    written = tree.get("steps") if isinstance(tree, dict) else None
    found: dict[str, Step] = {}
    for step_id, said in list(written.items())[: MAX_PROBLEMS * 2] if isinstance(written, dict) else ():
        try:
            found[step_id] = STEP.validate_python(said)
        except (ValidationError, RecursionError):
            continue
    return found


def _graph_problems(tree: Any, sound: Mapping[str, Step]) -> Iterator[Problem]:
    written = tree.get("steps") if isinstance(tree, dict) else None
    if not isinstance(written, dict) or not written:
        return
    graph = {
        step_id: edges_of(sound[step_id]) if step_id in sound else edges_written(said)
        for step_id, said in written.items()
    }
    start = tree.get("start")
    if isinstance(start, str) and start not in graph:
        yield _nowhere(start, graph, ("start",))
    for step_id, edges in graph.items():
        for edge in edges:
            if edge.to != END and edge.to not in graph:
                yield _nowhere(edge.to, graph, ("steps", step_id, *edge.at))
    if isinstance(start, str) and start in graph:
        yield from _unreachable(graph, start)
    yield from _loops(graph)


def _nowhere(target: str, graph: Mapping[str, Any], path: Path) -> Problem:
    said = f"There is no step {target[:80]}."
    return Problem(code="unknown_step", message=said, path=path, suggestion=did_you_mean(target, {*graph, END}))


def _unreachable(graph: Mapping[str, tuple[Edge, ...]], start: str) -> Iterator[Problem]:
    for step_id in graph.keys() - reachable(graph, start):
        said = "No way leads to this step from the start."
        hint = "let another step lead to it, or leave it out"
        yield Problem(code="unreachable", message=said, path=("steps", step_id), suggestion=hint)


def _loops(graph: Mapping[str, tuple[Edge, ...]]) -> Iterator[Problem]:
    while (loop := timeless_loop(graph)) is not None:
        said = f"These steps lead round in a circle on which no time passes: {' → '.join(loop)}."
        hint = "put a wait for a duration or a time of day among them"
        yield Problem(code="loop_without_wait", message=said, path=("steps", loop[0]), suggestion=hint)
        graph = {step: edges for step, edges in graph.items() if step not in loop}


def _rule_problems(journey: Journey) -> Iterator[Problem]:
    entry = journey.entry
    key = entry.key if isinstance(entry, EventEntry) else None
    if journey.reentry == "per_key" and key is None:
        said = "Of each key one at a time: that needs entry.key, a property of the entry's event."
        yield Problem(code="reentry", message=said, path=("reentry",), suggestion="add key to entry, such as order_id")
    if key is not None and journey.reentry != "per_key":
        said = "A key goes with reentry: per_key."
        yield Problem(code="reentry", message=said, path=("entry", "key"), suggestion="write reentry: per_key")
    for old, new in journey.moves.items():
        if new not in journey.steps:
            yield _nowhere(new, journey.steps, ("moves", old))
    for step_id, step in journey.steps.items():
        at = ("steps", step_id)
        if isinstance(step, EmitEvent) and isinstance(entry, EventEntry) and step.event == entry.event:
            said = "The journey would start itself: this is the event that it is entered by."
            yield Problem(code="starts_itself", message=said, path=(*at, "event"), suggestion="emit another event")
        if isinstance(step, StartJourney) and step.journey == journey.journey:
            said = "The journey would start itself, which it cannot while it is under way."
            yield Problem(
                code="starts_itself", message=said, path=(*at, "journey"), suggestion="lead back to its start"
            )


def _reference_problems(journey: Journey, around: Surroundings) -> Iterator[Problem]:
    carried = frozenset(journey.entry.expects) | kept_names(journey.steps.values())
    if isinstance(journey.entry, EventEntry) and journey.entry.key is not None:
        carried |= {journey.entry.key.split(".")[0]}
    heads: list[tuple[Piece | None, Path]] = [(journey.entry, ("entry",)), (journey.goal, ("goal",))]
    heads += [(rule, ("exits", place)) for place, rule in enumerate(journey.exits)]
    heads += [(step, ("steps", step_id)) for step_id, step in journey.steps.items()]
    for piece, at in heads:
        if piece is not None:
            yield from missing_references(piece, at, around)
    for step_id, step in journey.steps.items():
        if isinstance(step, Send) and around.templates is not None:
            yield from template_problems(step, ("steps", step_id), around.templates, carried)
        if isinstance(step, Send):
            yield from sender_problems(step, ("steps", step_id), around)
        for path, place in carried_paths(step):
            if path.split(".")[0] not in carried:
                yield _not_carried(path, ("steps", step_id, *place), carried)


def _not_carried(path: str, at: Path, carried: frozenset[str]) -> Problem:
    name = path.split(".")[0]
    hint = did_you_mean(name, carried) or f"name it in entry.expects: [{name}]"
    said = f"Nothing says that an enrollment carries {name}."
    return Problem(code="missing_property", message=said, path=at, suggestion=hint)


def _plan_problems(journey: Journey) -> Iterator[Problem]:
    size = len(write_plan(compile_plan(journey)))
    if size > MAX_PLAN_BYTES:
        said = f"The compiled plan has {size:,} bytes, and {MAX_PLAN_BYTES:,} at most."
        hint = "shorten the steps' ids, or start a second journey at the end of this one"
        yield Problem(code="plan_too_large", message=said, path=("steps",), suggestion=hint)
