"""Own headers of an email: which a caller may set, and how they must look.

Bounds are SES's (MessageHeader: name of 126, value of 870 printable ASCII characters, 15 a message).
"""

import re
from collections.abc import Mapping

from waypost.messaging.content_errors import HeaderError

MAX_OWN_HEADERS = 13
"""SES takes 15 a message; List-Unsubscribe and List-Unsubscribe-Post are ours."""
MAX_HEADER_NAME = 126
MAX_HEADER_VALUE = 870

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]*", re.ASCII)
_VALUE = re.compile(r"[ -~]*")
_RESERVED = (
    "from to cc bcc sender reply-to subject date message-id mime-version dkim-signature return-path received"
    " list-unsubscribe list-unsubscribe-post authentication-results"
)
_RESERVED_PREFIXES = ("content-", "resent-", "arc-", "x-ses-", "x-amz-", "x-waypost-")


def validate_headers(headers: Mapping[str, str]) -> tuple[tuple[str, str], ...]:
    """The headers to send, in order. Raises `HeaderError`, whose `field` names the header."""
    if len(headers) > MAX_OWN_HEADERS:
        raise HeaderError(
            f"A message may have at most {MAX_OWN_HEADERS} own headers.", field="headers", bound=MAX_OWN_HEADERS
        )
    if len({name.lower() for name in headers}) < len(headers):
        raise HeaderError("A header may be set only once, whatever its case.", field="headers")
    return tuple((_name(name), _value(name, value)) for name, value in headers.items())


def _name(name: str) -> str:
    if len(name) > MAX_HEADER_NAME or not _NAME.fullmatch(name):
        raise HeaderError(
            "A header's name is letters, digits, hyphens and underscores, at most 126.",
            field="headers",
            bound=MAX_HEADER_NAME,
        )
    lowered = name.lower()
    if lowered in _RESERVED.split() or lowered.startswith(_RESERVED_PREFIXES):
        raise HeaderError(
            f"The header {name} is set by Waypost or the provider.",
            field=f"headers.{name}",
            hint="Use the message's own fields (reply_to, subject, sender), or an X- header.",
        )
    return name


def _value(name: str, value: str) -> str:
    if len(value) > MAX_HEADER_VALUE:
        raise HeaderError(
            f"A header's value has at most {MAX_HEADER_VALUE} characters.",
            field=f"headers.{name}",
            bound=MAX_HEADER_VALUE,
        )
    if not _VALUE.fullmatch(value):
        raise HeaderError(
            "A header's value is printable ASCII on one line.",
            field=f"headers.{name}",
            hint="Remove line breaks and control characters; encode other characters as RFC 2047 says.",
        )
    return value
