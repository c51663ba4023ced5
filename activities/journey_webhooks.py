"""A webhook step: posted once at a time, its tries and its end kept with the visit."""

from datetime import timedelta
from uuid import UUID

import orjson
from prometheus_client import Counter

from waypost.journeys.document import Journey
from waypost.journeys.steps import Webhook
from waypost.messaging import ids
from waypost.messaging.webhooks import Answer, Poster, signing_secret
from waypost.store.database import Database
from waypost.store.journey_walks import LoadedEnrollment
from waypost.store.journey_webhooks import note_answer, note_try

PAUSES = tuple(timedelta(seconds=seconds) for seconds in (5, 15, 60, 300, 900, 1_800))
"""So long it waits after each try that came to nothing; after the last it is refused."""

_POSTS = Counter("waypost_journey_webhooks_total", "Posts of webhook steps, by what came of them", ["answer"])


class Webhooks:
    """Posts, and writes down what came of it."""

    def __init__(self, *, app: Database, poster: Poster, secret_key: str) -> None:
        self._app = app
        self._poster = poster
        self._secret_key = secret_key

    async def post(self, enrollment: LoadedEnrollment, journey: Journey, *, visit: int) -> str:
        """Post the step where the enrollment is, if it is the one of this visit; a code."""
        step = journey.steps.get(enrollment.step or "")
        if enrollment.state != "open" or enrollment.visits != visit or not isinstance(step, Webhook):
            return "moved_on"
        identity = ids.visit_id(enrollment=enrollment.id, number=visit)
        secret = signing_secret(self._secret_key, enrollment.tenant_id)
        answer = await self._poster.post(step.url, _body(enrollment, step, visit), identity=identity, secret=secret)
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
