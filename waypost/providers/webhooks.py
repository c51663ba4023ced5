"""Posting to other systems: one request, bounded in time and size, signed, and never into our own network."""

import asyncio
import ipaddress
import socket
import ssl
import time
from typing import Self
from uuid import UUID

import httpx

from waypost.messaging.webhooks import Answer, sign

TOTAL_S = 10.0
"""The whole exchange, name look-up included."""

_RETRY_STATUS = frozenset({408, 425, 429})


class Poster:
    """Posts with one client. `allow_private`: also to addresses of private networks, for systems next door."""

    def __init__(self, *, allow_private: bool = False, ca_file: str | None = None) -> None:
        self._allow_private = allow_private
        context = ssl.create_default_context(cafile=ca_file)
        self._client = httpx.AsyncClient(verify=context, trust_env=False, follow_redirects=False, timeout=TOTAL_S)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Let the connections go."""
        await self._client.aclose()

    async def post(self, url: str, body: bytes, *, identity: UUID, secret: bytes) -> Answer:
        """Post JSON once. 2xx is taken; 4xx but 408, 425 and 429 is final, everything else may be tried again."""
        try:
            async with asyncio.timeout(TOTAL_S):
                return await self._post(httpx.URL(url), body, identity, secret)
        except TimeoutError:
            return Answer(taken=False, code="timeout", again=True)
        except httpx.HTTPError as error:
            return Answer(taken=False, code=_name(error), again=True)

    async def _post(self, url: httpx.URL, body: bytes, identity: UUID, secret: bytes) -> Answer:
        try:
            address = await self._resolve(url)
        except OSError:
            return Answer(taken=False, code="name_not_found", again=True)
        if address is None:
            return Answer(taken=False, code="private_address", again=False)
        # To the address that was looked at, for the name may be another's soon. The certificate is the name's.
        request = self._client.build_request(
            "POST",
            url.copy_with(host=address),
            content=body,
            headers={"host": url.netloc.decode("ascii"), **_headers(body, identity, secret)},
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


def _is_public(address: str) -> bool:
    parsed = ipaddress.ip_address(address.split("%")[0])
    mapped = getattr(parsed, "ipv4_mapped", None)
    return (mapped or parsed).is_global and not (mapped or parsed).is_multicast


def _headers(body: bytes, identity: UUID, secret: bytes) -> dict[str, str]:
    at = str(int(time.time()))
    return {
        "content-type": "application/json",
        "user-agent": "Waypost",
        "webhook-id": str(identity),
        "webhook-timestamp": at,
        "webhook-signature": sign(body, identity=identity, at=at, secret=secret),
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
