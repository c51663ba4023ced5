"""`/v1/messages`: one call, one message (or a batch of them); its whole story; lists; cancellation."""

from collections.abc import Mapping
from typing import Annotated, Any
from uuid import UUID

import orjson
from fastapi import Header, Path, Query, Request, Response
from pydantic import AwareDatetime

from api.cursors import AskedPage, write_cursor
from api.dependencies import Caller, Scope, needs
from api.errors import internal, respond
from api.fields import ExternalId, Listing
from api.message_intake import Answer, Asked
from api.message_models import (
    IDEMPOTENCY_KEY,
    BatchIn,
    BatchVerdicts,
    Cancelled,
    MessageAccepted,
    MessageIn,
    Released,
    Tag,
)
from api.message_views import MessageLinks, MessageShown, MessageStory, Source, show_message, show_story
from api.routes import guarded_router, problems
from api.services import Services, WithServices
from waypost.messaging import ids
from waypost.messaging.errors import MessageNotFoundError
from waypost.messaging.values import Outcome, Phase
from waypost.store import message_cancel, message_release, message_story
from waypost.store.message_cancel import Cancellation
from waypost.store.messages import Accepted

router = guarded_router("messages")

MessageId = Annotated[UUID, Path(description="The id that POST /v1/messages answered")]

IdempotencyKey = Annotated[
    str | None,
    Header(
        alias="Idempotency-Key",
        pattern=IDEMPOTENCY_KEY,
        description="1 to 255 printable ASCII characters. The same key and body get the same answer for the key's "
        "retention; without a key each call makes a message of its own.",
    ),
]
_REPLAY = {
    "headers": {
        "Idempotent-Replay": {
            "description": "true: an earlier call with this key made the message",
            "schema": {"type": "string", "enum": ["true"]},
        }
    }
}


@router.post("/v1/messages", status_code=202, response_model=MessageAccepted, responses={202: _REPLAY, **problems(409)})
async def send_message(
    caller: Annotated[Caller, needs(Scope.MESSAGES_WRITE)],
    services: WithServices,
    request: Request,
    body: MessageIn,
    key: IdempotencyKey = None,
) -> Response:
    """Accept one message: it is a committed row when the answer comes, and will have exactly one outcome."""
    asked = Asked(message=body, mode=caller.mode, body=await request.json(), key=key)
    accepted = await services.intake.take_one(caller.tenant_id, caller.mode, asked)
    headers = {"Idempotent-Replay": "true"} if accepted.replayed else None
    return _json(_accepted(accepted, links_of(services)), status=202, headers=headers)


@router.post("/v1/messages/batch", response_model=BatchVerdicts)
async def send_batch(
    caller: Annotated[Caller, needs(Scope.MESSAGES_WRITE)],
    services: WithServices,
    request: Request,
    body: BatchIn,
    key: IdempotencyKey = None,
) -> Response:
    """Accept up to 500 messages, with a verdict for each in the order of the request; one refusal refuses no other.

    A message without a key of its own gets one from the header `Idempotency-Key` and its place.
    """
    raw = (await request.json())["messages"]
    batch = [
        Asked(
            message=message,
            mode=caller.mode,
            body=_without_key(raw[place]),
            key=message.idempotency_key or (key and f"{key}#{place}"),
        )
        for place, message in enumerate(body.messages)
    ]
    answers = await services.intake.take_batch(caller.tenant_id, caller.mode, batch)
    links = links_of(services)
    return _json({"verdicts": [show_verdict(answer, links) for answer in answers]})


@router.get("/v1/messages/{message_id}", response_model=MessageStory)
async def get_message(
    caller: Annotated[Caller, needs(Scope.MESSAGES_READ)], services: WithServices, message_id: MessageId
) -> Response:
    """The whole story of a message: every verdict, attempt and event, in order, and the link to its execution."""
    story = await message_story.story(services.app_db, tenant=caller.tenant_id, mode=caller.mode, message=message_id)
    if story is None:
        raise MessageNotFoundError
    return _json(show_story(story, links_of(services)))


@router.get("/v1/messages", response_model=Listing[MessageShown])
async def list_messages(
    caller: Annotated[Caller, needs(Scope.MESSAGES_READ)],
    services: WithServices,
    page: AskedPage,
    outcome: Outcome | None = None,
    phase: Phase | None = None,
    hold_reason: Annotated[str | None, Query(pattern="^[a-z_]{1,64}$", description="Why it waits")] = None,
    source: Source | None = None,
    tag: Annotated[Tag | None, Query()] = None,
    contact: Annotated[ExternalId | None, Query(description="A contact's external id")] = None,
    enrollment: Annotated[UUID | None, Query(description="Of a journey: the enrollment's id")] = None,
    created_after: Annotated[AwareDatetime | None, Query(description="At or after")] = None,
    created_before: Annotated[AwareDatetime | None, Query(description="Before")] = None,
) -> Response:
    """Messages of the key's own mode, newest first."""
    which = message_story.Filter(
        mode=caller.mode,
        outcome=outcome,
        phase=phase,
        hold_reason=hold_reason,
        source=source,
        tag=tag,
        contact_id=ids.contact_id(tenant=caller.tenant_id, external_id=contact) if contact else None,
        enrollment_id=enrollment,
        created_after=created_after,
        created_before=created_before,
    )
    rows, after = await message_story.page(
        services.app_db, tenant=caller.tenant_id, which=which, after=page.after, limit=page.limit
    )
    links = links_of(services)
    shown = [show_message(row, links) for row in rows]
    return _json({"data": shown, "next_cursor": write_cursor(after) if after else None})


@router.post(
    "/v1/messages/{message_id}/cancel",
    response_model=Cancelled,
    responses={202: {"model": Cancelled, "description": "Its execution ends it when it next looks"}, **problems(409)},
)
async def cancel_message(
    caller: Annotated[Caller, needs(Scope.MESSAGES_WRITE)], services: WithServices, message_id: MessageId
) -> Response:
    """Cancel a message that was not handed to its provider, and the fallback that waits for it."""
    came_to = await message_cancel.cancel(
        services.app_db, tenant=caller.tenant_id, mode=caller.mode, message=message_id
    )
    status = 200 if came_to is Cancellation.CANCELLED else 202
    return _json({"id": message_id, "status": came_to}, status=status)


@router.post("/v1/messages/{message_id}/release", response_model=Released, responses=problems(409))
async def release_message(
    caller: Annotated[Caller, needs(Scope.MESSAGES_WRITE)], services: WithServices, message_id: MessageId
) -> Response:
    """Send what is late and waits for an approval (the tenant's late_policy is ask), and approve its fallback."""
    await message_release.release(services.app_db, tenant=caller.tenant_id, mode=caller.mode, message=message_id)
    return _json({"id": message_id, "status": "released"})


def links_of(services: Services) -> MessageLinks:
    """Where messages are to be looked at."""
    return MessageLinks(public_url=services.settings.api.public_url, temporal=services.settings.temporal)


def _accepted(accepted: Accepted, links: MessageLinks) -> dict[str, Any]:
    return {
        "id": accepted.message_id,
        "status": "accepted",
        "links": links.of(accepted.message_id),
        "fallback_id": accepted.fallback_id,
    }


def show_verdict(answer: Answer, links: MessageLinks) -> dict[str, Any]:
    """What became of one message of a batch."""
    if isinstance(answer, Accepted):
        return {**_accepted(answer, links), "status": "duplicate" if answer.replayed else "accepted"}
    problem = respond(answer) or internal()
    return {"status": "refused", "problem": orjson.loads(problem.body)}


def _without_key(body: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in body.items() if name != "idempotency_key"}


def _json(content: object, *, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    return Response(orjson.dumps(content), status, headers, "application/json")
