"""The one way to make a Temporal client: same converters, same compression, everywhere."""

import dataclasses
from datetime import timedelta

from temporalio.client import Client
from temporalio.converter import DataConverter
from temporalio.runtime import Runtime
from temporalio.service import GrpcCompression, KeepAliveConfig

from waypost.settings import TemporalSettings
from waypost.temporal.failures import ReferencesOnlyFailureConverter

DATA_CONVERTER = dataclasses.replace(DataConverter.default, failure_converter_class=ReferencesOnlyFailureConverter)


async def connect(settings: TemporalSettings, *, lazy: bool = False, runtime: Runtime | None = None) -> Client:
    """Connect to Temporal's frontend; `lazy` connects at the first call (Workers need a client that has connected)."""
    return await Client.connect(
        settings.address,
        namespace=settings.namespace,
        api_key=settings.api_key.get_secret_value() if settings.api_key else None,
        tls=settings.tls,
        data_converter=DATA_CONVERTER,
        lazy=lazy,
        runtime=runtime,
        connect_timeout=timedelta(seconds=2),
        keep_alive_config=KeepAliveConfig(interval_millis=10_000, timeout_millis=5_000),
        grpc_compression=GrpcCompression.NONE,
    )
