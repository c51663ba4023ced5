"""What is done with a journey: publish, pause, resume, archive, migrate."""

from collections.abc import Awaitable, Callable, Mapping
from time import monotonic
from typing import Any
from uuid import UUID

from pydantic import TypeAdapter

from api.dependencies import Caller
from api.fields import SlugPath
from api.journey_models import (
    ArchivedShown,
    ArchiveInput,
    JourneyShown,
    MigrateInput,
    MigrationShown,
    PublishedShown,
    ResumeInput,
    StepMove,
)
from api.journeys import Writer, document_problem, in_workshop, show_journey
from api.problems import ApiError, FieldError
from api.routes import guarded_router, problems
from api.services import Services, WithServices
from waypost.journeys.document import Journey, OnNewVersion
from waypost.journeys.happenings import OnResume
from waypost.journeys.references import references
from waypost.journeys.validation import check_journey
from waypost.journeys.versions import Way, move_problems, ways_between
from waypost.messaging.content import TemplateContent
from waypost.messaging.templating import variables
from waypost.store import journey_people as people
from waypost.store import journey_publishing as publishing
from waypost.store import journey_states as states
from waypost.store.database import Connection
from waypost.store.errors import ConflictError
from waypost.store.journey_people import Moved
from waypost.store.journey_publishing import Draft, Published
from waypost.store.notifications import JOURNEYS_CHANNEL, OUTBOX_CHANNEL

router = guarded_router("journeys")

BATCHES_S = 4.0
"""So long does one request move people; a request has eight seconds."""

_CONTENT: TypeAdapter[TemplateContent] = TypeAdapter(TemplateContent)


@router.post("/v1/journeys/{key}/publish", responses=problems(409))
async def publish_journey(caller: Writer, services: WithServices, key: SlugPath) -> PublishedShown:
    """Make the draft the version that people enter: 422 with all problems at once, and nothing is changed then.

    What is published already is published once. `on_new_version` says what becomes of the people in the version before;
    who was not moved yet is moved when it is asked for again, as it is to be while `more` is true.
    """
    try:
        draft, journey, done = await _publish(services, caller, key)
    except ConflictError:  # somebody else published or changed the draft at this moment
        draft, journey, done = await _publish(services, caller, key)
    moved = await _move_before(services, caller.tenant_id, draft, journey, done.number)
    services.teller.tell(JOURNEYS_CHANNEL)
    return PublishedShown(
        version=done.number,
        new=done.new,
        draining=done.draining,
        moved=moved.moved,
        left=moved.left,
        more=moved.after is not None,
    )


@router.post("/v1/journeys/{key}/pause", responses=problems(409))
async def pause_journey(caller: Writer, services: WithServices, key: SlugPath) -> JourneyShown:
    """Hold everybody where they are; who comes in waits. Goal, exits and removal go on."""
    async with services.app_db.session(caller.tenant_id) as session:
        journey = await states.lock_journey(session, caller.tenant_id, key, mode=caller.mode)
        await states.pause(session, journey, actor=caller.key_id)
        await session.refresh(journey)
        return await show_journey(session, journey)


@router.post("/v1/journeys/{key}/resume", responses=problems(409))
async def resume_journey(
    caller: Writer, services: WithServices, key: SlugPath, body: ResumeInput | None = None
) -> JourneyShown:
    """Go on after a pause. `policy` says what becomes of what came due meanwhile; `continue` without it."""
    policy = (body or ResumeInput()).policy
    async with services.app_db.session(caller.tenant_id) as session:
        journey = await states.lock_journey(session, caller.tenant_id, key, mode=caller.mode)
        await states.resume(session, journey, policy, actor=caller.key_id)
        await session.refresh(journey)
        shown = await show_journey(session, journey)
    services.teller.tell(JOURNEYS_CHANNEL)
    return shown


@router.post("/v1/journeys/{key}/archive", responses=problems(409))
async def archive_journey(
    caller: Writer, services: WithServices, key: SlugPath, body: ArchiveInput | None = None
) -> ArchivedShown:
    """Let nobody in any more. Who is in goes on, or is taken out with `remove`. Publishing opens it again.

    Of very many people one request takes out some: ask again while `more` is true.
    """
    tenant, remove = caller.tenant_id, (body or ArchiveInput()).remove
    async with services.app_db.session(tenant) as session:
        journey = await states.lock_journey(session, tenant, key, mode=caller.mode)
        await states.archive(session, journey, actor=caller.key_id, remove=remove)
    removed = await _remove_all(services, tenant, journey.id) if remove else Moved(moved=0, left=0, after=None)
    async with services.app_db.session(tenant) as session:
        journey = await states.lock_journey(session, tenant, key, mode=caller.mode)
        if removed.after is None:
            await states.end_last_pause(session, journey, OnResume.CONTINUE)
        shown = await show_journey(session, journey)
    services.teller.tell(JOURNEYS_CHANNEL)
    return ArchivedShown(**shown.model_dump(), removed=removed.moved, more=removed.after is not None)


@router.post("/v1/journeys/{key}/migrate", responses=problems(409))
async def migrate_journey(caller: Writer, services: WithServices, key: SlugPath, body: MigrateInput) -> MigrationShown:
    """Move the people of one version to another, step by step; `dry_run` counts them and moves nobody.

    Who is at a step that leads nowhere is left in the old version. Asked again, it moves who is there by then; it is to
    be while `more` is true.
    """
    tenant = caller.tenant_id
    if body.from_ == body.to:
        raise _invalid("to", "from and to are the same version.")
    async with services.app_db.transaction(tenant) as connection:
        draft = await publishing.read_draft(connection, tenant=tenant, key=key, mode=caller.mode)
        if not draft.entering:
            raise states.not_published()
        before = await people.read_version(connection, tenant=tenant, journey=draft.id, number=body.from_)
        after = await people.read_version(connection, tenant=tenant, journey=draft.id, number=body.to)
        _check_moves(body.moves, before, after)
        ways = ways_between(before, after, body.moves)
        counts = await people.count_at_steps(connection, tenant=tenant, journey=draft.id, number=body.from_)
        shown = _migration(body, ways, counts)
        if not body.dry_run:
            await people.watch_contacts(connection, tenant=tenant, journey=draft.id, number=body.to)
            detail = body.model_dump(mode="json", by_alias=True, exclude={"dry_run"})
            await people.note_deed(
                connection, tenant=tenant, journey=draft.id, action="migrated", actor=caller.key_id, detail=detail
            )
    if body.dry_run:
        return shown
    moved = await _move_all(services, tenant, draft.id, before=body.from_, number=body.to, ways=ways)
    return shown.model_copy(update={"moved": moved.moved, "left": moved.left, "more": moved.after is not None})


async def _publish(services: Services, caller: Caller, key: str) -> tuple[Draft, Journey, Published]:
    tenant = caller.tenant_id
    async with services.app_db.transaction(tenant) as connection:
        draft = await publishing.read_draft(connection, tenant=tenant, key=key, mode=caller.mode)
    names = await in_workshop(services, _templates, draft.text)
    async with services.app_db.transaction(tenant) as connection:
        contents = await publishing.template_contents(connection, tenant=tenant, keys=names)
    looked_into = await in_workshop(services, _variables, contents)
    async with services.app_db.transaction(tenant) as connection:
        around = await publishing.surroundings(connection, tenant=tenant, mode=draft.mode, variables=looked_into)
        checked = await in_workshop(services, check_journey, draft.text, around)
        if checked.journey is None:
            raise document_problem(checked.problems)
        if draft.before is not None and (found := list(move_problems(draft.before, checked.journey))):
            raise document_problem(found)
        done = await publishing.publish(
            connection, tenant=tenant, draft=draft, journey=checked.journey, actor=caller.key_id
        )
    return draft, checked.journey, done


def _templates(text: str) -> list[str]:
    """The templates that a sound draft names."""
    journey = check_journey(text).journey
    if journey is None:
        return []
    steps = journey.steps.values()
    return sorted({one.key for step in steps for one in references(step) if one.what == "template"})


def _variables(contents: Mapping[str, Mapping[str, Any]]) -> dict[str, frozenset[str]]:
    return {key: variables(_CONTENT.validate_python(content)) for key, content in contents.items()}


async def _move_before(services: Services, tenant: UUID, draft: Draft, after: Journey, number: int) -> Moved:
    """Move the people of the version before, where the new one says so."""
    if after.on_new_version is not OnNewVersion.MOVE or number == 1:
        return Moved(moved=0, left=0, after=None)
    async with services.app_db.transaction(tenant) as connection:
        before = await people.read_version(connection, tenant=tenant, journey=draft.id, number=number - 1)
    ways = ways_between(before, after, after.moves)
    return await _move_all(services, tenant, draft.id, before=number - 1, number=number, ways=ways)


async def _move_all(
    services: Services, tenant: UUID, journey: UUID, *, before: int, number: int, ways: Mapping[str, Way | None]
) -> Moved:
    async def batch(connection: Connection, after: UUID) -> Moved:
        return await people.move_people(
            connection, tenant=tenant, journey=journey, before=before, number=number, ways=ways, after=after
        )

    return await _in_batches(services, tenant, batch)


async def _remove_all(services: Services, tenant: UUID, journey: UUID) -> Moved:
    async def batch(connection: Connection, after: UUID) -> Moved:
        return await people.remove_people(connection, tenant=tenant, journey=journey, after=after)

    return await _in_batches(services, tenant, batch)


async def _in_batches(services: Services, tenant: UUID, batch: Callable[[Connection, UUID], Awaitable[Moved]]) -> Moved:
    """A batch a transaction, so that nobody waits long for one, and as many as a request has time for."""
    until = monotonic() + BATCHES_S
    done = Moved(moved=0, left=0, after=UUID(int=0))
    while done.after is not None and monotonic() < until:
        async with services.app_db.transaction(tenant) as connection:
            more = await batch(connection, done.after)
        services.teller.tell(OUTBOX_CHANNEL)
        done = Moved(moved=done.moved + more.moved, left=done.left + more.left, after=more.after)
    return done


def _check_moves(moves: Mapping[str, str], before: Journey, after: Journey) -> None:
    for old, new in moves.items():
        if old not in before.steps:
            raise _invalid(f"moves.{old}", "The version that people are in has no such step.")
        if new not in after.steps:
            raise _invalid(f"moves.{old}", f"The version that they go to has no step {new}.")


def _migration(body: MigrateInput, ways: Mapping[str, Way | None], counts: Mapping[str | None, int]) -> MigrationShown:
    steps = [
        StepMove(step=step, people=counts.get(step, 0), to=way.to if way else None, stays=bool(way and way.stays))
        for step, way in ways.items()
    ]
    leaves = sum(one.people for one in steps if one.to is None)
    return MigrationShown(
        dry_run=body.dry_run,
        steps=steps,
        waiting=counts.get(None, 0),
        moved=sum(counts.values()) - leaves if body.dry_run else 0,
        left=leaves,
        more=False,
    )


def _invalid(field: str, advice: str) -> ApiError:
    return ApiError("validation_failed", advice, errors=[FieldError(field=field, message=advice)])
