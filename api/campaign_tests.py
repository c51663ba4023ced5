"""`POST /v1/campaigns/{key}/send-test`: a campaign's message to a few people who look at it first.

It is rendered here, as a recipient's would be, and goes out by the transactional path with what it then says.
"""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Annotated, Any, Self
from uuid import UUID

from pydantic import Field, TypeAdapter, model_validator
from pydantic_core import PydanticCustomError

from api.campaigns import Writer
from api.dependencies import Caller
from api.fields import Body, ExternalId, SlugPath
from api.message_intake import Asked
from api.message_models import BatchVerdicts, MessageIn
from api.messages import IdempotencyKey, links_of, show_verdict
from api.problems import ApiError, FieldError
from api.routes import guarded_router, problems
from api.services import Services, WithServices
from waypost.campaigns.definition import CampaignDefinition, Variant
from waypost.messaging.addresses import EmailAddress, PhoneNumber
from waypost.messaging.content import MAX_SUBJECT, TemplateContent
from waypost.messaging.link_tokens import preferences_url, unsubscribe_url
from waypost.messaging.rendering import RenderedContent, render, template_context
from waypost.messaging.templating import compile_template
from waypost.messaging.values import Channel
from waypost.messaging.zones import find_zone
from waypost.store import campaigns as store
from waypost.store.contacts import get_contact
from waypost.store.templates import get_template, tenant_name

router = guarded_router("campaigns")

MAX_TESTS = 10
MARK = "[Test] "
_CONTENT: TypeAdapter[TemplateContent] = TypeAdapter(TemplateContent)
_SAMPLE: Mapping[str, Any] = {
    "external_id": "sample",
    "email": "sample@example.com",
    "phone": "+12025550123",
    "locale": None,
    "time_zone": None,
    "attributes": {},
}


class Tester(Body):
    """Exactly one of them."""

    contact: Annotated[ExternalId | None, Field(description="External id: their address, their data")] = None
    email: EmailAddress | None = None
    phone: PhoneNumber | None = None

    @model_validator(mode="after")
    def _one(self) -> Self:
        if sum(each is not None for each in (self.contact, self.email, self.phone)) != 1:
            raise PydanticCustomError("tester", "Give exactly one of contact, email and phone.")
        return self


class SendTestInput(Body):
    """Whom to send a test to. `sample`: the contact whose data bare addresses see; without it nobody's."""

    to: Annotated[tuple[Tester, ...], Field(min_length=1, max_length=MAX_TESTS)]
    variant: Annotated[str | None, Field(max_length=64, description="A variant's name; without it the first")] = None
    sample: ExternalId | None = None


@dataclass(frozen=True, slots=True)
class _Test:
    """What all tests of one request share."""

    definition: CampaignDefinition
    content: TemplateContent
    tenant: str
    base_url: str


@router.post("/v1/campaigns/{key}/send-test", responses=problems(409))
async def send_test(
    caller: Writer, services: WithServices, key: SlugPath, body: SendTestInput, once: IdempotencyKey = None
) -> BatchVerdicts:
    """Send the campaign's message to up to ten people, marked `[Test]`, with a verdict for each.

    Each is an ordinary transactional message: no topic, cap or quiet hours stand against it, and it counts nowhere.
    """
    people = await _people(services, caller.tenant_id, body)
    test = await _test(services, caller, key, body.variant)
    asked = []
    for place, (to, person) in enumerate(zip(body.to, people, strict=True)):
        rendered = await asyncio.get_running_loop().run_in_executor(services.workshop, _render, test, person)
        message = _message(test, key, to, rendered)
        one = Asked(
            message=MessageIn.model_validate(message), mode=caller.mode, body=message, key=once and f"{once}#{place}"
        )
        asked.append(one)
    answers = await services.intake.take_batch(caller.tenant_id, caller.mode, asked)
    links = links_of(services)
    return BatchVerdicts.model_validate({"verdicts": [show_verdict(answer, links) for answer in answers]})


async def _people(services: Services, tenant: UUID, body: SendTestInput) -> Sequence[Mapping[str, Any]]:
    """The data that each test is rendered with. Raises `NotFoundError`."""
    async with services.app_db.session(tenant) as session:
        asked = [to.contact or body.sample for to in body.to]
        found = {name: await get_contact(session, tenant, name) for name in set(asked) if name is not None}
    return [found[name].model_dump(include=set(_SAMPLE)) if name is not None else _SAMPLE for name in asked]


async def _test(services: Services, caller: Caller, key: str, variant: str | None) -> _Test:
    tenant = caller.tenant_id
    async with services.app_db.session(tenant) as session:
        campaign, _ = await store.get_campaign(session, tenant, key, mode=caller.mode)
        definition = CampaignDefinition.model_validate(campaign.definition)
        found = await get_template(session, tenant, _chosen(definition, variant).template)
        name = await tenant_name(session, tenant)
    content = _CONTENT.validate_python(found.version.content)
    if content.channel != definition.channel:
        advice = f"The template is for {content.channel}, the campaign for {definition.channel}."
        raise ApiError("campaign_incomplete", advice, errors=[FieldError(field="template", message=advice)])
    return _Test(definition, content, name, services.settings.api.public_url)


def _chosen(definition: CampaignDefinition, variant: str | None) -> Variant:
    found = {one.name: one for one in definition.contents}
    if variant is None:
        return definition.contents[0]
    if variant not in found:
        advice = f"The campaign has no such variant; it has {', '.join(found)}."
        raise ApiError("validation_failed", advice, errors=[FieldError(field="variant", message=advice)])
    return found[variant]


def _render(test: _Test, person: Mapping[str, Any]) -> RenderedContent:
    """As a recipient's message, but that its links lead to pages that say what they would be. Raises ContentError."""
    compiled = compile_template(test.content)
    zone = find_zone(person["time_zone"]) if person["time_zone"] else UTC
    context = template_context(
        contact=person,
        data=test.definition.data,
        tenant={"name": test.tenant},
        message={"id": str(UUID(int=0)), "channel": test.definition.channel},
        now=datetime.now(zone),
        unsubscribe_url=unsubscribe_url(test.base_url, "preview"),
        preferences_url=preferences_url(test.base_url, "preview"),
    )
    return render(compiled, person["locale"], context)


def _message(test: _Test, key: str, to: Tester, rendered: RenderedContent) -> dict[str, Any]:
    """The body of `POST /v1/messages` that says what was rendered."""
    content = {"channel": test.definition.channel.value, **_content(rendered)}
    return {
        "to": to.model_dump(exclude_none=True),
        "channel": test.definition.channel.value,
        "content": content,
        "sender": test.definition.sender,
        "tags": ["campaign-test"],
        "metadata": {"campaign": key},
    }


def _content(rendered: RenderedContent) -> dict[str, str]:
    if rendered.channel is not Channel.EMAIL:
        return {"body": _verbatim(MARK + rendered.text)}
    found = {"subject": _verbatim((MARK + rendered.subject)[:MAX_SUBJECT]), "text": _verbatim(rendered.text)}
    return found if rendered.html is None else {**found, "html": _verbatim(rendered.html)}


def _verbatim(text: str) -> str:
    """Liquid that prints the text: what was rendered is not rendered again."""
    return text.replace("{{", "\0").replace("{%", "{{ '{%' }}").replace("\0", "{{ '{{' }}")
