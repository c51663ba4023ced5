"""What an API key looks like: `wp_<mode>_<key id>_<secret>_<checksum>`.

The checksum tells a mistyped key from a wrong one without asking the database, and lets secret scanners be sure.
The secret is 256 random bits, so that a plain SHA-256 is enough to keep it.
"""

import hashlib
import re
import secrets
from dataclasses import dataclass, field
from zlib import crc32

from waypost.messaging.values import Mode

_BASE62 = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
_BASE32 = "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567"
_KEY_ID_LENGTH = 12
_SECRET_LENGTH = 43  # 256 bits in base 62
_TOKEN = re.compile(r"wp_(live|test)_([A-Z2-7]{12})_([0-9A-Za-z]{43})_([0-9A-Za-z]{6})", re.ASCII)


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyToken:
    """A key as its owner has it. `text` is shown once and never stored."""

    mode: Mode
    key_id: str
    text: str = field(repr=False)

    @property
    def hash(self) -> bytes:
        """What is stored and compared."""
        return hashlib.sha256(self.text.encode("ascii")).digest()


def make_token(mode: Mode) -> KeyToken:
    """A new key."""
    key_id = "".join(secrets.choice(_BASE32) for _ in range(_KEY_ID_LENGTH))
    secret = _base62(int.from_bytes(secrets.token_bytes(32)), _SECRET_LENGTH)
    body = f"wp_{mode}_{key_id}_{secret}"
    return KeyToken(mode=mode, key_id=key_id, text=f"{body}_{_checksum(body)}")


def read_token(text: str) -> KeyToken | None:
    """The key's parts, or None where it has not the shape or the checksum of one."""
    found = _TOKEN.fullmatch(text)
    if found is None or _checksum(text[:-7]) != found[4]:
        return None
    return KeyToken(mode=Mode(found[1]), key_id=found[2], text=text)


def _checksum(body: str) -> str:
    return _base62(crc32(body.encode("ascii")), 6)


def _base62(number: int, length: int) -> str:
    digits = []
    for _ in range(length):
        number, digit = divmod(number, 62)
        digits.append(_BASE62[digit])
    return "".join(reversed(digits))
