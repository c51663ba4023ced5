"""What the local stack consists of: ports, secrets, the children's environment, and the plan for the supervisor."""

from __future__ import annotations

import signal
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import waypost
from waypost.stack import ports, postgres, temporal
from waypost.stack.errors import MissingBinaryError, StackError
from waypost.stack.postgres import PostgresServer
from waypost.stack.process import HttpCall, HttpReady, LineReady, ProcessSpec, StackPlan, TaskSpec, TcpReady
from waypost.stack.secrets import StackSecrets
from waypost.stack.temporal import TemporalServer

LANES = ("fast", "bulk")
_HOST = "127.0.0.1"
_HOME = Path(waypost.__file__).parent.parent
_STOP_ORDER = (("api",), ("ingest",), ("worker-fast", "worker-bulk"), ("simulators",), ("temporal",), ("postgres",))

# A worker waits for calls in flight: their time-out (10 s) and 5 s more, then some.
_WORKER_GRACE_S = 30.0
_POSTGRES_GRACE_S = 20.0
_INGEST_STANDS_BACK = 10
"""How far feedback goes back behind sending: a tenth of the share. The queue holds events, callbacks are answered."""


@dataclass(frozen=True, kw_only=True)
class StackOptions:
    """What `waypost dev` was asked for; ports by name (api, ingest, simulators, temporal, temporal-ui, postgres)."""

    data: Path
    ports: Mapping[str, int] = field(default_factory=dict)
    workers: bool = True
    unsafe_fast: bool = False


@dataclass(frozen=True, kw_only=True)
class Stack:
    """Everything that is known before the first child starts."""

    options: StackOptions
    ports: Mapping[str, int]
    secrets: StackSecrets
    environment: Mapping[str, str]
    urls: Mapping[str, str]
    plan: StackPlan


def make_data_folder(data: Path) -> Path:
    """The folder, made if need be, as an absolute path. Raises StackError."""
    try:
        data.mkdir(parents=True, exist_ok=True)
        (data / "logs").mkdir(exist_ok=True)
    except OSError as error:
        raise StackError(f"The data folder {data} can't be made ({error.strerror}): give another by --data.") from error
    return data.resolve()


def build(options: StackOptions, environ: Mapping[str, str]) -> Stack:
    """Chooses ports, makes secrets and the database's folder; starts nothing that stays.

    `WAYPOST_DATABASE_URL` or `TEMPORAL_ADDRESS` in `environ` take the place of the embedded servers.
    Raises StackError. The caller holds the folder's lock.
    """
    _check_installation()
    secrets = StackSecrets.load_or_create(options.data)
    embedded = _embedded(environ)
    chosen = _choose_ports(options, embedded)
    server = _prepare_postgres(options, chosen, secrets) if "postgres" in embedded else None
    own = _environment(chosen, secrets, server, environ)
    return Stack(
        options=options,
        ports=chosen,
        secrets=secrets,
        environment=own,
        urls=_urls(chosen, own),
        plan=_plan(options, chosen, {**environ, **own}, server),
    )


def _check_installation() -> None:
    """The programs that a wheel or a clone should have. Raises MissingBinaryError."""
    if not (_HOME / "worker.py").exists():
        raise MissingBinaryError(binary="worker.py", package="waypost")


def _embedded(environ: Mapping[str, str]) -> frozenset[str]:
    given = {"postgres": "WAYPOST_DATABASE_URL", "temporal": "TEMPORAL_ADDRESS"}
    return frozenset(name for name, variable in given.items() if not environ.get(variable))


def _choose_ports(options: StackOptions, embedded: frozenset[str]) -> dict[str, int]:
    names = [
        *(["postgres"] if "postgres" in embedded else []),
        *(["temporal", "temporal-ui"] if "temporal" in embedded else []),
        *("simulators", "api", "ingest"),
        *([f"worker-{lane}" for lane in LANES] if options.workers else []),
    ]
    file = options.data / "ports.json"
    chosen = ports.choose(names=names, given=options.ports, remembered=ports.read(file))
    ports.write(file, chosen)
    return chosen


def _prepare_postgres(options: StackOptions, chosen: Mapping[str, int], secrets: StackSecrets) -> PostgresServer:
    return postgres.prepare(
        folder=options.data / "postgres",
        port=chosen["postgres"],
        password=secrets.postgres_password,
        unsafe_fast=options.unsafe_fast,
    )


def _environment(
    chosen: Mapping[str, int], secrets: StackSecrets, server: PostgresServer | None, environ: Mapping[str, str]
) -> dict[str, str]:
    """Waypost's and Temporal's settings for every child; a secret that the caller has set stays as it is."""
    api, ingest = (f"http://{_HOST}:{chosen[name]}" for name in ("api", "ingest"))
    secret = {
        "WAYPOST_APP_PASSWORD": secrets.app_password,
        "WAYPOST_RELAY_PASSWORD": secrets.relay_password,
        "WAYPOST_SEGMENTS_PASSWORD": secrets.segments_password,
        "WAYPOST_ADMIN_KEY": secrets.admin_key,
        "WAYPOST_SECRET_KEY": secrets.secret_key,
    }
    kept = {name: environ.get(name) or value for name, value in secret.items()}
    public = {"WAYPOST_PUBLIC_URL": api, "WAYPOST_INGEST_PUBLIC_URL": ingest}
    return {
        **kept,
        **{name: environ.get(name) or value for name, value in public.items()},
        "WAYPOST_DATABASE_URL": _database_url(server, environ),
        "WAYPOST_API_HOST": _HOST,
        "WAYPOST_API_PORT": str(chosen["api"]),
        "WAYPOST_INGEST_HOST": _HOST,
        "WAYPOST_INGEST_PORT": str(chosen["ingest"]),
        **_temporal_environment(chosen, environ),
    }


def _database_url(server: PostgresServer | None, environ: Mapping[str, str]) -> str:
    return server.url(database=postgres.DATABASE, user=None) if server else environ["WAYPOST_DATABASE_URL"]


def _temporal_environment(chosen: Mapping[str, int], environ: Mapping[str, str]) -> dict[str, str]:
    if "temporal" not in chosen:
        return {name: environ[name] for name in ("TEMPORAL_ADDRESS", "TEMPORAL_NAMESPACE") if name in environ}
    return {
        "TEMPORAL_ADDRESS": f"{_HOST}:{chosen['temporal']}",
        "TEMPORAL_NAMESPACE": "default",
        "WAYPOST_TEMPORAL_UI_URL": f"http://{_HOST}:{chosen['temporal-ui']}",
    }


def _urls(chosen: Mapping[str, int], own: Mapping[str, str]) -> dict[str, str]:
    base = {name: f"http://{_HOST}:{chosen[name]}" for name in chosen if name not in ("postgres", "temporal")}
    return {
        "api": base["api"],
        "docs": f"{base['api']}/openapi.json",
        "ingest": base["ingest"],
        "inbox": f"{base['simulators']}/",
        "simulators": base["simulators"],
        **({"temporal_ui": own["WAYPOST_TEMPORAL_UI_URL"]} if "WAYPOST_TEMPORAL_UI_URL" in own else {}),
        "temporal": own.get("TEMPORAL_ADDRESS", ""),
        "database": own["WAYPOST_DATABASE_URL"].rsplit("@", 1)[-1].removeprefix("postgresql://"),
        **{f"metrics_{name}": f"{url}/metrics" for name, url in base.items() if name in ("api", "ingest")},
        **{f"metrics_{name}": f"{url}/metrics" for name, url in base.items() if name.startswith("worker-")},
    }


def _plan(
    options: StackOptions, chosen: Mapping[str, int], env: Mapping[str, str], server: PostgresServer | None
) -> StackPlan:
    dev_server = _temporal_server(options, chosen) if "temporal" in chosen else None
    servers = (
        *((_postgres_process(server),) if server else ()),
        *((_temporal_process(dev_server),) if dev_server else ()),
        _simulators(options, chosen, env),
    )
    tasks = (
        _migrate(env, server),
        *((_retention(dev_server),) if dev_server else ()),
    )
    return StackPlan(
        stages=(servers, tasks, _product(options, chosen, env)),
        stop_order=_STOP_ORDER,
        quiesce=HttpCall(port=chosen["simulators"], path="/control/quiesce"),
    )


def _product(options: StackOptions, chosen: Mapping[str, int], env: Mapping[str, str]) -> tuple[ProcessSpec, ...]:
    doors = tuple(
        ProcessSpec(
            name=name,
            argv=_waypost(name),
            env=_unbuffered(env),
            ready=HttpReady(port=chosen[name]),
            niceness=niceness,
        )
        for name, niceness in (("api", 0), ("ingest", _INGEST_STANDS_BACK))
    )
    return doors + (tuple(_worker(lane, chosen, env) for lane in LANES) if options.workers else ())


def _worker(lane: str, chosen: Mapping[str, int], env: Mapping[str, str]) -> ProcessSpec:
    port = chosen[f"worker-{lane}"]
    return ProcessSpec(
        name=f"worker-{lane}",
        argv=(sys.executable, str(_HOME / "worker.py"), "--lanes", lane),
        env={**_unbuffered(env), "WAYPOST_WORKER_METRICS_HOST": _HOST, "WAYPOST_WORKER_METRICS_PORT": str(port)},
        ready=HttpReady(port=port),
        grace_s=_WORKER_GRACE_S,
    )


def _simulators(options: StackOptions, chosen: Mapping[str, int], env: Mapping[str, str]) -> ProcessSpec:
    port = chosen["simulators"]
    log = options.data / "simulators.log"
    return ProcessSpec(
        name="simulators",
        # Unsigned in queues: their policy is what is trusted there, and signing costs more than all else together.
        argv=_module("waypost.simulators", "--host", _HOST, "--port", str(port), "--log", str(log), "--no-sign-sqs"),
        env=_unbuffered(env),
        ready=HttpReady(port=port, path="/control/health"),
    )


def _postgres_process(server: PostgresServer) -> ProcessSpec:
    return ProcessSpec(
        name="postgres",
        argv=server.argv(),
        env=postgres.environment(),
        ready=LineReady(path=server.data / "postmaster.pid", number=8, text="ready"),
        stop_signal=signal.SIGINT,  # fast shutdown: ends sessions, checkpoints
        kill_signal=signal.SIGQUIT,  # immediate shutdown: recovers at the next start
        grace_s=_POSTGRES_GRACE_S,
        user=server.user,
        pid_file=server.data / "postmaster.pid",
    )


def _temporal_server(options: StackOptions, chosen: Mapping[str, int]) -> TemporalServer:
    database = options.data / "temporal.db"
    return TemporalServer(port=chosen["temporal"], ui_port=chosen["temporal-ui"], database=database)


def _temporal_process(server: TemporalServer) -> ProcessSpec:
    ready = TcpReady(port=server.port)
    return ProcessSpec(name="temporal", argv=server.argv(), env=temporal.environment(), ready=ready, grace_s=15)


def _retention(server: TemporalServer) -> TaskSpec:
    return TaskSpec(name="temporal-retention", argv=server.set_retention_argv(), env=temporal.environment())


def _migrate(env: Mapping[str, str], server: PostgresServer | None) -> TaskSpec:
    """The one child that gets the owner's URL."""
    owner = {"WAYPOST_DATABASE_OWNER_URL": server.url(database=postgres.DATABASE)} if server else {}
    return TaskSpec(name="migrate", argv=_waypost("migrate"), env={**env, **owner})


def _waypost(*arguments: str) -> tuple[str, ...]:
    return _module("waypost.cli.main", *arguments)


def _module(*arguments: str) -> tuple[str, ...]:
    # -P: a module of the folder the user happens to be in must not shadow ours.
    return (sys.executable, "-P", "-m", *arguments)


def _unbuffered(env: Mapping[str, str]) -> dict[str, str]:
    """For running processes: what they log is seen at once, and the owner's URL is not theirs to know."""
    return {k: v for k, v in env.items() if k != "WAYPOST_DATABASE_OWNER_URL"} | {"PYTHONUNBUFFERED": "1"}
