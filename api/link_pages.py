"""`/u/…`, `/p/…`, `/c/…`: where the links in messages lead. GET asks, for scanners follow links; POST acts.

Not part of the OpenAPI document: they are for people and for mailboxes' one click (RFC 8058). See docs/topics.md.
"""

from collections.abc import Sequence

from fastapi import APIRouter, Request, Response

from api.confirmations import ask_to_confirm
from api.link_markup import bold, button_form, choice, choices_form, link, masked, notice, page, paragraph, remark
from api.link_visits import TokenRoute, Visitor, let_in, read_form
from api.services import Services, WithServices
from waypost.messaging.content_errors import ContentError
from waypost.messaging.errors import MessagingError
from waypost.messaging.link_tokens import LinkAction, preferences_url
from waypost.messaging.values import Channel, Mode, Subscription
from waypost.store import link_visits, subscriptions
from waypost.store.subscriptions import TopicWord

router = APIRouter(route_class=TokenRoute, include_in_schema=False)

_BY_PERSON = "preferences_page"
_ONE_CLICK = {"List-Unsubscribe": "One-Click"}
_STILL = "Messages about what you ordered or asked for still reach you."


@router.api_route("/u/{token}", methods=["GET", "HEAD"])
async def ask_unsubscribe(services: WithServices, token: str) -> Response:
    """Whether the reader really wants to leave."""
    visitor = await let_in(services, token, LinkAction.UNSUBSCRIBE)
    return page(
        "Unsubscribe?",
        paragraph(f"Press the button to stop getting {_topic(visitor)}{_at(visitor)}."),
        button_form("Unsubscribe", fields=_ONE_CLICK),
        *_to_preferences(services, visitor, "Choose what you get instead"),
        sender=visitor.seen.tenant_name,
    )


@router.post("/u/{token}")
async def unsubscribe(services: WithServices, token: str) -> Response:
    """Leave. The button and a mailbox's one click are the same to us, and any body will do."""
    visitor = await let_in(services, token, LinkAction.UNSUBSCRIBE)
    async with services.app_db.transaction(visitor.grant.tenant) as connection:
        await link_visits.unsubscribe(connection, visitor.grant, visitor.seen)
    return page(
        "You are unsubscribed",
        notice(f"You will not get {_topic(visitor)}{_at(visitor)} any more."),
        remark(_STILL),
        *_to_preferences(services, visitor, "A mistake? Choose what you get"),
        sender=visitor.seen.tenant_name,
    )


@router.api_route("/p/{token}", methods=["GET", "HEAD"])
async def show_preferences(services: WithServices, token: str) -> Response:
    """All topics, with what the reader chose."""
    return await _preferences(services, await let_in(services, token, LinkAction.PREFERENCES))


@router.post("/p/{token}")
async def choose(services: WithServices, request: Request, token: str) -> Response:
    """Take what the reader chose; or that it wants nothing at all."""
    visitor = await let_in(services, token, LinkAction.PREFERENCES)
    form = await read_form(request)
    if ("do", "leave_all") in form:
        await _leave_all(services, visitor)
        return await _preferences(services, visitor, "You are unsubscribed from everything.")
    chosen = {value for name, value in form if name == "topic"}
    shown = {value for name, value in form if name == "shown"}
    unconfirmed = await _choose(services, visitor, chosen=chosen, shown=shown)
    return await _preferences(services, visitor, await _ask_to_confirm(services, visitor, unconfirmed))


@router.api_route("/c/{token}", methods=["GET", "HEAD"])
async def ask_confirm(services: WithServices, token: str) -> Response:
    """Whether the reader really subscribed."""
    visitor = await let_in(services, token, LinkAction.CONFIRM)
    if visitor.seen.topic_state == Subscription.SUBSCRIBED:
        return _confirmed(services, visitor)
    if not visitor.seen.confirm_open or visitor.seen.topic_state != Subscription.PENDING:
        return _nothing_to_confirm(visitor)
    return page(
        "Confirm your subscription",
        paragraph(f"You will get {_topic(visitor)}{_at(visitor)} once you have confirmed."),
        button_form("Confirm", fields={}),
        remark("If you did not ask for it, close this page: nothing will be sent."),
        sender=visitor.seen.tenant_name,
    )


@router.post("/c/{token}")
async def confirm(services: WithServices, token: str) -> Response:
    """Subscribe, now that the mailbox is proven."""
    visitor = await let_in(services, token, LinkAction.CONFIRM)
    grant = visitor.grant
    if grant.contact is None or grant.topic is None or grant.message is None:
        return _nothing_to_confirm(visitor)
    async with services.app_db.transaction(grant.tenant) as connection:
        confirmed = await subscriptions.confirm(
            connection, tenant=grant.tenant, topic=grant.topic, contact=grant.contact, message=grant.message
        )
        if confirmed:
            await link_visits.come_back(connection, grant, visitor.seen)
    return _confirmed(services, visitor) if confirmed else _nothing_to_confirm(visitor)


def _confirmed(services: Services, visitor: Visitor) -> Response:
    return page(
        "You are subscribed",
        notice(f"You get {_topic(visitor)}{_at(visitor)} from now on."),
        *_to_preferences(services, visitor, "Choose what else you get"),
        sender=visitor.seen.tenant_name,
    )


def _nothing_to_confirm(visitor: Visitor) -> Response:
    return page(
        "There is nothing to confirm",
        paragraph(
            "You have left this topic since, or your address is another one now. Subscribe again to get a new link."
        ),
        sender=visitor.seen.tenant_name,
        status=404,
    )


async def _leave_all(services: Services, visitor: Visitor) -> None:
    """Every topic there is now, and by suppression whatever comes without one."""
    grant = visitor.grant
    async with services.app_db.transaction(grant.tenant) as connection:
        if grant.contact is not None:
            words = await subscriptions.words(connection, tenant=grant.tenant, contact=grant.contact)
            wanted = {word.topic_id: False for word in words}
            await subscriptions.say(
                connection, tenant=grant.tenant, contact=grant.contact, wanted=wanted, source=_BY_PERSON
            )
        await link_visits.leave_all(connection, grant, visitor.seen, Channel)
        await link_visits.count_unsubscribed(connection, grant)


async def _choose(services: Services, visitor: Visitor, *, chosen: set[str], shown: set[str]) -> Sequence[TopicWord]:
    """Keep a word on each topic that the reader saw; those that have to be confirmed yet."""
    grant = visitor.grant
    if grant.contact is None:
        return []
    async with services.app_db.transaction(grant.tenant) as connection:
        words = await subscriptions.words(connection, tenant=grant.tenant, contact=grant.contact)
        wanted = {word.topic_id: word.key in chosen for word in words if word.key in shown}
        await subscriptions.say(
            connection, tenant=grant.tenant, contact=grant.contact, wanted=wanted, source=_BY_PERSON
        )
        if any(word.receives and not wanted.get(word.topic_id, True) for word in words):
            await link_visits.count_unsubscribed(connection, grant)
        words = await subscriptions.words(connection, tenant=grant.tenant, contact=grant.contact)
        now = [word for word in words if wanted.get(word.topic_id)]
        if any(word.receives for word in now):
            await link_visits.come_back(connection, grant, visitor.seen)
    return [word for word in now if word.state == Subscription.PENDING]


async def _ask_to_confirm(services: Services, visitor: Visitor, unconfirmed: Sequence[TopicWord]) -> str:
    """Send what has to be confirmed; what to tell the reader."""
    tenant, contact = visitor.grant.tenant, visitor.seen.external_id
    if not unconfirmed or contact is None:
        return "Saved."
    try:
        for word in unconfirmed:
            await ask_to_confirm(services, tenant=tenant, mode=Mode(visitor.seen.mode), contact=contact, word=word)
    except (MessagingError, ContentError):
        return "Saved. We could not send you the link to confirm just now: please save again later."
    return "Saved. We send you a message: follow its link to confirm what is new."


async def _preferences(services: Services, visitor: Visitor, told: str | None = None) -> Response:
    grant, seen = visitor.grant, visitor.seen
    async with services.app_db.transaction(grant.tenant) as connection:
        nothing = await link_visits.left_all(connection, grant, seen)
        words: list[TopicWord] = []
        if grant.contact is not None and seen.contact_known:
            words = await subscriptions.words(connection, tenant=grant.tenant, contact=grant.contact)
    return page(
        "What would you like to get?",
        notice(told) if told else "",
        choices_form(f"Sent to you{_at(visitor)}", [_choice(word, nothing=nothing) for word in words]),
        remark(_STILL),
        sender=seen.tenant_name,
    )


def _choice(word: TopicWord, *, nothing: bool) -> str:
    waits = word.state == Subscription.PENDING
    note = "Waits for you to confirm: follow the link in the message we sent you." if waits else ""
    chosen = (word.receives or waits) and not nothing
    return choice(key=word.key, name=word.name, notes=(word.description, note), chosen=chosen)


def _topic(visitor: Visitor) -> str:
    """What the link is about, as markup."""
    return bold(visitor.seen.topic_name) if visitor.seen.topic_name else "marketing messages"


def _at(visitor: Visitor) -> str:
    """Where the reader gets it, as markup; nothing where no address is known any more."""
    channel, seen = visitor.grant.channel, visitor.seen
    if seen.message_address and seen.message_channel == channel:
        return f" at {bold(masked(channel, seen.message_address))}"
    return next((f" at {bold(masked(channel, known))}" for known in seen.addresses(channel)), "")


def _to_preferences(services: Services, visitor: Visitor, text: str) -> Sequence[str]:
    grant = visitor.grant
    if grant.contact is None or not visitor.seen.contact_known:
        return ()
    token = services.links.preferences_token(
        tenant=grant.tenant, contact=grant.contact, message=grant.message, channel=grant.channel
    )
    return (link(text, preferences_url(services.settings.api.public_url, token)),)
