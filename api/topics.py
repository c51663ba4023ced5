"""`/v1/topics`: what contacts can subscribe to and leave; `/v1/contacts/{external_id}/topics`: their word on each."""

from datetime import datetime
from typing import Annotated, Any, Self
from uuid import UUID

from pydantic import Field, model_validator
from pydantic_core import PydanticCustomError

from api.confirmations import ask_to_confirm
from api.cursors import AskedPage, listing, listing_of
from api.dependencies import Caller, Scope, needs
from api.fields import Body, ExternalIdPath, Listing, Name, Note, Shown, SlugPath
from api.routes import guarded_router, problems
from api.services import Services, WithServices
from waypost.messaging.values import Subscription
from waypost.store import subscriptions
from waypost.store import topics as store
from waypost.store.contacts import get_contact
from waypost.store.errors import NotFoundError
from waypost.store.subscriptions import TopicWord

router = guarded_router("topics")

_BY_API = "api"


class TopicInput(Body):
    """All of a topic: what is left out is its default."""

    name: Annotated[Name, Field(description="What contacts read on their preferences page")]
    description: Annotated[Note, Field(description="A sentence for the same page")] = ""
    opt_in: Annotated[
        bool, Field(description="True: sent to those who subscribed; false: to all who have not left it")
    ] = False
    double_opt_in: Annotated[
        bool, Field(description="A subscription counts once the contact confirmed it by a message's link; needs opt_in")
    ] = False

    @model_validator(mode="after")
    def _double_is_opt_in(self) -> Self:
        if self.double_opt_in and not self.opt_in:
            raise PydanticCustomError("double_without_opt_in", "double_opt_in is for topics with opt_in: set both.")
        return self


class TopicShown(Shown):
    """A topic."""

    key: str
    name: str
    description: str
    opt_in: bool
    double_opt_in: bool
    created_at: datetime
    updated_at: datetime


class SubscriptionInput(Body):
    """How a contact came to subscribe."""

    confirmed: Annotated[
        bool, Field(description="True: the contact confirmed elsewhere, so that no message has to ask for it")
    ] = False


class SubscriptionShown(Shown):
    """A contact's word on a topic. `state` null: it never said one. `receives`: its campaigns are sent to it."""

    topic: str
    name: str
    state: Subscription | None
    receives: bool
    source: str | None
    confirm_sent_at: datetime | None
    updated_at: datetime | None


TopicReader = Annotated[Caller, needs(Scope.AUDIENCES_READ)]
TopicWriter = Annotated[Caller, needs(Scope.AUDIENCES_WRITE)]
Reader = Annotated[Caller, needs(Scope.CONTACTS_READ)]
Writer = Annotated[Caller, needs(Scope.CONTACTS_WRITE)]


@router.put("/v1/topics/{key}", responses=problems(409))
async def put_topic(caller: TopicWriter, services: WithServices, key: SlugPath, body: TopicInput) -> TopicShown:
    """Make or replace a topic; up to 100."""
    async with services.app_db.session(caller.tenant_id) as session:
        return _show(await store.put_topic(session, caller.tenant_id, key, body.model_dump()))


@router.get("/v1/topics/{key}")
async def get_topic(caller: TopicReader, services: WithServices, key: SlugPath) -> TopicShown:
    """One topic."""
    async with services.app_db.session(caller.tenant_id) as session:
        return _show(await store.get_topic(session, caller.tenant_id, key))


@router.get("/v1/topics")
async def list_topics(caller: TopicReader, services: WithServices, page: AskedPage) -> Listing[TopicShown]:
    """Topics in the order they were made."""
    async with services.app_db.session(caller.tenant_id) as session:
        return listing(await store.list_topics(session, caller.tenant_id, after=page.after, limit=page.limit), _show)


@router.delete("/v1/topics/{key}", status_code=204, responses=problems(409))
async def delete_topic(caller: TopicWriter, services: WithServices, key: SlugPath) -> None:
    """Forget a topic and who subscribed; not one that somebody left, nor one of a campaign that has not ended."""
    async with services.app_db.session(caller.tenant_id) as session:
        await store.delete_topic(session, caller.tenant_id, key)


@router.put("/v1/contacts/{external_id}/topics/{key}", responses=problems(409))
async def subscribe(
    caller: Writer,
    services: WithServices,
    external_id: ExternalIdPath,
    key: SlugPath,
    body: SubscriptionInput | None = None,
) -> SubscriptionShown:
    """Subscribe a contact. With double opt-in it is pending, and a message asks the contact to confirm.

    While it is pending, asking again sends the message again, at most every ten minutes.
    """
    confirmed = body is not None and body.confirmed
    contact, topic = await _find(services, caller, external_id, key)
    async with services.app_db.transaction(caller.tenant_id) as connection:
        await subscriptions.say(
            connection,
            tenant=caller.tenant_id,
            contact=contact,
            wanted={topic: True},
            source=_BY_API,
            confirmed=confirmed,
        )
    word = await _word(services, caller, contact, topic)
    if word.confirm_due:
        await ask_to_confirm(services, tenant=caller.tenant_id, mode=caller.mode, contact=external_id, word=word)
        word = await _word(services, caller, contact, topic)
    return _show_word(word)


@router.delete("/v1/contacts/{external_id}/topics/{key}", status_code=204)
async def unsubscribe(caller: Writer, services: WithServices, external_id: ExternalIdPath, key: SlugPath) -> None:
    """Have a contact leave a topic: it is remembered as having left."""
    contact, topic = await _find(services, caller, external_id, key)
    async with services.app_db.transaction(caller.tenant_id) as connection:
        await subscriptions.say(
            connection, tenant=caller.tenant_id, contact=contact, wanted={topic: False}, source=_BY_API
        )


@router.get("/v1/contacts/{external_id}/topics/{key}")
async def get_subscription(
    caller: Reader, services: WithServices, external_id: ExternalIdPath, key: SlugPath
) -> SubscriptionShown:
    """A contact's word on one topic."""
    contact, topic = await _find(services, caller, external_id, key)
    return _show_word(await _word(services, caller, contact, topic))


@router.get("/v1/contacts/{external_id}/topics")
async def list_subscriptions(
    caller: Reader, services: WithServices, external_id: ExternalIdPath
) -> Listing[SubscriptionShown]:
    """All topics with a contact's word on each, on one page."""
    async with services.app_db.session(caller.tenant_id) as session:
        contact = (await get_contact(session, caller.tenant_id, external_id)).id
    async with services.app_db.transaction(caller.tenant_id) as connection:
        found = await subscriptions.words(connection, tenant=caller.tenant_id, contact=contact)
    return listing_of([_show_word(word) for word in found], None)


async def _find(services: Services, caller: Caller, external_id: str, key: str) -> tuple[UUID, UUID]:
    async with services.app_db.session(caller.tenant_id) as session:
        contact = await get_contact(session, caller.tenant_id, external_id)
        topic = await store.get_topic(session, caller.tenant_id, key)
    return contact.id, topic.id


async def _word(services: Services, caller: Caller, contact: UUID, topic: UUID) -> TopicWord:
    async with services.app_db.transaction(caller.tenant_id) as connection:
        found = await subscriptions.words(connection, tenant=caller.tenant_id, contact=contact, topics=[topic])
    if not found:
        raise NotFoundError("topic")  # deleted meanwhile
    return found[0]


def _show(row: Any) -> TopicShown:
    return TopicShown.model_validate(row)


def _show_word(word: TopicWord) -> SubscriptionShown:
    return SubscriptionShown(
        topic=word.key,
        name=word.name,
        state=Subscription(word.state) if word.state else None,
        receives=word.receives,
        source=word.source,
        confirm_sent_at=word.confirm_sent_at,
        updated_at=word.updated_at,
    )
