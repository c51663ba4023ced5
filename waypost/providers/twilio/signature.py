"""X-Twilio-Signature: HMAC-SHA1 over the exact public URL and the sorted parameters.

It has no timestamp, so a copy verifies for ever: de-duplicate on the event's id. Source: Twilio "Webhooks security".
"""

import hmac
from base64 import b64encode
from collections import defaultdict
from collections.abc import Iterable
from hashlib import sha1
from urllib.parse import urlsplit

from waypost.providers.errors import SignatureError


def verify_signature(*, auth_token: str, url: str, params: Iterable[tuple[str, str]], signature: str) -> None:
    """Return if Twilio signed this request. `url` is the public one, as Twilio was given it.

    Twilio signs with or without the port, so both are accepted. Raises `SignatureError`, also for an empty token.
    """
    if not auth_token:
        raise SignatureError("no_auth_token")
    text = _joined(params)
    # Both are always computed and compared in constant time.
    matches = [
        hmac.compare_digest(_signature(auth_token, variant + text), signature.encode("utf-8", "replace"))
        for variant in _with_and_without_port(url)
    ]
    if not any(matches):
        raise SignatureError("bad_signature")


def _signature(auth_token: str, text: str) -> bytes:
    return b64encode(hmac.new(auth_token.encode(), text.encode("utf-8", "replace"), sha1).digest())


def _joined(params: Iterable[tuple[str, str]]) -> str:
    """Names sorted; a name's values without repeats and sorted."""
    values: defaultdict[str, set[str]] = defaultdict(set)
    for name, value in params:
        values[name].add(value)
    return "".join(name + value for name in sorted(values) for value in sorted(values[name]))


def _with_and_without_port(url: str) -> tuple[str, str]:
    parts = urlsplit(url)
    host = parts.netloc.rsplit(":", 1)[0] if parts.port else parts.netloc
    port = parts.port or (443 if parts.scheme == "https" else 80)
    # Cut by position: urlunsplit would normalise what was signed byte for byte.
    start = url.index(parts.netloc)
    end = start + len(parts.netloc)
    return url[:start] + host + url[end:], f"{url[:start]}{host}:{port}{url[end:]}"
