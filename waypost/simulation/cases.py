"""One simulation to run: a journey, checked against all that is given with it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from waypost.journeys.document import Journey
from waypost.journeys.entries import EventEntry, ScheduleEntry, SegmentEntry
from waypost.journeys.references import references
from waypost.journeys.steps import Send
from waypost.journeys.surroundings import Surroundings, TemplateFacts
from waypost.journeys.validation import check_journey
from waypost.messaging.content import EmailContent, SmsContent, TemplateContent, WhatsappContent, one_locale
from waypost.messaging.templating import AnyTemplate, variables
from waypost.messaging.values import Channel
from waypost.messaging.zones import known_zone
from waypost.segments.rules import FieldRule, Rule
from waypost.simulation.errors import DocumentError, GivenError, Wrong
from waypost.simulation.given import SOMEBODY, ContactGiven, TenantGiven
from waypost.simulation.script import EventEntry as Happening
from waypost.simulation.script import Script


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """What is simulated. `until` None: until it is over, or for `playing.MOST`. No two on one server share a `name`."""

    name: str = ""
    journey: Journey
    text: str
    start: datetime
    contact: ContactGiven = SOMEBODY
    tenant: TenantGiven = field(default_factory=TenantGiven)
    script: Script = field(default_factory=Script)
    templates: Mapping[str, TemplateContent] = field(default_factory=dict)
    data: Mapping[str, Any] | None = None
    until: datetime | None = None

    @property
    def zone(self) -> str:
        """The contact's zone, as the journey sees it."""
        return known_zone(self.contact.time_zone, self.journey.time_zone or self.tenant.time_zone)

    def sends(self) -> list[tuple[str, Channel]]:
        """The templates that the journey sends, each with its channel."""
        found: dict[str, Channel] = {}
        for step in self.journey.steps.values():
            if isinstance(step, Send):
                found.setdefault(step.template, step.channel)
                if step.fallback is not None:
                    found.setdefault(step.fallback.template, step.fallback.channel)
        return list(found.items())

    def all_templates(self) -> dict[str, TemplateContent]:
        """Those given, and one that says its own name for each other."""
        return {key: self.templates.get(key) or stand_in(key, channel) for key, channel in self.sends()}

    def named(self, what: str) -> set[str]:
        """The keys of one kind that the document names."""
        whole = [*references(self.journey), *(one for step in self.journey.steps.values() for one in references(step))]
        return {one.key for one in whole if one.what == what}

    def named_senders(self) -> dict[str, Channel]:
        """The senders that sends name, each with its channel."""
        found: dict[str, Channel] = {}
        for step in self.journey.steps.values():
            if isinstance(step, Send):
                for one in (step, step.fallback):
                    if one is not None and one.sender is not None:
                        found.setdefault(one.sender, one.channel)
        return found

    def segments(self) -> dict[str, Rule]:
        """Those given; one that the journey is entered by, and nobody gave, is of whoever is this contact."""
        entered_by = entry_segment(self.journey)
        this = FieldRule.model_validate(
            {"kind": "field", "name": "external_id", "is": {"op": "eq", "value": self.contact.id}}
        )
        return {**({entered_by: this} if entered_by is not None else {}), **self.tenant.segments}

    def notes(self) -> list[str]:
        """What was taken for granted."""
        found = []
        missing = [key for key, _ in self.sends() if key not in self.templates]
        if missing:
            found.append(f"Templates that were not given say their names: {', '.join(sorted(missing))}.")
        entered_by = entry_segment(self.journey)
        if entered_by is not None and entered_by not in self.tenant.segments:
            found.append(f"Segment {entered_by} was not given: the contact is in it.")
        return found

    def entry_event(self) -> Happening | None:
        """The event with which the contact enters, where the journey is entered by one and the script has none."""
        entry = self.journey.entry
        if not isinstance(entry, EventEntry):
            return None
        if any(isinstance(one, Happening) and one.event == entry.event for one in self.script.events):
            return None
        return Happening(event=entry.event, properties=dict(self.data or {}))


def entry_segment(journey: Journey) -> str | None:
    """The segment by which a journey is entered."""
    return journey.entry.segment if isinstance(journey.entry, SegmentEntry | ScheduleEntry) else None


def stand_in(key: str, channel: Channel) -> AnyTemplate:
    """A template that says its own key."""
    match channel:
        case Channel.EMAIL:
            return one_locale(EmailContent(subject=key, text=f"This is {key}."))
        case Channel.SMS:
            return one_locale(SmsContent(body=key))
        case Channel.WHATSAPP:
            return one_locale(WhatsappContent(body=key))


def read_document(text: str, source: str, *, tenant: TenantGiven, templates: Mapping[str, TemplateContent]) -> Journey:
    """The journey of a document. Raises `DocumentError` with everything that is wrong with it, also around it.

    Lists, topics, senders and other journeys are made as they are named; segments must be given.
    """
    alone = check_journey(text)
    if alone.journey is None:
        raise DocumentError(source, alone.problems)
    entered_by = entry_segment(alone.journey)
    known = {*tenant.segments, *({entered_by} if entered_by is not None else set())}
    probe = Case(journey=alone.journey, text=text, start=datetime.min.replace(tzinfo=UTC), templates=templates)
    channels = {key: Channel(content.channel) for key, content in templates.items()}
    facts = {
        key: TemplateFacts(
            channel=channels.get(key, channel),
            variables=variables(templates[key]) if key in templates else frozenset(),
        )
        for key, channel in probe.sends()
    }
    checked = check_journey(text, Surroundings(templates=facts, segments=frozenset(known)))
    if checked.journey is None:
        raise DocumentError(source, checked.problems)
    return checked.journey


def check_data(case: Case) -> None:
    """Raises `GivenError` for data that cannot lead in."""
    entry, data = case.journey.entry, case.data
    if isinstance(entry, EventEntry) and case.entry_event() is not None:
        first = entry.key.split(".")[0] if entry.key is not None else None
        if first is not None and first not in (data or {}):
            said = f"Each {entry.key} is an enrollment of its own: give one, or the event {entry.event} in the events."
            raise GivenError("data", [Wrong(field=entry.key or "", message=said)])
    elif data is not None and entry.kind not in ("api", "event"):
        said = f"Who enters by {entry.kind} carries nothing: leave it out."
        raise GivenError("data", [Wrong(field="", message=said)])
    if case.until is not None and case.until <= case.start:
        raise GivenError("until", [Wrong(field="", message="The end is not after the start.")])
