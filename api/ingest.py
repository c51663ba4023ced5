"""Feedback's own process: SQS pollers, webhooks, and the applier. `uvicorn --factory api.ingest:create_app`."""

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from functools import partial
from typing import Protocol
from uuid import UUID

from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, Gauge, generate_latest
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from api.webhooks.answers import RefusalError, problem
from api.webhooks.services import AccountBook, WebhookServices
from api.webhooks.ses import ses_event
from api.webhooks.twilio import twilio_inbound, twilio_status
from waypost.logs import configure_logs
from waypost.messaging.provider import ProviderAccount
from waypost.providers.accounts import check_account
from waypost.providers.deadlines import Deadlines
from waypost.providers.ses.queue import SqsFeed
from waypost.relay.feeds import EventQueue, FeedFollower
from waypost.relay.intake import Intake, IntakeMetrics
from waypost.serving import process_registry
from waypost.settings import DatabaseSettings, IngestSettings, SecretSettings
from waypost.store.accounts import load_account
from waypost.store.database import Database, DatabaseAway, Role, UnsafeRoleError
from waypost.store.feeds import unapplied_age
from waypost.store.sealing import Sealer
from workflows.names import DELIVERED_SIGNAL

logger = logging.getLogger(__name__)

_POOL = 6
_DEADLINES = Deadlines(connect=2.0, read=5.0, total=6.0)


class OpenDatabase(Protocol):
    """Makes the pool; the drills' kills at set points."""

    def __call__(self, settings: DatabaseSettings, role: Role, *, size: int) -> Database: ...


@dataclass(frozen=True, kw_only=True)
class IngestConfig:
    """The groups of settings that ingest reads."""

    database: DatabaseSettings
    secrets: SecretSettings
    ingest: IngestSettings

    @classmethod
    def from_environment(cls) -> "IngestConfig":
        """Read them all. Raises pydantic's ValidationError, which names what is missing."""
        return cls(database=DatabaseSettings(), secrets=SecretSettings(), ingest=IngestSettings())


def create_app(
    config: IngestConfig | None = None,
    *,
    registry: CollectorRegistry | None = None,
    open_database: OpenDatabase = Database,
) -> Starlette:
    """The ingest process. Nothing is connected before its lifespan starts, which works while PostgreSQL is away."""
    config = config or IngestConfig.from_environment()
    registry = registry or process_registry()
    database = open_database(config.database, Role.RELAY, size=_POOL)
    sealer = Sealer(config.secrets.secret_key.get_secret_value(), config.secrets.previous)
    metrics = IntakeMetrics(registry)
    load = partial(load_account, database, sealer=sealer)
    intake = Intake(database, metrics, batch=config.ingest.ingest_batch, signal=DELIVERED_SIGNAL)
    app = Starlette(routes=_routes(), lifespan=_lifespan, exception_handlers={HTTPException: _not_there})
    app.state.registry = registry
    app.state.backlog = Gauge(
        "waypost_events_unapplied_age_seconds", "Age of the oldest event not yet applied", registry=registry
    )
    app.state.services = WebhookServices(database=database, intake=intake, accounts=AccountBook(load), metrics=metrics)
    app.state.follower = FeedFollower(
        database,
        intake,
        load=_loading(load),
        open_queue=_open_queue,
        visibility_s=config.ingest.ingest_visibility_s,
    )
    return app


def _routes() -> list[Route]:
    return [
        Route("/webhooks/{account}/twilio/status/{attempt}", _answered(twilio_status), methods=["POST"]),
        Route("/webhooks/{account}/ses", _answered(ses_event), methods=["POST"]),
        Route("/webhooks/{account}/twilio/inbound", _answered(twilio_inbound), methods=["POST"]),
        Route("/healthz", healthz),
        Route("/readyz", _answered(readyz)),
        Route("/metrics", metrics_page),
    ]


def _loading(load: Callable[[UUID], Awaitable[ProviderAccount]]) -> Callable[[UUID], Awaitable[ProviderAccount]]:
    async def checked(identity: UUID) -> ProviderAccount:
        account = await load(identity)
        check_account(account)  # the row may be older than the rules
        return account

    return checked


def _open_queue(account: ProviderAccount) -> EventQueue:
    return SqsFeed(account, _DEADLINES)


@asynccontextmanager
async def _lifespan(app: Starlette) -> AsyncIterator[None]:
    configure_logs("ingest")
    services: WebhookServices = app.state.services
    await services.database.open()
    with suppress(*DatabaseAway):  # while PostgreSQL is away, /readyz checks instead
        await services.database.check_role()
    follower = asyncio.create_task(app.state.follower.run())
    applier = asyncio.create_task(services.intake.run())
    try:
        yield
    finally:
        # Pollers first, for what they hold must still be stored.
        await _end(follower)
        await _end(applier)
        services.executor.shutdown(wait=False)
        await services.database.close()


async def _end(task: asyncio.Task[None]) -> None:
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task


async def healthz(_: Request) -> Response:
    """The process answers."""
    return PlainTextResponse("ok\n")


async def readyz(request: Request) -> Response:
    """Events can be kept: PostgreSQL answers, under a role that row security binds."""
    services: WebhookServices = request.app.state.services
    await services.database.check_role()
    return PlainTextResponse("ready\n")


async def metrics_page(request: Request) -> Response:
    """Prometheus' text format."""
    state = request.app.state
    with suppress(*DatabaseAway):
        async with state.services.database.transaction() as connection:
            state.backlog.set(await unapplied_age(connection))
    return Response(generate_latest(state.registry), media_type=CONTENT_TYPE_LATEST)


def _answered(handler: Callable[[Request], Awaitable[Response]]) -> Callable[[Request], Awaitable[Response]]:
    """The handler, with everything that goes wrong answered here: nobody above may log an exception's text."""

    async def answered(request: Request) -> Response:
        try:
            return await handler(request)
        except RefusalError as error:
            return problem(error.code, error.detail)
        except DatabaseAway:
            return problem("database_away", "Deliver the event again: nothing of it was kept.")
        except UnsafeRoleError as error:
            return PlainTextResponse(f"{error}\n", 503)
        except Exception:
            logger.error("event not kept", extra={"handler": handler.__name__}, exc_info=True)
            return problem("internal", "Deliver the event again; the log of ingest says what went wrong.")

    return answered


async def _not_there(_: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    if error.status_code == 405:
        answer = problem("method_not_allowed", "Webhooks take POST; the Allow header says what this path takes.")
        answer.headers.update(error.headers or {})
        return answer
    return problem("not_found", "There is nothing at this path; docs/delivery-events.md lists the webhooks.")
