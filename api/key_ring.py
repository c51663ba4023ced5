"""API keys as one process knows them: read from the database, kept a few seconds, compared in constant time."""

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from hmac import compare_digest
from time import monotonic

from waypost.store.database import Database
from waypost.store.key_tokens import KeyToken, read_token
from waypost.store.keys import KnownKey, find_key, touch_keys

TTL_S = 5.0
"""How long a revocation, a new rate or a closed tenant may go unnoticed by another process."""
MAX_KEYS = 20_000
TOUCH_EVERY_S = 60.0


@dataclass(frozen=True, slots=True)
class _Kept:
    key: KnownKey
    read_at: float


class KeyRing:
    """Finds the key of a request. Looking one up costs one statement, once in five seconds a key and process."""

    def __init__(self, database: Database, *, ttl_s: float = TTL_S, clock: Callable[[], float] = monotonic) -> None:
        self._database = database
        self._ttl = ttl_s
        self._clock = clock
        self._kept: OrderedDict[str, _Kept] = OrderedDict()
        self._used: set[str] = set()

    async def find(self, text: str) -> KnownKey | None:
        """The key of this text, if it is one of ours, neither revoked nor expired."""
        token = read_token(text)
        if token is None:
            return None
        kept = await self._get(token)
        if kept is None or not compare_digest(kept.key.secret_hash, token.hash) or self._ended(kept):
            return None
        self._used.add(token.key_id)
        return kept.key

    def forget(self, key_id: str) -> None:
        """Read this key again at its next use; its row was changed by this process."""
        self._kept.pop(key_id, None)

    def forget_all(self) -> None:
        """Read every key again; a tenant was changed by this process."""
        self._kept.clear()

    async def note_use(self) -> None:
        """Write down which keys were used since the last time."""
        used, self._used = self._used, set()
        if used:
            async with self._database.transaction() as connection:
                await touch_keys(connection, used)

    async def _get(self, token: KeyToken) -> _Kept | None:
        kept = self._kept.get(token.key_id)
        if kept is not None and self._clock() - kept.read_at < self._ttl:
            return kept
        read_at = self._clock()
        async with self._database.transaction() as connection:
            key = await find_key(connection, token.key_id)
        if key is None:
            return None
        kept = self._kept[token.key_id] = _Kept(key, read_at)
        if len(self._kept) > MAX_KEYS:
            self._kept.popitem(last=False)
        return kept

    def _ended(self, kept: _Kept) -> bool:
        lived = self._clock() - kept.read_at
        return kept.key.revoked or (kept.key.expires_in_s is not None and kept.key.expires_in_s <= lived)
