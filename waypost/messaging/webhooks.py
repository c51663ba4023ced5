"""Webhooks that tell other systems: what came of a post, and how one is signed.

Signed as Standard Webhooks say (https://www.standardwebhooks.com): `webhook-id`, `webhook-timestamp`, and
`webhook-signature: v1,<base64 of HMAC-SHA256 over "id.timestamp.body">`.
"""

import base64
import hashlib
import hmac
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

    async def post(self, url: str, body: bytes, *, identity: UUID, secret: bytes) -> Answer:
        """Post JSON once, signed with `secret`; `identity` is the same for each try of the same post."""
        ...


def sign(body: bytes, *, identity: UUID, at: str, secret: bytes) -> str:
    """The signature's header of a body that is posted at a Unix time (seconds)."""
    mac = hmac.new(secret, f"{identity}.{at}.".encode() + body, hashlib.sha256)
    return f"v1,{base64.b64encode(mac.digest()).decode()}"


def signing_secret(secret_key: str, tenant: UUID) -> bytes:
    """A tenant's own key to sign with, made of ours; told to the tenant as `whsec_` and base64."""
    return hmac.new(secret_key.encode(), f"waypost/webhooks/{tenant}".encode(), hashlib.sha256).digest()
