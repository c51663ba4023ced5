"""The world around the journey: contacts come, and what their scripts say happens when they are there."""

import asyncio
from collections.abc import Mapping
from functools import partial
from typing import Any, Self
from uuid import UUID

import httpx

from waypost.drills.journey_ledger import Place, places
from waypost.drills.journey_script import (
    AFTERWARDS,
    ENTERED,
    JOURNEY,
    LETTERS,
    LIST,
    TEXTS,
    Did,
    Script,
    afterwards,
    document,
)
from waypost.drills.staging import Staging
from waypost.drills.tenants import DrillSetupError, DrillTenant

_LOOK_EVERY_S = 0.5
_TIMEOUT_S = 30.0
_DOMAIN, _PREFIX = "@example.test", "+43664"
_TAKEN_BACK = 409
"""It has moved on: the same was asked before, and the answer was lost."""


class JourneyWorld:
    """One tenant's contacts."""

    def __init__(self, staging: Staging, tenant: DrillTenant) -> None:
        self._staging = staging
        self._http = httpx.AsyncClient(
            base_url=staging.stack.urls["api"],
            headers={"authorization": f"Bearer {tenant.api_key}"},
            timeout=_TIMEOUT_S,
            trust_env=False,
        )
        self._begun: set[tuple[UUID, str]] = set()
        self._doing: set[asyncio.Task[None]] = set()
        self.entered = 0
        self.failures: list[str] = []
        """What the API refused of what scripts asked for."""

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        for task in self._doing:
            task.cancel()
        await asyncio.gather(*self._doing, return_exceptions=True)
        await self._http.aclose()

    async def prepare(self, webhooks: str) -> None:
        """Templates, the list, both journeys."""
        for key in LETTERS:
            content = {"channel": "email", "subject": key, "text": f"This is {key}."}
            await self._put_template(key, "email", content)
        for key in TEXTS:
            await self._put_template(key, "sms", {"channel": "sms", "body": f"This is {key}."})
        await self._ask("PUT", f"/v1/lists/{LIST}", {"name": LIST})
        for key, said in ((AFTERWARDS, afterwards()), (JOURNEY, document(webhooks))):
            await self._ask("PUT", f"/v1/journeys/{key}", said)
            await self._ask("POST", f"/v1/journeys/{key}/publish", {})

    async def _put_template(self, key: str, channel: str, content: Mapping[str, str]) -> None:
        body = {"channel": channel, "default_locale": "en", "locales": {"en": dict(content)}}
        await self._ask("PUT", f"/v1/templates/{key}", body)

    async def come(self, *, rate: float, until: asyncio.Event, at_least: int) -> None:
        """Contacts enter, so many a second, until the event is set and there were enough of them."""
        while self.entered < at_least or not until.is_set():
            script = Script(number=self.entered)
            await self._put_contact(script, word="ok")
            await self._do(script, name(script.number), Did(ENTERED, {"plan": "team"}))
            self.entered += 1
            await asyncio.sleep(1 / rate)

    async def live(self) -> None:
        """Until cancelled: whoever rests at a step has happen to him what his script says."""
        while True:
            for place in await self._staging.read(partial(places, journey=JOURNEY)):
                script = Script(number=int(place.contact.removeprefix("walker-")))
                if (place.enrollment, place.step) not in self._begun and _is_time(script, place):
                    self._begun.add((place.enrollment, place.step))
                    task = asyncio.create_task(self._happen(script, place))
                    self._doing.add(task)
                    task.add_done_callback(self._is_done)
            await asyncio.sleep(_LOOK_EVERY_S)

    def _is_done(self, task: asyncio.Task[None]) -> None:
        self._doing.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            self.failures.append(str(error))

    async def _happen(self, script: Script, place: Place) -> None:
        if place.step == "last" and script.bounces:
            await self._put_contact(script, word="bounce")
        action = script.actions[place.step]
        if isinstance(action, Did):
            await self._do(script, place.contact, action)
        else:
            path = f"/v1/enrollments/{place.enrollment}/{action.what}"
            await self._ask("POST", path, action.body, but=_TAKEN_BACK)

    async def _do(self, script: Script, contact: str, did: Did) -> None:
        event = {"id": f"{script.number}-{did.event}", "contact": contact, "name": did.event}
        await self._ask("POST", "/v1/events", {**event, "properties": dict(did.properties)})

    async def _put_contact(self, script: Script, *, word: str) -> None:
        address, phone = f"{word}+{name(script.number)}{_DOMAIN}", f"{_PREFIX}{script.number:07d}"
        body = {"email": address, "phone": phone, "consent": {"email": True, "sms": True}}
        await self._ask("PUT", f"/v1/contacts/{name(script.number)}", body)

    async def _ask(self, method: str, path: str, body: Mapping[str, Any], *, but: int | None = None) -> None:
        answer = await self._http.request(method, path, json=dict(body))
        if answer.is_error and answer.status_code != but:
            raise DrillSetupError(f"{method} {path} gave {answer.status_code}: {answer.text[:500]}")


def name(number: int) -> str:
    """The n-th contact's external id."""
    return f"walker-{number}"


def number_of(recipient: str) -> int | None:
    """Whose address or phone number it is; None: nobody's here."""
    if recipient.endswith(_DOMAIN):
        return int(recipient.removesuffix(_DOMAIN).partition("+walker-")[2])
    return int(recipient.removeprefix(_PREFIX)) if recipient.startswith(_PREFIX) else None


def _is_time(script: Script, place: Place) -> bool:
    """The letter of the other journey must not come back instead of the last of this one."""
    return place.step in script.actions and (place.elsewhere_done or not script.bounces or place.step != "last")
