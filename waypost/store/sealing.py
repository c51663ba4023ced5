"""Secrets at rest: sealed with a key derived from WAYPOST_SECRET_KEY, opened only at use."""

from base64 import urlsafe_b64encode
from collections.abc import Sequence

from cryptography.fernet import Fernet, InvalidToken, MultiFernet
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from waypost.store.errors import CredentialsError


class Sealer:
    """Seals and opens short secrets (AES-128-CBC with HMAC-SHA256, Fernet's format); earlier keys open as well."""

    def __init__(self, secret_key: str, previous: Sequence[str] = ()) -> None:
        self._fernet = MultiFernet([_fernet(one) for one in (secret_key, *previous)])

    def seal(self, secret: str) -> str:
        """The secret as a token that is safe to store."""
        return self._fernet.encrypt(secret.encode()).decode("ascii")

    def open(self, token: str) -> str:
        """The secret again. Raises `CredentialsError` where it was sealed with another key."""
        try:
            return self._fernet.decrypt(token.encode("ascii", "replace")).decode()
        except InvalidToken:
            raise CredentialsError(
                "The credentials were sealed with another WAYPOST_SECRET_KEY; add the key they were sealed with to "
                "WAYPOST_PREVIOUS_SECRET_KEYS, or give the account its credentials again."
            ) from None


def _fernet(secret_key: str) -> Fernet:
    # The setting is long text of any shape, HKDF makes Fernet's 32 bytes of it.
    derived = HKDF(algorithm=SHA256(), length=32, salt=None, info=b"waypost/credentials/1").derive(secret_key.encode())
    return Fernet(urlsafe_b64encode(derived))
