"""Everything that can be set, from the environment only. `waypost config` prints it; secrets have no default."""

from functools import cached_property
from pathlib import Path
from typing import Self

from pydantic import Field, SecretStr, field_validator, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict


class _Group(BaseSettings):
    model_config = SettingsConfigDict(env_prefix="WAYPOST_", frozen=True, extra="ignore")


class DatabaseSettings(_Group):
    """PostgreSQL. A running process logs in as its role; migrations as the owner."""

    database_url: SecretStr = Field(description="postgresql://host:port/name; the user in it is replaced by the role")
    database_owner_url: SecretStr | None = Field(
        default=None, description="The owner's URL, for `waypost migrate` only"
    )
    app_password: SecretStr = Field(description="Password of the role waypost_app")
    relay_password: SecretStr = Field(description="Password of the role waypost_relay")
    segments_password: SecretStr = Field(description="Password of the role waypost_segments")
    database_pool_size: int = Field(default=10, ge=1, le=100, description="Connections a process and role, at most")
    database_timeout_s: float = Field(default=0.6, gt=0, le=10, description="Longest wait for a connection, in seconds")

    @cached_property
    def owner_url(self) -> str:
        """The URL that migrations use."""
        return (self.database_owner_url or self.database_url).get_secret_value()


class AdminSettings(_Group):
    """The key of the admin API: the API alone reads it."""

    admin_key: SecretStr = Field(min_length=24, description="The key of the admin API, at least 24 characters")


class SecretSettings(_Group):
    """The key that opens provider credentials: whoever calls providers or hears from them reads it."""

    secret_key: SecretStr = Field(
        min_length=32, description="Seals provider credentials and signs links, at least 32 characters"
    )
    previous_secret_keys: SecretStr = Field(
        default=SecretStr(""), description="Earlier WAYPOST_SECRET_KEYs, with commas between: still open and verify"
    )

    @cached_property
    def previous(self) -> tuple[str, ...]:
        """The earlier keys, newest first."""
        given = self.previous_secret_keys.get_secret_value().split(",")
        return tuple(key.strip() for key in given if key.strip())


class PublicSettings(_Group):
    """Where the world reaches the API: part of ApiSettings; who writes links reads it alone."""

    public_url: str = Field(default="http://127.0.0.1:8000", description="Where callers and readers reach the API")


class ApiSettings(PublicSettings):
    """The door."""

    api_host: str = Field(default="127.0.0.1", description="Address the API listens on")
    api_port: int = Field(default=8000, ge=0, le=65535, description="Port the API listens on")
    segment_max_cost: float = Field(
        default=5_000_000, gt=0, description="What counting a rule may cost in a preview, in PostgreSQL's units"
    )
    max_body_bytes: int = Field(default=12 * 1024 * 1024, ge=1024, description="Largest request body, in bytes")
    max_import_bytes: int = Field(
        default=2 * 1024**3, ge=1024, description="Largest file of contacts to import, in bytes"
    )


class IngestSettings(_Group):
    """The door for provider events."""

    ingest_host: str = Field(default="127.0.0.1", description="Address ingest listens on")
    ingest_port: int = Field(default=8001, ge=0, le=65535, description="Port ingest listens on")
    ingest_public_url: str = Field(default="http://127.0.0.1:8001", description="Where providers reach ingest")
    ingest_visibility_s: int = Field(
        default=30, ge=5, le=43_200, description="What a killed process had read of a queue comes again after it, in s"
    )
    ingest_batch: int = Field(default=500, ge=1, le=10000, description="Events stored and applied together, at most")


class TemporalSettings(BaseSettings):
    """Where Temporal is, by Temporal's own standard variables."""

    model_config = SettingsConfigDict(env_prefix="TEMPORAL_", frozen=True, extra="ignore")

    address: str = Field(default="127.0.0.1:7233", description="Temporal's frontend, host:port")
    namespace: str = Field(default="default", description="Temporal namespace")
    api_key: SecretStr | None = Field(default=None, description="API key, where the frontend asks for one")
    tls: bool | None = Field(
        default=None, description="Connect by TLS; not set: where an API key or one of the files below is given"
    )
    tls_client_cert_path: Path | None = Field(default=None, description="Client certificate (PEM), for mTLS")
    tls_client_key_path: Path | None = Field(default=None, description="Its private key (PEM)")
    tls_server_ca_cert_path: Path | None = Field(
        default=None, description="Certificates (PEM) that sign the frontend's, instead of the usual ones"
    )
    tls_server_name: str | None = Field(default=None, description="Name in the frontend's certificate, if another")
    ui_url: str = Field(
        default="http://127.0.0.1:8233",
        validation_alias="WAYPOST_TEMPORAL_UI_URL",
        description="Base URL of the Temporal Web UI, for links",
    )

    @model_validator(mode="after")
    def _certificate_has_its_key(self) -> Self:
        if (self.tls_client_cert_path is None) != (self.tls_client_key_path is None):
            raise ValueError("TEMPORAL_TLS_CLIENT_CERT_PATH and TEMPORAL_TLS_CLIENT_KEY_PATH go together")
        return self


class WorkerSettings(_Group):
    """A worker process of one lane."""

    worker_metrics_host: str = Field(default="127.0.0.1", description="Address of /readyz and /metrics of a worker")
    worker_metrics_port: int = Field(default=0, ge=0, le=65535, description="Port of /readyz and /metrics; 0: any free")
    worker_concurrency: int = Field(default=40, ge=1, le=1000, description="Provider calls at once, account and lane")
    call_timeout_s: float = Field(
        default=10, gt=1, le=60, description="Total deadline of one provider call, in seconds"
    )
    record_grace_s: float = Field(
        default=10,
        ge=2,
        description="A call may be under way this much longer than its deadline (fence, commits), in seconds",
    )
    orphan_after_s: float = Field(
        default=30, ge=5, description="Dispatched this long, Temporal is asked whether its execution lives, in seconds"
    )
    unknown_margin_s: float = Field(default=120, gt=0, description="Margin before absence is proof, in seconds")
    horizon_s: float = Field(default=86400, gt=0, description="An unknown attempt counts as sent after it, in seconds")
    webhook_allow_private: bool = Field(
        default=False, description="Let webhooks of journeys post to addresses of private networks too"
    )
    webhook_ca_file: str | None = Field(
        default=None, description="Certificates (PEM) that webhooks of journeys trust instead of the system's"
    )
    event_retention_days: int = Field(
        default=90, ge=0, description="Provider events, inbound texts and verdicts are kept so many days; 0: for ever"
    )
    message_retention_days: int = Field(
        default=365, ge=0, description="Messages are kept so many days after their outcome; 0: for ever"
    )

    @field_validator("event_retention_days", "message_retention_days")
    @classmethod
    def _longer_than_a_queue(cls, days: int) -> int:
        """SQS keeps an event for up to 14 days: what comes again must still be known."""
        if 0 < days < 15:
            raise ValueError("must be 0 (for ever) or at least 15 days")
        return days


GROUPS: tuple[type[BaseSettings], ...] = (
    DatabaseSettings,
    AdminSettings,
    SecretSettings,
    ApiSettings,
    IngestSettings,
    TemporalSettings,
    WorkerSettings,
)
