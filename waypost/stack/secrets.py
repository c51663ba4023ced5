"""Secrets of a local stack: made once, kept in `.waypost/secrets.json` with mode 0600."""

from __future__ import annotations

import json
import secrets
from pathlib import Path
from typing import Self

from pydantic import BaseModel, ConfigDict, Field

from waypost.stack.errors import StackError
from waypost.stack.ports import write_atomically


class StackSecrets(BaseModel):
    """What the stack generates; anything set in the environment goes before it."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    postgres_password: str = Field(default_factory=lambda: secrets.token_urlsafe(24))
    app_password: str = Field(default_factory=lambda: secrets.token_urlsafe(24))
    relay_password: str = Field(default_factory=lambda: secrets.token_urlsafe(24))
    segments_password: str = Field(default_factory=lambda: secrets.token_urlsafe(24))
    admin_key: str = Field(default_factory=lambda: f"wpadmin_{secrets.token_urlsafe(32)}")
    secret_key: str = Field(default_factory=lambda: secrets.token_urlsafe(32))
    demo_api_key: str | None = None

    @classmethod
    def load_or_create(cls, data: Path) -> Self:
        """Raises StackError when the file is there but can't be read: new secrets would not open the old data."""
        path = secrets_path(data)
        if not path.exists():
            return cls().save(data)
        try:
            loaded = cls.model_validate(json.loads(path.read_text()))
        except ValueError as error:
            raise StackError(
                f"{path} is damaged. Restore it, or begin afresh by moving the folder {data} away: "
                "the database's passwords are in it."
            ) from error
        return loaded.save(data)

    def save(self, data: Path) -> Self:
        text = json.dumps(self.model_dump(), indent=2) + "\n"
        write_atomically(secrets_path(data), text, mode=0o600)
        return self


def secrets_path(data: Path) -> Path:
    return data / "secrets.json"
