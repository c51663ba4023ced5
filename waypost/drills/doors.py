"""The API and ingest, so that they can be killed at set points: `python -m waypost.drills.doors api`.

The product's own applications with a database that kills, told by the folder in WAYPOST_DRILL_FAULTS.
"""

import sys
from dataclasses import replace
from functools import partial

from fastapi import FastAPI
from starlette.applications import Starlette

from api import app as api_app
from api import ingest as ingest_app
from api.message_intake import MessageIntake
from api.services import RoleGate, Services
from waypost.cli.serve import serve
from waypost.drills.fault_points import FaultPoints
from waypost.drills.killing import KillingDatabase
from waypost.settings import ApiSettings, DatabaseSettings, IngestSettings
from waypost.store.database import Role


def create_api() -> FastAPI:
    """The API, whose messages are taken in through a database that kills."""
    app = api_app.create_app()
    services: Services = app.state.services
    database = KillingDatabase(DatabaseSettings(), Role.APP)
    app.state.services = replace(
        services, app_db=database, roles=RoleGate(database, services.relay_db), intake=MessageIntake(database)
    )
    return app


def create_ingest() -> Starlette:
    """Ingest, whose events are stored and applied through a database that kills."""
    points = FaultPoints.of_this_process()
    return ingest_app.create_app(open_database=partial(KillingDatabase, points=points))


def main() -> None:
    """As `waypost api` and `waypost ingest`."""
    if sys.argv[1] == "api":
        settings = ApiSettings()
        serve("waypost.drills.doors:create_api", host=settings.api_host, port=settings.api_port)
    else:
        feedback = IngestSettings()
        serve("waypost.drills.doors:create_ingest", host=feedback.ingest_host, port=feedback.ingest_port)


if __name__ == "__main__":
    main()
