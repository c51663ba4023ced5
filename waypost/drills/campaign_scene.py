"""A tenant with an account of its own, a template and crowds: where a part of a drill of campaigns plays."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from waypost.drills.campaigning import CampaignDoor
from waypost.drills.crowd import Crowd, gather, owner_of
from waypost.drills.staging import Staging
from waypost.drills.tenants import Admin, DrillAccount, DrillTenant

_HTML = "<p>Dear {{ contact.first_name }}, there is news in {{ contact.city }}.</p>"


@dataclass(frozen=True, slots=True, kw_only=True)
class Scene:
    """One tenant's."""

    staging: Staging
    admin: Admin
    account: DrillAccount
    tenant: DrillTenant
    door: CampaignDoor
    template: str = "news"

    async def crowd(self, name: str, count: int, *, time_zone: str | None = None, into: str | None = None) -> Crowd:
        """So many contacts, in the list of the crowd's name or of `into`."""
        crowd = Crowd(tenant=self.tenant.id, prefix=name, count=count, time_zone=time_zone)
        stack = self.staging.stack
        owner = owner_of(database_url=stack.environment["WAYPOST_DATABASE_URL"], secrets=stack.secrets)
        await asyncio.to_thread(gather, owner, crowd, into=into or name)
        return crowd

    async def accepted(self) -> int:
        """How many recipients the account's provider has accepted."""
        stats = await asyncio.to_thread(self.staging.control.stats)
        return next((e["accepted"] for e in stats["accepted_by_account"] if e["account"] == self.account.key), 0)

    async def arrivals(self, crowd: Crowd, since: int = 0) -> Sequence[dict[str, Any]]:
        """The account's entries of the provider's log for a crowd, without its first `since`."""
        return await asyncio.to_thread(self._arrivals, crowd, since)

    def _arrivals(self, crowd: Crowd, since: int) -> list[dict[str, Any]]:
        part = f"+{crowd.prefix}-"
        mine = [entry for entry in self.staging.control.log() if entry["account"] == self.account.key]
        return [entry for entry in mine[since:] if part in entry["recipient"]]


async def scene_of(staging: Staging, admin: Admin, name: str, *, rate: float) -> Scene:
    """Make it: an account of that rate, a tenant, the template."""
    account = await admin.ses_account(name)
    await admin.rate(account, rate)
    tenant = await admin.tenant(name, {"email": account})
    door = CampaignDoor(staging.stack.urls["api"], tenant.api_key)
    await door.put_email("news", subject="News for {{ contact.first_name }}", html=_HTML)
    return Scene(staging=staging, admin=admin, account=account, tenant=tenant, door=door)
