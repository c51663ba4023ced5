"""Which segments, lists and topics a rule speaks of."""

from collections.abc import Mapping

from waypost.segments.rules import ListRule, Rule, SegmentRule, TopicRule, walk

MAX_EXPANDED = 1_000
"""So many rules may a rule be, with those of the segments that it refers to."""


def segment_keys(rule: Rule) -> frozenset[str]:
    """The segments that a rule refers to itself."""
    return frozenset(each.key for each in walk(rule) if isinstance(each, SegmentRule))


def list_keys(rule: Rule) -> frozenset[str]:
    """The lists that a rule refers to itself."""
    return frozenset(each.key for each in walk(rule) if isinstance(each, ListRule))


def topic_keys(rule: Rule) -> frozenset[str]:
    """The topics that a rule refers to itself."""
    return frozenset(each.key for each in walk(rule) if isinstance(each, TopicRule))


def find_cycle(key: str, rules: Mapping[str, Rule]) -> tuple[str, ...] | None:
    """The way from a segment back to itself, its key first and last; None where there is none."""
    pending: list[tuple[str, ...]] = [(key,)]
    seen: set[str] = set()
    while pending:
        way = pending.pop()
        for below in sorted(segment_keys(rules[way[-1]])) if way[-1] in rules else ():
            if below == key:
                return (*way, key)
            if below not in seen:
                seen.add(below)
                pending.append((*way, below))
    return None


def expanded_size(rule: Rule, rules: Mapping[str, Rule]) -> int:
    """How many rules a rule is when every segment in it is written out. The segments have no cycle."""
    sizes: dict[str, int] = {}

    def size(one: Rule) -> int:
        return sum(1 + (of(each.key) if isinstance(each, SegmentRule) else 0) for each in walk(one))

    def of(key: str) -> int:
        if key not in sizes:
            sizes[key] = size(rules[key])
        return sizes[key]

    return size(rule)
