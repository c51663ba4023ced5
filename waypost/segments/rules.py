"""The language of segments: a rule says of each contact whether it belongs. docs/audiences.md has it with examples."""

from collections.abc import Iterator, Sequence
from typing import Annotated, Any, Literal, Self, TypeAlias

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    StringConstraints,
    TypeAdapter,
    model_validator,
)
from pydantic_core import PydanticCustomError

from waypost.messaging.values import Channel
from waypost.segments.comparisons import Comparison, Piece, Text
from waypost.segments.moments import Period

MAX_DEPTH = 8
MAX_NODES = 200
MAX_PATH = 5
MAX_COUNT = 1_000

Key = Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9_-]{0,63}$")]


def _path(name: str) -> str:
    parts = name.split(".")
    if len(parts) > MAX_PATH or not all(parts):
        raise PydanticCustomError(
            "path", "Give a name, or names joined by dots: plan, address.city. {most} at most.", {"most": MAX_PATH}
        )
    return name


Path = Annotated[Text, Field(min_length=1, max_length=200), AfterValidator(_path)]
"""A place in an object: `plan`, or `address.city` for a `city` within an `address`. Elements of lists have no place."""


class AllOf(Piece):
    """Every rule holds."""

    kind: Literal["all"]
    rules: Annotated[tuple["Rule", ...], Field(min_length=1, max_length=MAX_NODES)]


class AnyOf(Piece):
    """At least one rule holds."""

    kind: Literal["any"]
    rules: Annotated[tuple["Rule", ...], Field(min_length=1, max_length=MAX_NODES)]


class Not(Piece):
    """The rule does not hold."""

    kind: Literal["not"]
    rule: "Rule"


class AttributeRule(Piece):
    """A contact's attribute."""

    kind: Literal["attribute"]
    name: Path
    is_: Annotated[Comparison, Field(alias="is")]


class FieldRule(Piece):
    """A contact's own field. All are texts but for `created_at`, which is a time."""

    kind: Literal["field"]
    name: Literal["email", "phone", "locale", "time_zone", "external_id", "created_at"]
    is_: Annotated[Comparison, Field(alias="is")]


class ConsentRule(Piece):
    """A contact's word on a channel."""

    kind: Literal["consent"]
    channel: Channel
    is_: Annotated[Literal["given", "refused", "unknown"], Field(alias="is")] = "given"


class ListRule(Piece):
    """The contact is on a list."""

    kind: Literal["list"]
    key: Key


class TopicRule(Piece):
    """A contact's word on a topic; `unknown`: it was never asked."""

    kind: Literal["topic"]
    key: Key
    is_: Annotated[Literal["subscribed", "unsubscribed", "pending", "unknown"], Field(alias="is")] = "subscribed"


class PropertyFilter(Piece):
    """A property of an event."""

    property: Path
    is_: Annotated[Comparison, Field(alias="is")]


class EventRule(Piece):
    """How often the contact did something. Without bounds: at least once; `"at_most": 0`: never."""

    kind: Literal["event"]
    name: Annotated[Text, Field(min_length=1, max_length=128)]
    where: Annotated[tuple[PropertyFilter, ...], Field(max_length=10, description="All of them")] = ()
    at_least: Annotated[int | None, Field(ge=1, le=MAX_COUNT)] = None
    at_most: Annotated[int | None, Field(ge=0, le=MAX_COUNT)] = None
    within: Annotated[Period | None, Field(description="In the period that ends now")] = None

    @model_validator(mode="after")
    def _possible(self) -> Self:
        if self.at_least is not None and self.at_most is not None and self.at_least > self.at_most:
            raise PydanticCustomError("count", "at_least is larger than at_most: nobody is both.")
        return self

    @property
    def least(self) -> int:
        """The count from which on the rule holds."""
        return self.at_least or (1 if self.at_most is None else 0)


class MessageRule(Piece):
    """The contact was sent a message, and what became of it. `within`: sent in the period that ends now."""

    kind: Literal["message"]
    event: Literal["sent", "delivered", "opened", "clicked", "bounced"]
    campaign: Annotated[Key | None, Field(description="Of this campaign only")] = None
    template: Annotated[Key | None, Field(description="Of this template only")] = None
    within: Period | None = None


class SegmentRule(Piece):
    """The contact is in another segment."""

    kind: Literal["segment"]
    key: Key


Leaf: TypeAlias = AttributeRule | FieldRule | ConsentRule | ListRule | TopicRule | EventRule | MessageRule
"""A rule that looks at the contact itself."""

Rule: TypeAlias = Annotated[
    AllOf
    | AnyOf
    | Not
    | AttributeRule
    | FieldRule
    | ConsentRule
    | ListRule
    | TopicRule
    | EventRule
    | MessageRule
    | SegmentRule,
    Field(discriminator="kind"),
]

for _group in (AllOf, AnyOf, Not):
    _group.model_rebuild()


def children(rule: Rule) -> Sequence[Rule]:
    """The rules that a rule is made of."""
    match rule:
        case AllOf() | AnyOf():
            return rule.rules
        case Not():
            return (rule.rule,)
        case _:
            return ()


def walk(rule: Rule) -> Iterator[Rule]:
    """A rule and all below it."""
    yield rule
    for child in children(rule):
        yield from walk(child)


def _bounded(value: Any) -> Any:
    """Before anything is read: a rule is no deeper and no larger than its bounds."""
    level = [value]
    nodes = 0
    for _ in range(MAX_DEPTH):
        nodes += len(level)
        level = [below for one in level for below in _below(one)]
        if not level or nodes + len(level) > MAX_NODES:
            break
    if nodes + len(level) > MAX_NODES:
        raise PydanticCustomError("bound", "A rule has at most {le} rules in it.", {"le": MAX_NODES})
    if level:
        raise PydanticCustomError("bound", "Rules are nested at most {le} deep.", {"le": MAX_DEPTH})
    return value


def _below(value: Any) -> Sequence[Any]:
    if isinstance(value, Piece):
        return children(value)  # type: ignore[arg-type]  # it was read as a rule before
    if not isinstance(value, dict):
        return ()
    rules = value.get("rules")
    return [*(rules if isinstance(rules, list | tuple) else ()), *([value["rule"]] if "rule" in value else ())]


BoundedRule = Annotated[Rule, BeforeValidator(_bounded)]
"""A rule as it is given: at most 8 deep, with at most 200 rules in it."""

_READER: TypeAdapter[Rule] = TypeAdapter(BoundedRule)


def read_rule(value: Any) -> Rule:
    """The rule that JSON writes. Raises pydantic's ValidationError."""
    return _READER.validate_python(value)


def write_rule(rule: Rule) -> dict[str, Any]:
    """The rule as JSON, to be stored."""
    return rule.model_dump(mode="json", by_alias=True, exclude_defaults=True)
