"""`/v1/templates`: versioned content, checked when it is put, previewed with a contact's and the caller's data."""

import asyncio
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Annotated, Any
from uuid import UUID
from zoneinfo import ZoneInfo

from fastapi import Query
from pydantic import AfterValidator, BaseModel, Field, TypeAdapter

from api.cursors import AskedPage, listing, listing_of
from api.dependencies import Caller, Scope, needs
from api.fields import Body, ExternalId, Listing, Shown, SlugPath
from api.routes import guarded_router, problems
from api.services import Services, WithServices
from waypost.messaging.addresses import Locale
from waypost.messaging.content import TemplateContent
from waypost.messaging.content_errors import LabelError
from waypost.messaging.labels import validate_data
from waypost.messaging.link_tokens import preferences_url, unsubscribe_url
from waypost.messaging.preview import PreviewWarning, preview_warnings
from waypost.messaging.rendering import RenderedContent, render, template_context
from waypost.messaging.templating import compile_template, content_hash, variables
from waypost.messaging.values import Channel
from waypost.store import templates as store
from waypost.store.contacts import get_contact
from waypost.store.tables import ContactRow
from waypost.store.templates import VersionedTemplate

router = guarded_router("templates")

_CONTENT: TypeAdapter[TemplateContent] = TypeAdapter(TemplateContent)
_NOBODY: Mapping[str, Any] = {
    "external_id": "preview",
    "email": "preview@example.com",
    "phone": None,
    "locale": None,
    "time_zone": None,
    "attributes": {},
}


def _data(value: Mapping[str, Any]) -> dict[str, Any]:
    try:
        return validate_data(value)
    except LabelError as error:
        raise error.as_pydantic() from None


class PreviewInput(Body):
    """Whom and what to render with."""

    contact: Annotated[ExternalId | None, Field(description="External id; without it nobody in particular")] = None
    data: Annotated[dict[str, Any], AfterValidator(_data)] = Field(default_factory=dict)
    locale: Annotated[Locale | None, Field(description="Instead of the contact's")] = None
    version: Annotated[int | None, Field(ge=1, le=2**31 - 1)] = None


class TemplateSummary(Shown):
    """A template without its content."""

    key: str
    channel: Channel
    current_version: int
    created_at: datetime
    updated_at: datetime


class TemplateShown(TemplateSummary):
    """A template in one version. `variables` are the dotted paths that it reads."""

    version: int
    version_created_at: datetime
    variables: Sequence[str]
    content: TemplateContent


class VersionShown(Shown):
    """One version of a template."""

    version: int
    created_at: datetime


class WarningShown(Shown):
    """Something to look at before the template is used. `facts` holds numbers and names for programs."""

    code: str
    text: str
    facts: Mapping[str, Any]


class PreviewShown(BaseModel):
    """What one message would say. Email has a subject, HTML and text; others have text."""

    version: int
    channel: Channel
    locale: str
    subject: str
    html: str | None
    text: str
    warnings: Sequence[WarningShown]


Reader = Annotated[Caller, needs(Scope.TEMPLATES_READ)]
Writer = Annotated[Caller, needs(Scope.TEMPLATES_WRITE)]
VersionQuery = Annotated[int | None, Query(ge=1, le=2**31 - 1, description="Instead of the current version")]


@router.put("/v1/templates/{key}", responses=problems(409))
async def put_template(caller: Writer, services: WithServices, key: SlugPath, body: TemplateContent) -> TemplateShown:
    """Make a new version, which becomes the current one. The same content again makes none.

    Messages keep the version they were accepted with.
    """
    await _in_workshop(services, compile_template, body)
    async with services.app_db.session(caller.tenant_id) as session:
        found = await store.put_template(
            session,
            caller.tenant_id,
            key,
            channel=body.channel,
            content=body.model_dump(mode="json", exclude_none=True),
            content_hash=bytes.fromhex(content_hash(body)),
        )
    return _show(found, body)


@router.get("/v1/templates/{key}")
async def get_template(
    caller: Reader, services: WithServices, key: SlugPath, version: VersionQuery = None
) -> TemplateShown:
    """A template with the content of its current version, or of another."""
    async with services.app_db.session(caller.tenant_id) as session:
        found = await store.get_template(session, caller.tenant_id, key, version)
    content = _CONTENT.validate_python(found.version.content)
    await _in_workshop(services, compile_template, content)
    return _show(found, content)


@router.get("/v1/templates")
async def list_templates(caller: Reader, services: WithServices, page: AskedPage) -> Listing[TemplateSummary]:
    """Templates in the order they were made."""
    async with services.app_db.session(caller.tenant_id) as session:
        found = await store.list_templates(session, caller.tenant_id, after=page.after, limit=page.limit)
        return listing(found, TemplateSummary.model_validate)


@router.get("/v1/templates/{key}/versions")
async def list_versions(
    caller: Reader, services: WithServices, key: SlugPath, page: AskedPage
) -> Listing[VersionShown]:
    """A template's versions from the first on."""
    async with services.app_db.session(caller.tenant_id) as session:
        rows, after = await store.list_versions(session, caller.tenant_id, key, after=page.after, limit=page.limit)
    return listing_of([VersionShown.model_validate(row) for row in rows], after)


@router.post("/v1/templates/{key}/preview")
async def preview_template(caller: Reader, services: WithServices, key: SlugPath, body: PreviewInput) -> PreviewShown:
    """Render a template as a message would be, and say what to look at. Nothing is stored or sent."""
    async with services.app_db.session(caller.tenant_id) as session:
        found = await store.get_template(session, caller.tenant_id, key, body.version)
        contact = await get_contact(session, caller.tenant_id, body.contact) if body.contact else None
        tenant = await store.tenant_name(session, caller.tenant_id)
    content = _CONTENT.validate_python(found.version.content)
    person = _person(contact)
    base_url = services.settings.api.public_url
    context = _context(person, body.data, tenant=tenant, channel=content.channel, base_url=base_url)
    rendered, warnings = await _in_workshop(services, _render, content, body.locale or person["locale"], context)
    return PreviewShown(
        version=found.version.version,
        channel=rendered.channel,
        locale=rendered.locale,
        subject=rendered.subject,
        html=rendered.html,
        text=rendered.text,
        warnings=[WarningShown.model_validate(warning) for warning in warnings],
    )


async def _in_workshop(services: Services, work: Any, *given: Any) -> Any:
    """Compiling and rendering take up to a second of CPU: not on the event loop, and not on all threads."""
    return await asyncio.get_running_loop().run_in_executor(services.workshop, work, *given)


def _render(
    content: TemplateContent, locale: str | None, context: Mapping[str, Any]
) -> tuple[RenderedContent, list[PreviewWarning]]:
    compiled = compile_template(content)
    rendered = render(compiled, locale, context)
    return rendered, preview_warnings(rendered, compiled.locales[rendered.locale].variables, context)


def _person(contact: ContactRow | None) -> Mapping[str, Any]:
    return contact.model_dump(include=set(_NOBODY)) if contact else _NOBODY


def _context(
    person: Mapping[str, Any], data: Mapping[str, Any], *, tenant: str, channel: Channel, base_url: str
) -> dict[str, Any]:
    """The context of a message that is never sent; its links lead to a page that says that they are none."""
    return template_context(
        contact=person,
        data=data,
        tenant={"name": tenant},
        message={"id": str(UUID(int=0)), "channel": channel},
        now=datetime.now(ZoneInfo(person["time_zone"]) if person["time_zone"] else UTC),
        unsubscribe_url=unsubscribe_url(base_url, "preview"),
        preferences_url=preferences_url(base_url, "preview"),
    )


def _show(found: VersionedTemplate, content: TemplateContent) -> TemplateShown:
    return TemplateShown(
        key=found.template.key,
        channel=Channel(found.template.channel),
        current_version=found.template.current_version,
        created_at=found.template.created_at,
        updated_at=found.template.updated_at,
        version=found.version.version,
        version_created_at=found.version.created_at,
        variables=sorted(variables(content)),
        content=content,
    )
