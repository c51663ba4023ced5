"""Lays down a tenant with all that a journey stands on, by the same functions that the API uses."""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from uuid import UUID, uuid4, uuid5

from waypost.journeys.entries import EventEntry
from waypost.journeys.validation import check_journey
from waypost.messaging import ids
from waypost.messaging.templating import content_hash
from waypost.messaging.values import Channel, FeedKind, Mode, ProviderKind
from waypost.segments.references import list_keys, segment_keys, topic_keys
from waypost.segments.rules import Rule
from waypost.settings import DatabaseSettings
from waypost.simulation.cases import Case
from waypost.simulation.errors import GivenError, Wrong
from waypost.simulation.given import TopicGiven, resolve
from waypost.simulation.script import ChangeEntry, ReceiptEntry
from waypost.simulation.script import EventEntry as Deed
from waypost.store.accounts import create_account
from waypost.store.clocked import ClockedDatabase
from waypost.store.contact_events import ContactEvent, receive_events
from waypost.store.contacts import Contact, put_contacts
from waypost.store.database import Role
from waypost.store.journey_publishing import publish, read_draft
from waypost.store.journeys import Session, put_draft
from waypost.store.lists import add_members, put_list
from waypost.store.segments import RuleError, put_segment
from waypost.store.senders import put_sender
from waypost.store.subscriptions import say
from waypost.store.tables import TenantRow
from waypost.store.templates import put_template
from waypost.store.tenants import create_tenant
from waypost.store.topics import put_topic

_ACTOR = "simulation"
_BEFORE = timedelta(minutes=1)
"""So long before the start all is there: the account's budget has filled up by then."""

_SPACE = UUID("6e0c6b8e-7f3f-5d0e-9c1a-2f4f6a1f5d11")
_RATE = 100_000
_ADDRESSES: Mapping[Channel, str] = {
    Channel.EMAIL: "sender@simulated.example",
    Channel.SMS: "+14155550100",
    Channel.WHATSAPP: "+14155550101",
}
_OTHER_JOURNEY = """
journey: {key}
name: {key}
entry: {{kind: api}}
reentry: after_exit
start: simulated
steps:
  simulated: {{kind: exit, reason: not_simulated}}
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Laid:
    """What was laid down."""

    tenant: UUID
    account: UUID
    journey: UUID
    contact: UUID


async def lay_down(settings: DatabaseSettings, case: Case) -> Laid:
    """All that the case stands on, a minute before its start. Raises `GivenError`."""
    async with _databases(settings, case) as (relay, app):
        async with relay.session() as session:
            tenant = (await _make_tenant(session, case)).id
            account = (await create_account(session, _account_columns())).id
        layer = _Layer(app, tenant, case)
        await layer.resources(account)
        if isinstance(case.journey.entry, EventEntry):
            await layer.person()
            await layer.publish(case.text)
        else:  # who is in the segment when it is published does not enter
            await layer.publish(case.text)
            await layer.person()
    return Laid(
        tenant=tenant,
        account=account,
        journey=ids.journey_id(tenant=tenant, key=case.journey.journey),
        contact=ids.contact_id(tenant=tenant, external_id=case.contact.id),
    )


@asynccontextmanager
async def _databases(settings: DatabaseSettings, case: Case) -> AsyncIterator[tuple[ClockedDatabase, ClockedDatabase]]:
    then = case.start - _BEFORE
    relay, app = (ClockedDatabase(settings, role, lambda: then, size=1) for role in (Role.RELAY, Role.APP))
    await relay.open()
    await app.open()
    try:
        yield relay, app
    finally:
        await app.close()
        await relay.close()


async def _make_tenant(session: Session, case: Case) -> TenantRow:
    """Of the same case the same: ids follow from it, and by these go splits."""
    identity = uuid5(_SPACE, f"{case.journey.journey}/{case.name}")
    return await create_tenant(session, name="simulated", settings=_tenant_columns(case), identity=identity)


def _tenant_columns(case: Case) -> dict[str, object]:
    said = case.tenant.model_dump(mode="json", include={"time_zone", "quiet_hours", "frequency_caps", "late_policy"})
    return {**said, "late_after": case.tenant.late_after}


def _account_columns() -> dict[str, object]:
    return {
        "name": f"simulated {uuid4()}",
        "kind": ProviderKind.SES.value,
        "mode": Mode.TEST.value,
        "credentials": {},
        "feed": FeedKind.DURABLE.value,
        "endpoint": "http://127.0.0.1:1",
        "rate_per_second": _RATE,
    }


class _Layer:
    def __init__(self, app: ClockedDatabase, tenant: UUID, case: Case) -> None:
        self._app = app
        self._tenant = tenant
        self._case = case

    async def resources(self, account: UUID) -> None:
        """Senders, templates, lists, topics, segments, and other journeys that are named."""
        await self._senders(account)
        await self._templates()
        await self._lists_and_topics()
        await self._segments()
        for key in sorted(self._case.named("journey") - {self._case.journey.journey}):
            await self.publish(_OTHER_JOURNEY.format(key=key))

    async def _senders(self, account: UUID) -> None:
        async with self._app.session(self._tenant) as session:
            for channel, address in _ADDRESSES.items():
                await put_sender(session, self._tenant, f"default-{channel}", _sender(channel, address, account, True))
            for key, channel in self._case.named_senders().items():
                columns = _sender(channel, _ADDRESSES[channel], account, False)
                await put_sender(session, self._tenant, key, columns)

    async def _templates(self) -> None:
        async with self._app.session(self._tenant) as session:
            for key, content in self._case.all_templates().items():
                await put_template(
                    session,
                    self._tenant,
                    key,
                    channel=Channel(content.channel),
                    content=content.model_dump(mode="json", exclude_none=True),
                    content_hash=bytes.fromhex(content_hash(content)),
                )

    async def _lists_and_topics(self) -> None:
        case, rules = self._case, list(self._case.segments().values())
        lists = {*case.named("list"), *case.contact.lists, *(key for rule in rules for key in list_keys(rule))}
        topics = {*case.named("topic"), *case.contact.topics, *(key for rule in rules for key in topic_keys(rule))}
        for entry in case.script.events:
            if isinstance(entry, ChangeEntry):
                lists |= {*entry.change.join, *entry.change.leave}
                topics |= {*entry.change.subscribe, *entry.change.unsubscribe}
        async with self._app.session(self._tenant) as session:
            for key in sorted(lists):
                await put_list(session, self._tenant, key, name=key)
            for key in sorted({*topics, *case.tenant.topics}):
                opt_in = case.tenant.topics.get(key, TopicGiven()).opt_in
                said = {"name": key, "description": "", "opt_in": opt_in, "double_opt_in": False}
                await put_topic(session, self._tenant, key, said)

    async def _segments(self) -> None:
        for key, rule in _in_order(self._case.segments()):
            try:
                async with self._app.session(self._tenant) as session:
                    await put_segment(session, self._tenant, key, name=key, rule=rule)
            except RuleError as error:
                raise GivenError("rules", [Wrong(field=f"segments.{key}", message=str(error))]) from None

    async def publish(self, text: str) -> None:
        """Put a document and publish it."""
        journey = check_journey(text).journey
        assert journey is not None, "it was checked before"
        async with self._app.session(self._tenant) as session:
            await put_draft(session, self._tenant, journey.journey, name=journey.name, mode=Mode.TEST.value, draft=text)
        async with self._app.transaction(self._tenant) as connection:
            draft = await read_draft(connection, tenant=self._tenant, key=journey.journey, mode=Mode.TEST.value)
            await publish(connection, tenant=self._tenant, draft=draft, journey=journey, actor=_ACTOR)

    async def person(self) -> None:
        """The contact, and what it did before."""
        given, tenant = self._case.contact, self._tenant
        contact = Contact(
            external_id=given.id,
            email=given.email,
            phone=given.phone,
            time_zone=given.time_zone,
            locale=given.locale,
            attributes=given.attributes,
            consent={channel.value: word for channel, word in given.consent.items()},
        )
        async with self._app.transaction(tenant) as connection:
            await put_contacts(connection, tenant, [contact])
            for key in given.lists:
                await add_members(connection, tenant, key, [given.id])
            await say(
                connection,
                tenant=tenant,
                contact=ids.contact_id(tenant=tenant, external_id=given.id),
                wanted={
                    ids.topic_id(tenant=tenant, key=key): word == "subscribed" for key, word in given.topics.items()
                },
                source=_ACTOR,
                confirmed=True,
            )
            await receive_events(connection, tenant=tenant, events=self._history())

    def _history(self) -> list[ContactEvent]:
        case, found = self._case, []
        for place, entry in enumerate(case.script.events):
            if isinstance(entry, ReceiptEntry):
                continue
            at = resolve(entry.at, start=case.start, zone=case.zone)
            if at >= case.start:
                continue
            if not isinstance(entry, Deed):
                said = "Before the start there are events alone; say in the contact what else it is then."
                raise GivenError("events", [Wrong(field=f"events.{place}.at", message=said)])
            found.append(
                ContactEvent(
                    id=entry.id or f"simulated-{place}",
                    contact=case.contact.id,
                    name=entry.event,
                    properties=entry.properties,
                    occurred_at=at,
                )
            )
        return sorted(found, key=lambda one: (one.occurred_at is None, one.occurred_at))


def _sender(channel: Channel, address: str, account: UUID, is_default: bool) -> dict[str, object]:
    return {
        "channel": channel.value,
        "address": address,
        "account_id": account,
        "mode": Mode.TEST.value,
        "is_default": is_default,
    }


def _in_order(rules: Mapping[str, Rule]) -> list[tuple[str, Rule]]:
    """Each segment after those that it refers to. Raises `GivenError` where one is missing, or they go in a circle."""
    left, done = dict(rules), list[tuple[str, Rule]]()
    while left:
        known = {key for key, _ in done}
        ready = [key for key, rule in left.items() if set(segment_keys(rule)) <= known]
        if not ready:
            wrong = [
                Wrong(field=f"segments.{key}", message="It refers to a segment that is not given, or to itself.")
                for key in left
            ]
            raise GivenError("rules", wrong)
        done += [(key, left.pop(key)) for key in ready]
    return done
