"""Posting to other systems: one request, bounded in time and size, signed, and never into our own network."""

import asyncio
import ipaddress
import socket
import ssl
import time
from collections.abc import Sequence
from typing import Self
from uuid import UUID

import httpx

from waypost.messaging.webhooks import Answer, sign

TOTAL_S = 10.0
"""The whole exchange, name look-up included."""

_RETRY_STATUS = frozenset({408, 425, 429})
_WORLD = ipaddress.IPv6Network("2000::/3")


class Poster:
    """Posts with one client. `allow_private`: also to addresses of private networks, for systems next door.

    No connection is kept: the client knows them by address, and a certificate was looked at for one name.
    """

    def __init__(self, *, allow_private: bool = False, ca_file: str | None = None, total_s: float = TOTAL_S) -> None:
        self._allow_private = allow_private
        self._total_s = total_s
        self._client = httpx.AsyncClient(
            verify=ssl.create_default_context(cafile=ca_file),
            trust_env=False,
            follow_redirects=False,
            timeout=total_s,
            limits=httpx.Limits(max_keepalive_connections=0),
        )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Let the connections go."""
        await self._client.aclose()

    async def post(self, url: str, body: bytes, *, identity: UUID, secrets: Sequence[bytes]) -> Answer:
        """Post JSON once. 2xx is taken; 5xx, 408, 425, 429 and no answer may be tried again; the rest is final."""
        try:
            async with asyncio.timeout(self._total_s):
                return await self._post(_read(url), body, identity, secrets)
        except TimeoutError:
            return Answer(taken=False, code="timeout", again=True)
        except httpx.InvalidURL:
            return Answer(taken=False, code="bad_url", again=False)
        except httpx.HTTPError as error:
            return Answer(taken=False, code=_name(error), again=True)

    async def _post(self, url: httpx.URL, body: bytes, identity: UUID, secrets: Sequence[bytes]) -> Answer:
        try:
            address = await self._resolve(url)
        except (OSError, UnicodeError):  # the second of a name that no look-up takes
            return Answer(taken=False, code="name_not_found", again=True)
        if address is None:
            return Answer(taken=False, code="private_address", again=False)
        # To the address that was looked at, for the name may be another's soon. The certificate is the name's.
        request = self._client.build_request(
            "POST",
            url.copy_with(host=address),
            content=body,
            headers={"host": url.netloc.decode("ascii"), **_headers(body, identity, secrets)},
            extensions={"sni_hostname": url.host},
        )
        response = await self._client.send(request, stream=True)
        await response.aclose()  # what it says is of no interest, however much it is
        return _judged(response.status_code)

    async def _resolve(self, url: httpx.URL) -> str | None:
        """The first address, if all are ones that may be posted to."""
        loop = asyncio.get_running_loop()
        found = await loop.getaddrinfo(url.host, url.port or 443, type=socket.SOCK_STREAM)
        addresses = [str(one[4][0]) for one in found]
        if not self._allow_private and not all(_is_public(address) for address in addresses):
            return None
        return addresses[0] if addresses else None


def _read(url: str) -> httpx.URL:
    """Raises httpx.InvalidURL, also where the client would take it and fail."""
    parsed = httpx.URL(url)
    if not parsed.host or not 0 < (parsed.port or 443) < 65_536:
        raise httpx.InvalidURL("no host, or no such port")
    return parsed


def _is_public(address: str) -> bool:
    parsed = ipaddress.ip_address(address.split("%")[0])
    if isinstance(parsed, ipaddress.IPv6Address):
        if parsed.ipv4_mapped is not None:
            return _is_public(str(parsed.ipv4_mapped))
        # Outside of it, and by tunnels, an address of any network of version 4 may be meant.
        if parsed not in _WORLD or parsed.sixtofour is not None or parsed.teredo is not None:
            return False
    return parsed.is_global and not parsed.is_multicast


def _headers(body: bytes, identity: UUID, secrets: Sequence[bytes]) -> dict[str, str]:
    at = str(int(time.time()))
    return {
        "content-type": "application/json",
        "user-agent": "Waypost",
        "webhook-id": str(identity),
        "webhook-timestamp": at,
        "webhook-signature": sign(body, identity=identity, at=at, secrets=secrets),
    }


def _judged(status: int) -> Answer:
    taken = 200 <= status < 300
    return Answer(taken=taken, code=str(status), again=not taken and (status >= 500 or status in _RETRY_STATUS))


def _name(error: httpx.HTTPError) -> str:
    match error:
        case httpx.ConnectError():
            return "not_connected"
        case httpx.TimeoutException():
            return "timeout"
        case _:
            return "broken_off"
