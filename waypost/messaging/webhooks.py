"""Webhooks that tell other systems: what came of a post, and how one is signed.

Signed as Standard Webhooks say (https://www.standardwebhooks.com): `webhook-id`, `webhook-timestamp`, and
`webhook-signature: v1,<base64 of HMAC-SHA256 over "id.timestamp.body">`, one for each secret with spaces between.
"""

import base64
import hashlib
import hmac
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol
from uuid import UUID


@dataclass(frozen=True, slots=True)
class Answer:
    """What came of a request. `code` is a status or why there is none, `again` whether another try may help."""

    taken: bool
    code: str
    again: bool


class Poster(Protocol):
    """Posts to other systems."""

    async def post(self, url: str, body: bytes, *, identity: UUID, secrets: Sequence[bytes]) -> Answer:
        """Post JSON once, signed with each of `secrets`; `identity` is the same for each try of the same post."""
        ...


def sign(body: bytes, *, identity: UUID, at: str, secrets: Sequence[bytes]) -> str:
    """The signatures' header of a body that is posted at a Unix time (seconds): who checks it, knows one of them."""
    said = f"{identity}.{at}.".encode() + body
    macs = (hmac.digest(secret, said, hashlib.sha256) for secret in secrets)
    return " ".join(f"v1,{base64.b64encode(mac).decode()}" for mac in macs)


def signing_secret(secret_key: str, tenant: UUID) -> bytes:
    """A tenant's own key to sign with, made of ours."""
    return hmac.digest(secret_key.encode(), f"waypost/webhooks/{tenant}".encode(), hashlib.sha256)


def written_secret(secret: bytes) -> str:
    """As libraries for Standard Webhooks take it."""
    return f"whsec_{base64.b64encode(secret).decode()}"
