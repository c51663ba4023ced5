"""What a journey refers to and is not in its document: templates, segments, lists, topics, senders, other journeys."""

from collections.abc import Mapping
from dataclasses import dataclass

from waypost.messaging.values import Channel


@dataclass(frozen=True, slots=True, kw_only=True)
class TemplateFacts:
    """A template: its channel, and the paths that it reads (`waypost.messaging.templating.variables`)."""

    channel: Channel
    variables: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True, kw_only=True)
class Surroundings:
    """What there is, by key. None: it is not known, and not checked."""

    templates: Mapping[str, TemplateFacts] | None = None
    segments: frozenset[str] | None = None
    lists: frozenset[str] | None = None
    topics: frozenset[str] | None = None
    senders: Mapping[str, Channel] | None = None
    default_senders: frozenset[Channel] | None = None
    """The channels that have one."""
    journeys: frozenset[str] | None = None


NOTHING_KNOWN = Surroundings()
