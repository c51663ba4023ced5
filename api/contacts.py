"""`/v1/contacts`: the people a tenant may write to, by the tenant's own ids."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Annotated, Any, Literal

import orjson
from pydantic import AfterValidator, BaseModel, Field, GetJsonSchemaHandler, TypeAdapter, ValidationError
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema

from api.cursors import AskedPage, listing
from api.dependencies import Caller, Scope, needs
from api.errors import field_errors
from api.fields import Body, ExternalId, ExternalIdPath, Listing, Shown
from api.problems import Problem, problem_response
from api.routes import guarded_router
from api.services import WithServices
from waypost.messaging.addresses import EmailAddress, Locale, PhoneNumber, TimeZone
from waypost.messaging.content_errors import LabelError
from waypost.messaging.labels import MAX_ATTRIBUTES_BYTES, validate_data
from waypost.messaging.values import Channel
from waypost.store import contacts as store
from waypost.store.contacts import Contact

router = guarded_router("contacts")

MAX_BATCH = 1_000


def _attributes(value: Mapping[str, Any]) -> dict[str, Any]:
    try:
        return validate_data(value, field="attributes", max_bytes=MAX_ATTRIBUTES_BYTES)
    except LabelError as error:
        raise error.as_pydantic() from None


class ContactInput(Body):
    """All of a contact: what is left out is empty."""

    email: EmailAddress | None = None
    phone: Annotated[PhoneNumber | None, Field(description="In E.164 form: +436641234567")] = None
    time_zone: Annotated[TimeZone | None, Field(description="IANA name: Europe/Vienna")] = None
    locale: Annotated[Locale | None, Field(description="BCP 47: de-AT")] = None
    attributes: Annotated[
        dict[str, Any], AfterValidator(_attributes), Field(description="JSON for templates, 32 KB at most")
    ] = Field(default_factory=dict)
    consent: Annotated[dict[Channel, bool], Field(description="False: nothing may be sent on this channel")] = Field(
        default_factory=dict
    )


class ContactItem(ContactInput):
    """A contact of a batch."""

    external_id: ExternalId


_ITEM = TypeAdapter(ContactItem)


class _AsContactItem:
    """Any object, documented as a ContactItem: each is judged by itself."""

    def __get_pydantic_json_schema__(self, _: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        return handler(ContactItem.__pydantic_core_schema__)


class ContactBatch(Body):
    """Contacts to make or replace; each is judged by itself."""

    contacts: Annotated[
        tuple[Annotated[dict[str, Any], _AsContactItem()], ...], Field(min_length=1, max_length=MAX_BATCH)
    ]


class ContactShown(Shown):
    """A contact."""

    external_id: str
    email: str | None
    phone: str | None
    time_zone: str | None
    locale: str | None
    attributes: dict[str, Any]
    consent: dict[str, Any]
    created_at: datetime
    updated_at: datetime


class ContactVerdict(BaseModel):
    """What became of one contact of a batch. `problem` says why it was refused."""

    external_id: str | None = None
    status: Literal["created", "updated", "refused"]
    problem: Problem | None = None


class ContactVerdicts(BaseModel):
    """A verdict for each contact, in the order of the request."""

    verdicts: Sequence[ContactVerdict]


Reader = Annotated[Caller, needs(Scope.CONTACTS_READ)]
Writer = Annotated[Caller, needs(Scope.CONTACTS_WRITE)]


@router.put("/v1/contacts/{external_id}")
async def put_contact(
    caller: Writer, services: WithServices, external_id: ExternalIdPath, body: ContactInput
) -> ContactShown:
    """Make or replace a contact."""
    async with services.app_db.transaction(caller.tenant_id) as connection:
        await store.put_contacts(connection, caller.tenant_id, [_contact(body, external_id)])
    return await get_contact(caller, services, external_id)


@router.get("/v1/contacts/{external_id}")
async def get_contact(caller: Reader, services: WithServices, external_id: ExternalIdPath) -> ContactShown:
    """One contact."""
    async with services.app_db.session(caller.tenant_id) as session:
        return _show(await store.get_contact(session, caller.tenant_id, external_id))


@router.delete("/v1/contacts/{external_id}", status_code=204)
async def delete_contact(caller: Writer, services: WithServices, external_id: ExternalIdPath) -> None:
    """Forget a contact and cancel its messages that have not gone out. Those that have keep their own address."""
    async with services.app_db.transaction(caller.tenant_id) as connection:
        await store.delete_contact(connection, caller.tenant_id, external_id)


@router.get("/v1/contacts")
async def list_contacts(caller: Reader, services: WithServices, page: AskedPage) -> Listing[ContactShown]:
    """Contacts in the order they were made."""
    async with services.app_db.session(caller.tenant_id) as session:
        return listing(await store.list_contacts(session, caller.tenant_id, after=page.after, limit=page.limit), _show)


@router.post("/v1/contacts/batch", response_model_exclude_none=True)
async def put_contacts(caller: Writer, services: WithServices, body: ContactBatch) -> ContactVerdicts:
    """Make or replace up to 1,000 contacts. One that is refused does not keep the others out."""
    items = _judge(body.contacts)
    taken = [_contact(item, item.external_id) for item in items if isinstance(item, ContactItem)]
    created: dict[str, bool] = {}
    if taken:
        async with services.app_db.transaction(caller.tenant_id) as connection:
            created = await store.put_contacts(connection, caller.tenant_id, taken)
    return ContactVerdicts(verdicts=[_verdict(item, created) for item in items])


def _judge(contacts: Sequence[dict[str, Any]]) -> list[ContactItem | ContactVerdict]:
    seen: set[str] = set()
    items: list[ContactItem | ContactVerdict] = []
    for contact in contacts:
        item = _read(contact)
        if isinstance(item, ContactItem) and item.external_id in seen:
            item = _refused(item.external_id, [_DUPLICATE])
        elif isinstance(item, ContactItem):
            seen.add(item.external_id)
        items.append(item)
    return items


_DUPLICATE = {"loc": ("body", "external_id"), "type": "duplicate", "msg": "The batch has this external_id before."}


def _read(contact: dict[str, Any]) -> ContactItem | ContactVerdict:
    try:
        return _ITEM.validate_python(contact)
    except ValidationError as error:
        found = [{**one, "loc": ("body", *one["loc"])} for one in error.errors(include_url=False, include_input=False)]
        given = contact.get("external_id")
        return _refused(given[:128] if isinstance(given, str) else None, found)


def _refused(external_id: str | None, found: Sequence[Any]) -> ContactVerdict:
    detail = "The contact is not valid: correct the fields under errors and send it again."
    response = problem_response("validation_failed", detail, errors=field_errors(found))
    return ContactVerdict(
        external_id=external_id, status="refused", problem=Problem.model_validate(orjson.loads(response.body))
    )


def _verdict(item: ContactItem | ContactVerdict, created: Mapping[str, bool]) -> ContactVerdict:
    if isinstance(item, ContactVerdict):
        return item
    status: Literal["created", "updated"] = "created" if created[item.external_id] else "updated"
    return ContactVerdict(external_id=item.external_id, status=status)


def _contact(body: ContactInput, external_id: str) -> Contact:
    return Contact(
        external_id=external_id,
        email=body.email,
        phone=body.phone,
        time_zone=body.time_zone,
        locale=body.locale,
        attributes=body.attributes,
        consent={channel.value: word for channel, word in body.consent.items()},
    )


def _show(row: Any) -> ContactShown:
    return ContactShown.model_validate(row)
