"""What a message carries besides its columns: stored as `messages.payload`, read by the send path."""

from base64 import b64decode
from typing import Any

from pydantic import BaseModel, ConfigDict, Field


class StoredAttachment(BaseModel):
    """An attachment as it was accepted: `content` is base64."""

    model_config = ConfigDict(frozen=True)

    filename: str
    media_type: str
    content: str

    @property
    def data(self) -> bytes:
        """The file itself."""
        return b64decode(self.content)


class MessagePayload(BaseModel):
    """Inline content (the JSON of content.py's model, absent for a template), template data, and e-mail extras."""

    model_config = ConfigDict(frozen=True)

    content: dict[str, Any] | None = None
    data: dict[str, Any] = Field(default_factory=dict)
    locale: str | None = None
    reply_to: tuple[str, ...] = ()
    headers: tuple[tuple[str, str], ...] = ()
    attachments: tuple[StoredAttachment, ...] = ()
