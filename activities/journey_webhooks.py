"""A webhook step: posted once at a time, its tries and its end kept with the visit."""

from collections.abc import Sequence
from datetime import timedelta
from uuid import UUID

import orjson
from prometheus_client import Counter

from waypost.journeys.document import Journey
from waypost.journeys.steps import Webhook
from waypost.messaging import ids
from waypost.messaging.values import TenantState
from waypost.messaging.webhooks import Answer, Poster, signing_secret
from waypost.store.database import Database
from waypost.store.journey_walks import LoadedEnrollment
from waypost.store.journey_webhooks import note_answer, note_try

PAUSES = tuple(timedelta(seconds=seconds) for seconds in (5, 15, 60, 300, 900, 1_800))
"""So long it waits after each try that came to nothing; after the last it is refused."""

_POSTS = Counter("waypost_journey_webhooks_total", "Posts of webhook steps, by what came of them", ["answer"])


class Webhooks:
    """Posts, and writes down what came of it.

    At least once: what was posted by a worker that died before it wrote that down is posted again, under the same id.
    `previous` are the secret keys of before: signed with them too, for those who have not taken the new secret yet.
    """

    def __init__(self, *, app: Database, poster: Poster, secret_key: str, previous: Sequence[str] = ()) -> None:
        self._app = app
        self._poster = poster
        self._secret_keys = (secret_key, *previous)

    async def post(self, enrollment: LoadedEnrollment, journey: Journey, *, visit: int) -> str:
        """Post the step where the enrollment is, if it is the one of this visit; a code."""
        step = journey.steps.get(enrollment.step or "")
        if not _is_wanted(enrollment, visit) or not isinstance(step, Webhook):
            return "moved_on"
        identity = ids.visit_id(enrollment=enrollment.id, number=visit)
        secrets = [signing_secret(key, enrollment.tenant_id) for key in self._secret_keys]
        answer = await self._poster.post(step.url, _body(enrollment, step, visit), identity=identity, secrets=secrets)
        _POSTS.labels("taken" if answer.taken else "again" if answer.again else "refused").inc()
        await self._write_down(enrollment, step, answer, visit)
        return answer.code

    async def _write_down(self, enrollment: LoadedEnrollment, step: Webhook, answer: Answer, visit: int) -> None:
        tries = int(enrollment.place.get("tries", 0)) + 1
        async with self._app.transaction(enrollment.tenant_id) as connection:
            if answer.again and tries <= len(PAUSES):
                await note_try(
                    connection, enrollment=_key(enrollment), visit=visit, code=answer.code, wait=PAUSES[tries - 1]
                )
                return
            edge = "next" if answer.taken or step.on_failure is None else "on_failure"
            await note_answer(
                connection, enrollment=_key(enrollment), visit=visit, code=answer.code, taken=answer.taken, edge=edge
            )


def _is_wanted(enrollment: LoadedEnrollment, visit: int) -> bool:
    """It may be asked for a while after it was decided. What else is the case now, the next decision finds."""
    here = enrollment.state == "open" and enrollment.visits == visit
    return here and not enrollment.contact_gone and enrollment.tenant_state == TenantState.ACTIVE


def _key(enrollment: LoadedEnrollment) -> tuple[UUID, UUID]:
    return (enrollment.tenant_id, enrollment.id)


def _body(enrollment: LoadedEnrollment, step: Webhook, visit: int) -> bytes:
    return orjson.dumps(
        {
            "journey": enrollment.journey_key,
            "enrollment": str(enrollment.id),
            "step": enrollment.step,
            "visit": visit,
            "contact": enrollment.external_id,
            "data": {**enrollment.data, **step.data},
        }
    )
