"""What a journey refers to, each with the place that says it; and whether it is there."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Literal, TypeAlias

from pydantic import BaseModel

from waypost.journeys.pieces import ContactDate, FromData, Watch
from waypost.journeys.problems import Path, Problem, did_you_mean
from waypost.journeys.steps import EmitEvent, Fallback, Send, StartJourney, Step, UpdateContact, Wait, WaitFor
from waypost.journeys.surroundings import Surroundings, TemplateFacts
from waypost.messaging.values import Channel
from waypost.segments.rules import ListRule, Rule, SegmentRule, TopicRule, walk

What: TypeAlias = Literal["template", "segment", "list", "topic", "sender", "journey"]

_FIELDS: Mapping[str, What] = {
    "template": "template",
    "segment": "segment",
    "list": "list",
    "topic": "topic",
    "sender": "sender",
    "journey": "journey",
}
_RULES = (ListRule, SegmentRule, TopicRule)


@dataclass(frozen=True, slots=True, kw_only=True)
class Reference:
    """A key of something else, and where it is said."""

    what: What
    key: str
    at: Path


def references(piece: BaseModel, at: Path = ()) -> Iterator[Reference]:
    """The keys that a part of a document refers to, those in its conditions too."""
    for name, field in type(piece).model_fields.items():
        value, place = getattr(piece, name), (*at, field.alias or name)
        if name in ("when", "condition") and value is not None:
            yield from _of_rule(value, place)
        elif name in _FIELDS and isinstance(value, str):
            yield Reference(what=_FIELDS[name], key=value, at=place)
        elif isinstance(value, BaseModel):
            yield from references(value, place)
        elif isinstance(value, tuple):
            for index, one in enumerate(value):
                if isinstance(one, BaseModel):
                    yield from references(one, (*place, index))


def _of_rule(rule: Rule, at: Path) -> Iterator[Reference]:
    for one in walk(rule):
        if isinstance(one, _RULES):
            what: What = "list" if isinstance(one, ListRule) else "topic" if isinstance(one, TopicRule) else "segment"
            yield Reference(what=what, key=one.key, at=at)


def missing_references(piece: BaseModel, at: Path, around: Surroundings) -> Iterator[Problem]:
    """What a part refers to and is not there."""
    known: Mapping[What, Iterable[str] | None] = {
        "template": around.templates,
        "segment": around.segments,
        "list": around.lists,
        "topic": around.topics,
        "sender": around.senders,
        "journey": around.journeys,
    }
    for one in references(piece, at):
        there = known[one.what]
        if there is not None and one.key not in there:
            said = f"There is no {one.what} {one.key}."
            yield Problem(
                code=f"unknown_{one.what}", message=said, path=one.at, suggestion=did_you_mean(one.key, there)
            )


def sender_problems(step: Send, at: Path, around: Surroundings) -> Iterator[Problem]:
    """Of a send's senders: another channel's, and a channel without a default where none is named."""
    yield from _sender(step.sender, step.channel, at, around)
    if step.fallback is not None:
        yield from _sender(step.fallback.sender, step.fallback.channel, (*at, "fallback"), around)


def _sender(key: str | None, channel: Channel, at: Path, around: Surroundings) -> Iterator[Problem]:
    if key is None and around.default_senders is not None and channel not in around.default_senders:
        said = f"There is no default sender for {channel}."
        hint = "name a sender, or make one the default"
        yield Problem(code="no_sender", message=said, path=(*at, "channel"), suggestion=hint)
    there = (around.senders or {}).get(key or "")
    if there is not None and there is not channel:
        said = f"Sender {key} is for {there}, and this goes by {channel}."
        hint = "choose another sender or channel"
        yield Problem(code="wrong_channel", message=said, path=(*at, "sender"), suggestion=hint)


def template_problems(
    step: Send, at: Path, templates: Mapping[str, TemplateFacts], carried: frozenset[str]
) -> Iterator[Problem]:
    """Of a send's templates: another channel's, and what they read as `data.…` and nobody gives."""
    yield from _template(step.template, step.channel, at, templates, carried | step.data.keys())
    fallback: Fallback | None = step.fallback
    if fallback is not None:
        place = (*at, "fallback")
        yield from _template(fallback.template, fallback.channel, place, templates, carried | step.data.keys())


def _template(
    key: str, channel: Channel, at: Path, templates: Mapping[str, TemplateFacts], given: frozenset[str]
) -> Iterator[Problem]:
    facts = templates.get(key)
    if facts is None:
        return
    place = (*at, "template")
    if facts.channel is not channel:
        said = f"Template {key} is for {facts.channel}, and this goes by {channel}."
        yield Problem(code="wrong_channel", message=said, path=place, suggestion="choose another template or channel")
    names = {path.split(".")[1] for path in facts.variables if path.startswith("data.")}
    for name in sorted(names - given):
        hint = did_you_mean(name, given) or f"give it in the step's data, or name it in entry.expects: [{name}]"
        said = f"Template {key} reads data.{name}, which nothing gives."
        yield Problem(code="missing_variable", message=said, path=place, suggestion=hint)


def carried_paths(step: Step) -> Iterator[tuple[str, Path]]:
    """The places in what an enrollment carries that a step reads itself, each with where it says so."""
    match step:
        case Wait(date=ContactDate(property=str() as path)):
            yield path, ("date", "property")
        case UpdateContact():
            yield from _filled(step.set, "set")
        case EmitEvent():
            yield from _filled(step.properties, "properties")
        case StartJourney():
            yield from _filled(step.data, "data")
        case _:
            return


def _filled(values: Mapping[str, object], name: str) -> Iterator[tuple[str, Path]]:
    for key, value in values.items():
        if isinstance(value, FromData):
            yield value.property, (name, key, "property")


def kept_names(steps: Iterable[Step]) -> frozenset[str]:
    """The names under which steps keep the events that they waited for."""
    return frozenset(step.keep_as for step in steps if isinstance(step, WaitFor) and step.keep_as is not None)


def watched_events(watches: Iterable[Watch]) -> frozenset[str]:
    """The events that some of these wait for."""
    return frozenset(watch.event for watch in watches if watch.event is not None)
