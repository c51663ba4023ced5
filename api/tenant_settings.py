"""`/v1/settings`: what a tenant decides for itself."""

import asyncio
from typing import Annotated
from uuid import UUID

from pydantic import Field, TypeAdapter

from api.confirmations import CONFIRM_URL
from api.dependencies import Caller, Scope, needs
from api.fields import Shown, Slug
from api.problems import ApiError, FieldError
from api.routes import guarded_router, problems
from api.services import Services, WithServices
from api.tenants import SendingRules, columns
from waypost.messaging.content import TemplateContent
from waypost.messaging.rules import FrequencyCap, QuietHours
from waypost.messaging.templating import compile_template
from waypost.store import templates, tenants
from waypost.store.errors import NotFoundError
from waypost.store.topics import confirmation_template

router = guarded_router("settings")

_CONTENT: TypeAdapter[TemplateContent] = TypeAdapter(TemplateContent)

_TemplateKey = Annotated[
    Slug | None,
    Field(description=f"Asks to confirm a subscription; prints {{{{ {CONFIRM_URL} }}}}. Null: the built-in one does"),
]


class SettingsChanges(SendingRules):
    """What to change; fields that are left out stay."""

    double_opt_in_template: _TemplateKey = None


class SettingsShown(Shown):
    """What the tenant decided."""

    time_zone: str
    quiet_hours: QuietHours | None
    frequency_caps: tuple[FrequencyCap, ...]
    approval_over: int | None
    double_opt_in_template: str | None


@router.get("/v1/settings")
async def get_settings(caller: Annotated[Caller, needs(Scope.CAMPAIGNS_READ)], services: WithServices) -> SettingsShown:
    """The tenant's own settings."""
    async with services.app_db.session(caller.tenant_id) as session:
        row = await tenants.get_tenant(session, caller.tenant_id)
        return SettingsShown(
            time_zone=row.time_zone,
            quiet_hours=QuietHours.model_validate(row.quiet_hours) if row.quiet_hours else None,
            frequency_caps=tuple(FrequencyCap.model_validate(cap) for cap in row.frequency_caps),
            approval_over=row.approval_over,
            double_opt_in_template=await confirmation_template(session, caller.tenant_id),
        )


@router.patch("/v1/settings", responses=problems(409))
async def change_settings(
    caller: Annotated[Caller, needs(Scope.CAMPAIGNS_WRITE)], services: WithServices, body: SettingsChanges
) -> SettingsShown:
    """Change the tenant's own settings: what is sent from now on keeps to them."""
    changes = columns(body, exclude_unset=True)
    if "double_opt_in_template" in changes:
        changes["double_opt_in_template"] = await _template(services, caller, body.double_opt_in_template)
    if changes:
        async with services.relay_db.session() as session:
            await tenants.change_tenant(session, caller.tenant_id, changes)
    return await get_settings(caller, services)


async def _template(services: Services, caller: Caller, key: str | None) -> UUID | None:
    """The template's id. Raises `ApiError` where it could not ask anybody to confirm."""
    if key is None:
        return None
    try:
        async with services.app_db.session(caller.tenant_id) as session:
            found = await templates.get_template(session, caller.tenant_id, key)
    except NotFoundError:
        raise _refusal("template_not_found", "There is no such template; put it first.") from None
    content = _CONTENT.validate_python(found.version.content)
    compiled = await asyncio.get_running_loop().run_in_executor(services.workshop, compile_template, content)
    without = [name for name, one in compiled.locales.items() if CONFIRM_URL not in one.variables]
    if without:
        raise _refusal("validation_failed", f"The template must print {CONFIRM_URL}; {', '.join(without)} does not.")
    return found.template.id


def _refusal(code: str, advice: str) -> ApiError:
    return ApiError(code, advice, errors=[FieldError(field="double_opt_in_template", message=advice)])
