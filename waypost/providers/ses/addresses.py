"""Names and addresses as mail headers want them: ASCII, one line."""

from email.header import Header
from email.utils import formataddr

import idna


def mailbox(address: str, name: str | None = None) -> str:
    """`name <address>` for SES: the name quoted, or as RFC 2047 words; the domain as punycode.

    Raises `ValueError` where the address cannot be written in ASCII (SES has no SMTPUTF8).
    """
    plain = ascii_address(address)
    if not name:
        return plain
    if name.isascii():
        return formataddr((name, plain))
    return f"{encoded_words(name)} <{plain}>"


def ascii_address(address: str) -> str:
    """The address with its domain in punycode. Raises `ValueError` for what cannot be ASCII."""
    if address.isascii():
        return address
    local, _, domain = address.rpartition("@")
    if not local.isascii():
        raise ValueError("the local part is not ASCII")
    return f"{local}@{idna.encode(domain).decode()}"


def encoded_words(value: str) -> str:
    """RFC 2047 words of at most 75 characters, on one line; ASCII stays as it is."""
    if value.isascii():
        return value
    return Header(value, "utf-8", maxlinelen=75).encode(linesep="")
