"""A tenant who runs campaigns over the API, as any other would."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Self
from uuid import UUID

import httpx

from waypost.drills.tenants import DrillSetupError

_TIMEOUT_S = 30.0


@dataclass(frozen=True, slots=True, kw_only=True)
class RunShown:
    """A campaign's run as the API shows it."""

    id: UUID
    state: str
    audience: int | None
    counts: Mapping[str, int]

    @property
    def outcomes(self) -> int:
        """Recipients who have one."""
        return sum(self.counts.get(outcome, 0) for outcome in OUTCOMES)


OUTCOMES = ("sent", "maybe_sent", "failed", "suppressed", "skipped", "expired", "cancelled")


class CampaignDoor:
    """One tenant's campaigns."""

    def __init__(self, url: str, api_key: str) -> None:
        headers = {"authorization": f"Bearer {api_key}"}
        self._http = httpx.AsyncClient(base_url=url, headers=headers, timeout=_TIMEOUT_S, trust_env=False)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._http.aclose()

    async def put_email(self, key: str, *, subject: str, html: str, text: str | None = None) -> None:
        """A template."""
        content = {"channel": "email", "subject": subject, "html": html, **({"text": text} if text else {})}
        body = {"channel": "email", "default_locale": "en", "locales": {"en": content}}
        await self._ask("PUT", f"/v1/templates/{key}", body)

    async def put_campaign(
        self, key: str, *, template: str, audience: Mapping[str, Any], at: datetime | None = None, **more: Any
    ) -> None:
        """A campaign by e-mail; at `at`, or as soon as it is scheduled."""
        schedule = {} if at is None else {"schedule": {"at": at.isoformat()}}
        body = {"name": key, "channel": "email", "template": template, "audience": dict(audience), **schedule, **more}
        await self._ask("PUT", f"/v1/campaigns/{key}", body)

    async def act(self, key: str, action: str) -> None:
        """`schedule`, `pause`, `resume` or `cancel` it. Raises DrillSetupError where that is refused."""
        await self._ask("POST", f"/v1/campaigns/{key}/{action}", None)

    async def again(self, key: str, action: str) -> int:
        """The same request once more, whatever comes of it: its status, 0 where there was none."""
        try:
            return (await self._http.post(f"/v1/campaigns/{key}/{action}")).status_code
        except httpx.TransportError:
            return 0

    async def run(self, key: str) -> RunShown | None:
        """The campaign's last run; None before there is one."""
        shown = (await self._ask("GET", f"/v1/campaigns/{key}", None)).get("run")
        if shown is None:
            return None
        counts = {name: int(count) for name, count in (shown.get("counts") or {}).items()}
        return RunShown(id=UUID(shown["id"]), state=shown["state"], audience=shown.get("audience"), counts=counts)

    async def scheduled(self, key: str) -> RunShown:
        """Schedule it; the run that it has from then on."""
        await self.act(key, "schedule")
        run = await self.run(key)
        if run is None:
            raise DrillSetupError(f"campaign {key} has no run after it was scheduled")
        return run

    async def has_ended(self, key: str) -> bool:
        """Whether nothing of it is left to do."""
        run = await self.run(key)
        return run is not None and run.state in ("completed", "cancelled")

    async def _ask(self, method: str, path: str, body: Mapping[str, Any] | None) -> dict[str, Any]:
        answer = await self._http.request(method, path, json=None if body is None else dict(body))
        if answer.is_error:
            raise DrillSetupError(f"{method} {path} gave {answer.status_code}: {answer.text[:500]}")
        content: dict[str, Any] = answer.json()
        return content
