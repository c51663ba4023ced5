"""What the routes share: made once by the composition root, handed to a route by `Depends`."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import Annotated, cast

from fastapi import Depends, Request

from api.campaign_domains import DomainCounters
from api.campaign_streams import Streams
from api.import_intake import ImportDesk
from api.key_ring import KeyRing
from api.message_intake import MessageIntake
from api.metrics import ApiMetrics
from api.rates import RequestRates
from waypost.messaging.link_tokens import LinkSigner
from waypost.settings import AdminSettings, ApiSettings, DatabaseSettings, SecretSettings, TemporalSettings
from waypost.store.database import Database, Role
from waypost.store.notifications import Teller, notify
from waypost.store.sealing import Sealer


@dataclass(frozen=True, kw_only=True)
class AppSettings:
    """The groups of settings that the API reads."""

    database: DatabaseSettings
    admin: AdminSettings
    secrets: SecretSettings
    api: ApiSettings
    temporal: TemporalSettings

    @classmethod
    def from_environment(cls) -> "AppSettings":
        """Read them all. Raises pydantic's ValidationError, which names what is missing."""
        return cls(
            database=DatabaseSettings(),
            admin=AdminSettings(),
            secrets=SecretSettings(),
            api=ApiSettings(),
            temporal=TemporalSettings(),
        )


class RoleGate:
    """Lets nothing through to the database until all roles are known to be bound by row security."""

    def __init__(self, *databases: Database) -> None:
        self._databases = databases
        self._safe = False

    async def check(self) -> None:
        """Raises `UnsafeRoleError`, or what psycopg raises while PostgreSQL is away; costs nothing once it passed."""
        if not self._safe:
            for database in self._databases:
                await database.check_role()
            self._safe = True


@dataclass(frozen=True, kw_only=True)
class Services:
    """Connections and in-process state of one API process."""

    settings: AppSettings
    app_db: Database
    """Role waypost_app: a tenant's own rows, `session(tenant)`."""
    relay_db: Database
    """Role waypost_relay: administration and key look-up."""
    segments_db: Database
    """Role waypost_segments: previews of rules, whose SQL names the tenant in every scan."""
    roles: RoleGate
    keys: KeyRing
    rates: RequestRates
    visits: RequestRates
    """Of the pages that need no key: by tenant and by person, apart from the API's own rates."""
    sealer: Sealer
    links: LinkSigner
    intake: MessageIntake
    imports: ImportDesk
    domains: DomainCounters
    streams: Streams
    teller: Teller
    """Tells other processes of journeys' rows, once they are committed."""
    workshop: ThreadPoolExecutor
    """Where templates are compiled and previewed."""
    metrics: ApiMetrics

    @classmethod
    def of(cls, settings: AppSettings, metrics: ApiMetrics) -> "Services":
        """Nothing is connected yet; `open()` is."""
        app_db = Database(settings.database, Role.APP)
        relay_db = Database(settings.database, Role.RELAY, size=4)
        segments_db = Database(settings.database, Role.SEGMENTS, size=2)
        secret, previous = settings.secrets.secret_key.get_secret_value(), settings.secrets.previous
        return cls(
            settings=settings,
            app_db=app_db,
            relay_db=relay_db,
            segments_db=segments_db,
            roles=RoleGate(app_db, relay_db, segments_db),
            keys=KeyRing(relay_db),
            rates=RequestRates(),
            visits=RequestRates(),
            sealer=Sealer(secret, previous),
            links=LinkSigner(secret, previous),
            intake=MessageIntake(app_db),
            imports=ImportDesk(app_db, metrics),
            domains=DomainCounters(app_db),
            streams=Streams(),
            teller=Teller(partial(notify, app_db)),
            workshop=ThreadPoolExecutor(max_workers=1, thread_name_prefix="workshop"),
            metrics=metrics,
        )

    async def open(self) -> None:
        """Start connecting; returns at once, also while PostgreSQL is away."""
        await self.app_db.open()
        await self.relay_db.open()
        await self.segments_db.open()

    async def close(self) -> None:
        """Give everything back."""
        await self.intake.close()
        await self.teller.close()
        self.imports.close()
        await self.app_db.close()
        await self.relay_db.close()
        await self.segments_db.close()
        self.workshop.shutdown(cancel_futures=True)


async def services(request: Request) -> Services:
    """The services of the app that this request came to."""
    return cast(Services, request.app.state.services)


WithServices = Annotated[Services, Depends(services)]
