"""`/v1/lists`: static lists of contacts."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import BaseModel, Field

from api.cursors import AskedPage, listing, listing_of
from api.dependencies import Caller, Scope, needs
from api.fields import Body, ExternalId, Listing, Name, Shown, SlugPath
from api.routes import guarded_router, problems
from api.services import WithServices
from waypost.store import lists as store

router = guarded_router("lists")

MAX_BATCH = 1_000


class ListInput(Body):
    """A name for people."""

    name: Name


class MembersInput(Body):
    """Contacts by their external ids."""

    external_ids: Annotated[tuple[ExternalId, ...], Field(min_length=1, max_length=MAX_BATCH)]


class ListShown(Shown):
    """A list."""

    key: str
    name: str
    created_at: datetime
    updated_at: datetime


class ListWithCount(ListShown):
    """A list, and how many contacts are on it."""

    members: int


class MemberShown(BaseModel):
    """A contact on a list."""

    external_id: str
    added_at: datetime


class MemberVerdict(BaseModel):
    """What became of one contact. `already`: it was there before. `absent`: it was not. `unknown`: no such contact."""

    external_id: str
    status: Literal["added", "already", "removed", "absent", "unknown"]


class MemberVerdicts(BaseModel):
    """A verdict for each external id, in the order of the request."""

    verdicts: Sequence[MemberVerdict]


Reader = Annotated[Caller, needs(Scope.AUDIENCES_READ)]
Writer = Annotated[Caller, needs(Scope.AUDIENCES_WRITE)]


@router.put("/v1/lists/{key}")
async def put_list(caller: Writer, services: WithServices, key: SlugPath, body: ListInput) -> ListShown:
    """Make a list, or give it another name. Its members stay."""
    async with services.app_db.session(caller.tenant_id) as session:
        return _show(await store.put_list(session, caller.tenant_id, key, name=body.name))


@router.get("/v1/lists/{key}")
async def get_list(caller: Reader, services: WithServices, key: SlugPath) -> ListWithCount:
    """One list, and how many contacts are on it."""
    async with services.app_db.session(caller.tenant_id) as session:
        row = await store.get_list(session, caller.tenant_id, key)
        members = await store.count_members(session, caller.tenant_id, row.id)
        return ListWithCount(**_show(row).model_dump(), members=members)


@router.get("/v1/lists")
async def list_lists(caller: Reader, services: WithServices, page: AskedPage) -> Listing[ListShown]:
    """Lists in the order they were made."""
    async with services.app_db.session(caller.tenant_id) as session:
        return listing(await store.list_lists(session, caller.tenant_id, after=page.after, limit=page.limit), _show)


@router.delete("/v1/lists/{key}", status_code=204, responses=problems(409))
async def delete_list(caller: Writer, services: WithServices, key: SlugPath) -> None:
    """Forget a list, to which no segment nor campaign that has yet to begin may refer. The contacts stay."""
    async with services.app_db.session(caller.tenant_id) as session:
        await store.delete_list(session, caller.tenant_id, key)


@router.get("/v1/lists/{key}/members")
async def list_members(caller: Reader, services: WithServices, key: SlugPath, page: AskedPage) -> Listing[MemberShown]:
    """Who is on a list, in an order that means nothing and does not change."""
    async with services.app_db.session(caller.tenant_id) as session:
        row = await store.get_list(session, caller.tenant_id, key)
    async with services.app_db.transaction(caller.tenant_id) as connection:
        found, after = await store.list_members(
            connection, caller.tenant_id, row.id, after=page.after, limit=page.limit
        )
    return listing_of([MemberShown(external_id=one, added_at=at) for one, at in found], after)


@router.post("/v1/lists/{key}/members")
async def add_members(caller: Writer, services: WithServices, key: SlugPath, body: MembersInput) -> MemberVerdicts:
    """Put up to 1,000 contacts on a list."""
    async with services.app_db.transaction(caller.tenant_id) as connection:
        found = await store.add_members(connection, caller.tenant_id, key, body.external_ids)
    return _verdicts(body.external_ids, found, "added", "already")


@router.post("/v1/lists/{key}/members/remove")
async def remove_members(caller: Writer, services: WithServices, key: SlugPath, body: MembersInput) -> MemberVerdicts:
    """Take up to 1,000 contacts off a list."""
    async with services.app_db.transaction(caller.tenant_id) as connection:
        found = await store.remove_members(connection, caller.tenant_id, key, body.external_ids)
    return _verdicts(body.external_ids, found, "removed", "absent")


def _verdicts(
    external_ids: Sequence[str],
    found: Mapping[str, bool],
    changed: Literal["added", "removed"],
    unchanged: Literal["already", "absent"],
) -> MemberVerdicts:
    verdicts = []
    for one in external_ids:
        known = found.get(one)
        status = "unknown" if known is None else changed if known else unchanged
        verdicts.append(MemberVerdict(external_id=one, status=status))
    return MemberVerdicts(verdicts=verdicts)


def _show(row: Any) -> ListShown:
    return ListShown.model_validate(row)
