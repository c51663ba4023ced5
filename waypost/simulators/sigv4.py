"""AWS Signature Version 4: reading who signed a request, and checking it for accounts that have a secret.

Source: AWS, "Create a signed AWS API request".
"""

import hashlib
import hmac
import re
from dataclasses import dataclass
from functools import lru_cache
from urllib.parse import quote, unquote

from waypost.simulators.errors import AwsError
from waypost.simulators.wire import Request

AUTHORIZATION = re.compile(
    r"AWS4-HMAC-SHA256 Credential=(?P<key>[^/]+)/(?P<date>\d{8})/(?P<region>[^/]+)/(?P<service>[^/]+)/aws4_request,"
    r"\s*SignedHeaders=(?P<headers>[^,]+),\s*Signature=(?P<signature>[0-9a-f]{64})"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Credential:
    """What an Authorization header says."""

    key: str
    date: str
    region: str
    service: str
    signed_headers: str
    signature: str


def read_credential(request: Request) -> Credential:
    """Who says to have signed the request. Raises `AwsError` 403."""
    found = AUTHORIZATION.match(request.header(b"authorization"))
    if found is None:
        raise AwsError("MissingAuthenticationTokenException", "Missing Authentication Token", status=403)
    return Credential(
        key=found["key"],
        date=found["date"],
        region=found["region"],
        service=found["service"],
        signed_headers=found["headers"],
        signature=found["signature"],
    )


def check_signature(request: Request, credential: Credential, secret: str) -> None:
    """Raise `AwsError` 403 where the signature is not that of `secret`."""
    scope = f"{credential.date}/{credential.region}/{credential.service}/aws4_request"
    digest = hashlib.sha256(_canonical_request(request, credential.signed_headers)).hexdigest()
    to_sign = f"AWS4-HMAC-SHA256\n{request.header(b'x-amz-date')}\n{scope}\n{digest}"
    key = _signing_key(secret, credential.date, credential.region, credential.service)
    expected = hmac.new(key, to_sign.encode(), hashlib.sha256).hexdigest()
    if not hmac.compare_digest(expected, credential.signature):
        raise AwsError(
            "InvalidSignatureException",
            "The request signature we calculated does not match the signature you provided. Check your AWS Secret "
            "Access Key and signing method. Consult the service documentation for details.",
            status=403,
        )


def _canonical_request(request: Request, signed_headers: str) -> bytes:
    headers = "".join(
        f"{name}:{' '.join(request.header(name.encode()).split())}\n" for name in signed_headers.split(";")
    )
    query = "&".join(sorted(part if "=" in part else part + "=" for part in request.query_string.split("&") if part))
    path = quote(unquote(request.path), safe="/-_.~")
    body = hashlib.sha256(request.body).hexdigest()
    return f"{request.method}\n{path}\n{query}\n{headers}\n{signed_headers}\n{body}".encode()


@lru_cache(maxsize=256)
def _signing_key(secret: str, date: str, region: str, service: str) -> bytes:
    key = ("AWS4" + secret).encode()
    for part in (date, region, service, "aws4_request"):
        key = hmac.new(key, part.encode(), hashlib.sha256).digest()
    return key
