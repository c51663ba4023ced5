"""`/v1/segments`: rules over contacts. docs/audiences.md has the language."""

from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Annotated, Any

from pydantic import BaseModel, Field

from api.cursors import AskedPage, listing
from api.dependencies import Caller, Scope, needs
from api.fields import Body, ExternalIdPath, Listing, Name, Shown, SlugPath
from api.routes import guarded_router, problems
from api.services import Services, WithServices
from waypost.segments.evaluate import Explanation
from waypost.segments.rules import BoundedRule, Rule, read_rule, write_rule
from waypost.store import segment_preview
from waypost.store import segments as store

router = guarded_router("segments")


class SegmentInput(Body):
    """A rule, and a name for people."""

    name: Name
    rule: BoundedRule


class RuleInput(Body):
    """A rule that is not kept."""

    rule: BoundedRule


class SegmentShown(Shown):
    """A segment. `version` counts the rules that it had."""

    key: str
    name: str
    rule: dict[str, Any]
    version: int
    created_at: datetime
    updated_at: datetime


class PreviewShown(BaseModel):
    """How many contacts a rule has now."""

    count: int
    sample: Annotated[Sequence[str], Field(description="External ids of some, the same ones each time")]
    cost: Annotated[float, Field(description="What PostgreSQL expects counting to cost; over the bound it is refused")]


class RuleVerdict(BaseModel):
    """One rule of a segment, without the rules within it, which follow."""

    path: Annotated[str, Field(description="Where the rule is: rules.1.rule; empty for the whole")]
    rule: Annotated[dict[str, Any], Field(description="Without the rules within it")]
    holds: bool


class MembershipShown(BaseModel):
    """Whether a contact is in a segment, and why, rule by rule from the whole to its parts."""

    member: bool
    version: int
    rules: Sequence[RuleVerdict]


Reader = Annotated[Caller, needs(Scope.AUDIENCES_READ)]
Writer = Annotated[Caller, needs(Scope.AUDIENCES_WRITE)]


@router.put("/v1/segments/{key}", responses=problems(409))
async def put_segment(caller: Writer, services: WithServices, key: SlugPath, body: SegmentInput) -> SegmentShown:
    """Make or replace a segment. Campaigns that are scheduled use the rule that it has when they start."""
    async with services.app_db.session(caller.tenant_id) as session:
        return _show(await store.put_segment(session, caller.tenant_id, key, name=body.name, rule=body.rule))


@router.get("/v1/segments/{key}")
async def get_segment(caller: Reader, services: WithServices, key: SlugPath) -> SegmentShown:
    """One segment."""
    async with services.app_db.session(caller.tenant_id) as session:
        return _show(await store.get_segment(session, caller.tenant_id, key))


@router.get("/v1/segments")
async def list_segments(caller: Reader, services: WithServices, page: AskedPage) -> Listing[SegmentShown]:
    """Segments in the order they were made."""
    async with services.app_db.session(caller.tenant_id) as session:
        return listing(await store.list_segments(session, caller.tenant_id, after=page.after, limit=page.limit), _show)


@router.delete("/v1/segments/{key}", status_code=204, responses=problems(409))
async def delete_segment(caller: Writer, services: WithServices, key: SlugPath) -> None:
    """Forget a segment, to which no other one nor campaign that has yet to begin may refer."""
    async with services.app_db.session(caller.tenant_id) as session:
        await store.delete_segment(session, caller.tenant_id, key)


@router.post("/v1/segments/preview")
async def preview_rule(caller: Reader, services: WithServices, body: RuleInput) -> PreviewShown:
    """Count the contacts of a rule that is not kept."""
    async with services.app_db.session(caller.tenant_id) as session:
        await store.check_rule(session, caller.tenant_id, body.rule)
    return await _preview(caller, services, body.rule)


@router.post("/v1/segments/{key}/preview")
async def preview_segment(caller: Reader, services: WithServices, key: SlugPath) -> PreviewShown:
    """Count the contacts of a segment."""
    async with services.app_db.session(caller.tenant_id) as session:
        row = await store.get_segment(session, caller.tenant_id, key)
    return await _preview(caller, services, read_rule(row.rule))


@router.get("/v1/segments/{key}/contacts/{external_id}")
async def explain_membership(
    caller: Reader, services: WithServices, key: SlugPath, external_id: ExternalIdPath
) -> MembershipShown:
    """Whether a contact is in a segment now, and why."""
    async with services.app_db.session(caller.tenant_id) as session:
        row = await store.get_segment(session, caller.tenant_id, key)
    found = await segment_preview.explain_membership(
        services.segments_db, tenant=caller.tenant_id, key=key, external_id=external_id
    )
    return MembershipShown(member=found.holds, version=row.version, rules=list(_verdicts(found, "")))


async def _preview(caller: Caller, services: Services, rule: Rule) -> PreviewShown:
    found = await segment_preview.preview(
        services.segments_db,
        tenant=caller.tenant_id,
        rule=rule,
        max_cost=services.settings.api.segment_max_cost,
    )
    return PreviewShown(count=found.count, sample=found.sample, cost=found.cost)


def _verdicts(found: Explanation, path: str) -> Iterator[RuleVerdict]:
    said = {name: value for name, value in write_rule(found.rule).items() if name not in ("rules", "rule")}
    yield RuleVerdict(path=path, rule=said, holds=found.holds)
    for place, part in enumerate(found.parts):
        # A segment's rule stands in its place, as a `not`'s does.
        step = f"rules.{place}" if found.rule.kind in ("all", "any") else "rule"
        yield from _verdicts(part, f"{path}.{step}" if path else step)


def _show(row: Any) -> SegmentShown:
    return SegmentShown.model_validate(row)
