"""One process each: `waypost migrate`, `api`, `ingest`, `simulators`. All settings come from the environment."""

from __future__ import annotations

import importlib
import runpy
import sys
from pathlib import Path

import typer
import uvicorn

from waypost.serving import calm_collector
from waypost.settings import ApiSettings, DatabaseSettings, IngestSettings
from waypost.store import migrate as migrations

migrate_app = typer.Typer(rich_markup_mode="rich", add_completion=False)
api_app = typer.Typer(rich_markup_mode="rich", add_completion=False)
ingest_app = typer.Typer(rich_markup_mode="rich", add_completion=False)
simulators_app = typer.Typer(rich_markup_mode="rich", add_completion=False)

_DRAIN_S = 8


@migrate_app.command()
def migrate() -> None:
    """Bring the database to the newest migration and set the roles' passwords.

    Runs as the owner (WAYPOST_DATABASE_OWNER_URL); safe to run again, and by several at once.
    """
    settings = DatabaseSettings()
    migrations.upgrade(
        settings.owner_url,
        {
            "waypost_app": settings.app_password.get_secret_value(),
            "waypost_relay": settings.relay_password.get_secret_value(),
            "waypost_segments": settings.segments_password.get_secret_value(),
        },
    )
    typer.echo("The database is at the newest migration.")


@api_app.command()
def api(
    host: str | None = typer.Option(None, help="Address to listen on.", show_default="WAYPOST_API_HOST"),
    port: int | None = typer.Option(None, help="Port to listen on.", show_default="WAYPOST_API_PORT"),
) -> None:
    """Serve the API; it describes itself at /openapi.json, and docs/api.md does for people."""
    settings = ApiSettings()
    serve("api.app:create_app", host=host or settings.api_host, port=settings.api_port if port is None else port)


@ingest_app.command()
def ingest(
    host: str | None = typer.Option(None, help="Address to listen on.", show_default="WAYPOST_INGEST_HOST"),
    port: int | None = typer.Option(None, help="Port to listen on.", show_default="WAYPOST_INGEST_PORT"),
) -> None:
    """Take in provider events: SQS queues are polled, webhooks served."""
    settings = IngestSettings()
    port = settings.ingest_port if port is None else port
    serve("api.ingest:create_app", host=host or settings.ingest_host, port=port)


@simulators_app.command()
def simulators(
    host: str = typer.Option("127.0.0.1", help="Address to listen on."),
    port: int = typer.Option(8025, help="Port to listen on; the inbox page is at /."),
    log: Path = typer.Option(Path("simulators.log"), help="Append-only log of what was accepted."),
) -> None:
    """Serve the simulated SES, SNS, SQS and Twilio, with an inbox page and faults on demand."""
    sys.argv = ["waypost simulators", "--host", host, "--port", str(port), "--log", str(log)]
    # By name, for nothing of the product imports the simulators.
    runpy.run_module("waypost.simulators", run_name="__main__")


def serve(factory: str, *, host: str, port: int) -> None:
    """Run an application until SIGTERM; `factory` is `module:function`."""
    module, _, name = factory.partition(":")
    make = getattr(importlib.import_module(module), name)
    calm_collector()
    uvicorn.run(
        make,
        factory=True,
        host=host,
        port=port,
        loop="uvloop",
        http="httptools",
        access_log=False,
        log_level="warning",
        server_header=False,
        timeout_graceful_shutdown=_DRAIN_S,
        backlog=2048,
    )
