"""How the client connects, by what is set."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError
from temporalio.service import TLSConfig

from waypost.settings import TemporalSettings
from waypost.temporal.client import tls_of


@pytest.mark.parametrize(
    ("environment", "by_tls"),
    [
        ({}, False),
        ({"TEMPORAL_TLS": "true"}, True),
        ({"TEMPORAL_API_KEY": "secret"}, True),
        ({"TEMPORAL_API_KEY": "secret", "TEMPORAL_TLS": "false"}, False),
        ({"TEMPORAL_TLS_SERVER_NAME": "temporal.example"}, True),
    ],
)
def test_an_api_key_goes_over_tls_unless_that_is_switched_off(
    environment: dict[str, str], *, by_tls: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert isinstance(tls_of(TemporalSettings()), TLSConfig) is by_tls


def test_temporals_standard_variables_name_certificates(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("CLIENT_CERT", "CLIENT_KEY", "SERVER_CA_CERT"):
        (tmp_path / name).write_text(name)
        monkeypatch.setenv(f"TEMPORAL_TLS_{name}_PATH", str(tmp_path / name))
    monkeypatch.setenv("TEMPORAL_TLS_SERVER_NAME", "temporal.example")
    assert tls_of(TemporalSettings()) == TLSConfig(
        server_root_ca_cert=b"SERVER_CA_CERT",
        domain="temporal.example",
        client_cert=b"CLIENT_CERT",
        client_private_key=b"CLIENT_KEY",
    )


@pytest.mark.parametrize("given", ["tls_client_cert_path", "tls_client_key_path"])
def test_a_certificate_without_its_key_is_refused(tmp_path: Path, given: str) -> None:
    (tmp_path / "pem").write_text("")
    settings: dict[str, Any] = {given: tmp_path / "pem"}
    with pytest.raises(ValidationError, match="go together"):
        TemporalSettings.model_validate(settings)
