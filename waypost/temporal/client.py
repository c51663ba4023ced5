"""The one way to make a Temporal client: same converters, same compression, everywhere."""

import dataclasses
from datetime import timedelta
from functools import cache
from pathlib import Path
from typing import Literal

from temporalio.client import Client
from temporalio.converter import DataConverter
from temporalio.runtime import Runtime, TelemetryConfig
from temporalio.service import GrpcCompression, KeepAliveConfig, TLSConfig

from waypost.settings import TemporalSettings
from waypost.temporal.failures import ReferencesOnlyFailureConverter

DATA_CONVERTER = dataclasses.replace(DataConverter.default, failure_converter_class=ReferencesOnlyFailureConverter)


def tls_of(settings: TemporalSettings) -> TLSConfig | Literal[False]:
    """How to connect: by TLS where that is asked for, or where a key or certificate would else go over in clear."""
    asked = settings.api_key or settings.tls_client_cert_path or settings.tls_server_ca_cert_path
    if settings.tls is False or (settings.tls is None and not asked and not settings.tls_server_name):
        return False
    return TLSConfig(
        server_root_ca_cert=_read(settings.tls_server_ca_cert_path),
        domain=settings.tls_server_name,
        client_cert=_read(settings.tls_client_cert_path),
        client_private_key=_read(settings.tls_client_key_path),
    )


def _read(path: Path | None) -> bytes | None:
    return path.read_bytes() if path else None


@cache
def _runtime() -> Runtime:
    """Without the SDK's worker heartbeats: a thread a Worker, and `worker_processes` has the processes that beat."""
    return Runtime(telemetry=TelemetryConfig(), worker_heartbeat_interval=None)


async def connect(settings: TemporalSettings, *, lazy: bool = False, runtime: Runtime | None = None) -> Client:
    """Connect to Temporal's frontend; `lazy` connects at the first call (Workers need a client that has connected)."""
    return await Client.connect(
        settings.address,
        namespace=settings.namespace,
        api_key=settings.api_key.get_secret_value() if settings.api_key else None,
        tls=tls_of(settings),
        data_converter=DATA_CONVERTER,
        lazy=lazy,
        runtime=runtime or _runtime(),
        connect_timeout=timedelta(seconds=2),
        keep_alive_config=KeepAliveConfig(interval_millis=10_000, timeout_millis=5_000),
        grpc_compression=GrpcCompression.NONE,
    )
