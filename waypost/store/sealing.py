"""Secrets at rest: sealed with a key derived from WAYPOST_SECRET_KEY, opened only at use."""

from base64 import urlsafe_b64encode

from cryptography.fernet import Fernet, InvalidToken
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from waypost.store.errors import CredentialsError


class Sealer:
    """Seals and opens short secrets (AES-128-CBC with HMAC-SHA256, Fernet's format)."""

    def __init__(self, secret_key: str) -> None:
        # The setting is long text of any shape, HKDF makes Fernet's 32 bytes of it.
        derived = HKDF(algorithm=SHA256(), length=32, salt=None, info=b"waypost/credentials/1").derive(
            secret_key.encode()
        )
        self._fernet = Fernet(urlsafe_b64encode(derived))

    def seal(self, secret: str) -> str:
        """The secret as a token that is safe to store."""
        return self._fernet.encrypt(secret.encode()).decode("ascii")

    def open(self, token: str) -> str:
        """The secret again. Raises `CredentialsError` where it was sealed with another key."""
        try:
            return self._fernet.decrypt(token.encode("ascii", "replace")).decode()
        except InvalidToken:
            raise CredentialsError(
                "The credentials were sealed with another WAYPOST_SECRET_KEY; "
                "set the key they were sealed with, or give the account its credentials again."
            ) from None
