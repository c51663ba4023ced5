"""From a campaign's draft to a run: what it names is resolved, checked and frozen."""

from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from api.problems import ApiError, FieldError
from api.services import Services
from waypost.campaigns.definition import CampaignDefinition
from waypost.campaigns.frozen import FrozenContent, FrozenRun
from waypost.campaigns.recurrence import next_slot
from waypost.campaigns.schedule import earliest_due
from waypost.messaging import ids
from waypost.messaging.values import Channel
from waypost.store.audiences import audience_query
from waypost.store.campaign_tables import CampaignRow, CampaignRunRow
from waypost.store.campaigns import Session, template_of, topic_of
from waypost.store.database import Connection
from waypost.store.senders import sender_for
from waypost.store.tables import TemplateRow
from waypost.store.tallies import Counts, counts_by_variant, total


async def freeze_run(
    services: Services,
    session: Session,
    campaign: CampaignRow,
    *,
    kind: str = "first",
    based_on: UUID | None = None,
    definition: CampaignDefinition | None = None,
) -> CampaignRunRow:
    """The campaign's next run, of its own definition or another, not stored yet.

    Raises `ApiError` naming what is not there.
    """
    definition = definition or CampaignDefinition.model_validate(campaign.definition)
    sender = await sender_for(
        session, campaign.tenant_id, channel=definition.channel, mode=campaign.mode, key=definition.sender
    )
    if sender is None:
        raise _missing("sender", definition.sender or f"the default of {definition.channel} for {campaign.mode} keys")
    await _check_audiences(services, campaign.tenant_id, definition)
    contents = [
        FrozenContent(
            name=variant.name,
            weight=variant.weight,
            template_id=template.id,
            template_version=template.current_version,
        )
        for variant in definition.contents
        for template in [await _template(session, campaign.tenant_id, variant.template, definition.channel)]
    ]
    number = campaign.last_run + 1
    return CampaignRunRow(
        tenant_id=campaign.tenant_id,
        id=ids.run_id(campaign=campaign.id, number=number),
        campaign_id=campaign.id,
        number=number,
        kind=kind,
        based_on=based_on,
        mode=campaign.mode,
        definition=FrozenRun(definition=definition, contents=tuple(contents)).model_dump(mode="json"),
        state="scheduled",
        channel=definition.channel.value,
        sender_id=sender.id,
        account_id=sender.account_id,
        topic_id=await _topic(session, campaign.tenant_id, definition.topic),
        scheduled_at=first_due(definition, datetime.now(UTC)),
        throttle_per_minute=definition.schedule.throttle_per_minute,
    )


def first_due(definition: CampaignDefinition, now: datetime) -> datetime:
    """When a run is prepared: with wall-clock times, before the first zone on Earth has them."""
    schedule = definition.schedule
    if schedule.local is not None:
        return max(earliest_due(schedule.local), now)
    return max(schedule.at, now) if schedule.at is not None else now


def next_time(run: CampaignRunRow) -> datetime | None:
    """When a campaign whose first run this is runs again; None where it does not recur."""
    schedule = FrozenRun.model_validate(run.definition).definition.schedule
    if schedule.every is None or schedule.at is None:
        return None
    return next_slot(first=schedule.at, every=schedule.every, after=run.scheduled_at)


async def run_counts(services: Services, run: CampaignRunRow) -> Counts:
    """A run's exact counts of this moment."""
    async with services.app_db.transaction(run.tenant_id) as connection:
        return total(await counts_by_variant(connection, tenant=run.tenant_id, run=run.id))


async def _check_audiences(services: Services, tenant: UUID, definition: CampaignDefinition) -> None:
    """Raises the store's `AudienceError` where a list or segment is not there."""
    async with services.relay_db.transaction() as connection:
        for audience in (definition.audience, definition.exclude):
            if audience is not None:
                await _compile(connection, tenant, audience.model_dump())


async def _compile(connection: Connection, tenant: UUID, audience: dict[str, Any]) -> None:
    await audience_query(connection, tenant=tenant, audience=audience)


async def _template(session: Session, tenant: UUID, key: str, channel: Channel) -> TemplateRow:
    row = await template_of(session, tenant, key)
    if row is None:
        raise _missing("template", key)
    if row.channel != channel:
        raise _unfit("template", f"The template {key} is for {row.channel}, the campaign for {channel}.")
    return row


async def _topic(session: Session, tenant: UUID, key: str | None) -> UUID | None:
    if key is None:
        return None
    found = await topic_of(session, tenant, key)
    if found is None:
        raise _missing("topic", key)
    return found


def _missing(what: str, key: str) -> ApiError:
    return _unfit(what, f"There is no {what} {key}: make it, or change the campaign.")


def _unfit(field: str, advice: str) -> ApiError:
    return ApiError("campaign_incomplete", advice, errors=[FieldError(field=field, message=advice)])
