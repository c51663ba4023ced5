"""What a step of a journey does to the world, in the transaction of the decision that takes it."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any, assert_never

from waypost.journeys.steps import AddToList, EmitEvent, RemoveFromList, Send, StartJourney, UpdateContact
from waypost.journeys.taking import filled
from waypost.messaging import ids
from waypost.messaging.values import Channel, Mode, Part
from waypost.store.contact_events import ContactEvent, receive_events
from waypost.store.contact_traits import Traits, tell_contacts
from waypost.store.database import Connection
from waypost.store.entering import Entered, Entrance, enter
from waypost.store.journey_lists import join_list, leave_list
from waypost.store.journey_sends import Posted, post
from waypost.store.journey_walks import LoadedEnrollment

Deed = UpdateContact | AddToList | RemoveFromList | EmitEvent | StartJourney


async def do(
    connection: Connection, enrollment: LoadedEnrollment, step: Deed, data: Mapping[str, Any], visit: int
) -> dict[str, Any]:
    """Do it; in codes, what came of it."""
    tenant, contact = enrollment.tenant_id, enrollment.contact_id
    match step:
        case UpdateContact():
            changes = {**filled(step.set, data), **dict.fromkeys(step.remove)}
            assert enrollment.external_id is not None
            said = Traits(external_id=enrollment.external_id, attributes=changes)
            refused = await tell_contacts(connection, tenant, [said])
            return {"refused": "attributes_too_large"} if refused else {"changed": sorted(changes)}
        case AddToList():
            known = await join_list(connection, tenant=tenant, contact=contact, key=step.list)
            return {"list": step.list} if known else {"refused": "unknown_list"}
        case RemoveFromList():
            await leave_list(connection, tenant=tenant, contact=contact, key=step.list)
            return {"list": step.list}
        case EmitEvent():
            return await _emit(connection, enrollment, step, data, visit)
        case StartJourney():
            return await _start(connection, enrollment, step, data)
        case _:
            assert_never(step)


async def _emit(
    connection: Connection, enrollment: LoadedEnrollment, step: EmitEvent, data: Mapping[str, Any], visit: int
) -> dict[str, Any]:
    assert enrollment.external_id is not None
    event = ContactEvent(
        id=f"journey:{ids.visit_id(enrollment=enrollment.id, number=visit)}",
        contact=enrollment.external_id,
        name=step.event,
        properties=filled(step.properties, data),
        occurred_at=enrollment.now,
    )
    await receive_events(
        connection,
        tenant=enrollment.tenant_id,
        events=[event],
        mode=Mode(enrollment.mode),
        depth=enrollment.depth + 1,
    )
    return {"event": step.event}


async def _start(
    connection: Connection, enrollment: LoadedEnrollment, step: StartJourney, data: Mapping[str, Any]
) -> dict[str, Any]:
    entrance = Entrance(
        journey=ids.journey_id(tenant=enrollment.tenant_id, key=step.journey),
        contact=enrollment.contact_id,
        data=filled(step.data, data),
        source="journey",
        depth=enrollment.depth + 1,
    )
    (answer,) = await enter(connection, tenant=enrollment.tenant_id, entrances=[entrance])
    if isinstance(answer, Entered):
        return {"journey": step.journey, "enrollment": str(answer.enrollment)}
    return {"journey": step.journey, "refused": answer.reason}


async def post_send(
    connection: Connection,
    enrollment: LoadedEnrollment,
    step: Send,
    data: Mapping[str, Any],
    *,
    visit: int,
    meant_for: datetime,
    late_policy: str | None,
) -> dict[Part, str]:
    """Make the messages of a send step; of those that could not be made, why."""
    primary = Posted(
        part=Part.PRIMARY,
        channel=step.channel,
        template=step.template,
        sender=step.sender,
        topic=step.topic,
        message_class=step.message_class,
        data={**data, **step.data},
        expires_in=step.expires_in,
        meant_for=meant_for,
        fallback_after=step.fallback.after if step.fallback else None,
        late_policy=late_policy,
    )
    return await post(
        connection,
        tenant=enrollment.tenant_id,
        enrollment=enrollment.id,
        contact=enrollment.contact_id,
        visit=visit,
        mode=enrollment.mode,
        parts=(primary, *_fallback(step, primary)),
    )


def _fallback(step: Send, primary: Posted) -> tuple[Posted, ...]:
    if step.fallback is None:
        return ()
    return (
        Posted(
            part=Part.FALLBACK,
            channel=Channel(step.fallback.channel),
            template=step.fallback.template,
            sender=step.fallback.sender,
            topic=step.topic,
            message_class=step.message_class,
            data=primary.data,
            expires_in=step.expires_in,
            meant_for=primary.meant_for,
            late_policy=primary.late_policy,
        ),
    )
