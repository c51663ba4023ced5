"""Reading an SES v2 request into one email: simple, raw and template content, for one or many."""

import base64
import binascii
import email.policy
import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from email.message import EmailMessage
from email.parser import BytesParser
from functools import lru_cache
from typing import Any

import orjson

from waypost.simulators.errors import AwsError

MAX_MESSAGE_BYTES = 40 * 1024 * 1024
MAX_RECIPIENTS = 50
MAX_TEMPLATE_BYTES = 1024 * 1024
MAX_REPLACEMENT_BYTES = 256 * 1024
RECIPIENT_LISTS = ("ToAddresses", "CcAddresses", "BccAddresses")
TAG = re.compile(r"[A-Za-z0-9_-]{1,256}\Z")
ADDRESS = re.compile(r"[^\s@<>]+@[^\s@<>]+\Z")
PLACEHOLDER = re.compile(r"\{\{\{?\s*([A-Za-z0-9_.-]+)\s*\}?\}\}")
RAW_PARSER = BytesParser(policy=email.policy.default)


@dataclass(slots=True)
class Email:
    """One email of a request. `missing` names a template attribute without a value: it fails after acceptance."""

    source: str
    recipients: list[str]
    subject: str = ""
    html: str = ""
    text: str = ""
    headers: list[tuple[str, str]] = field(default_factory=list)
    attachments: list[tuple[str, int]] = field(default_factory=list)
    tags: dict[str, str] = field(default_factory=dict)
    configuration_set: str | None = None
    template_name: str | None = None
    missing: str | None = None


def bad_request(message: str) -> AwsError:
    """A BadRequestException."""
    return AwsError("BadRequestException", message)


def bare_address(address: str) -> str:
    """The address within `Name <address>`."""
    return address[address.rfind("<") + 1 :].rstrip(">").strip() if address.endswith(">") else address.strip()


def recipients_of(destination: dict[str, Any] | None) -> list[str]:
    """All recipients of a Destination. Raises `AwsError`."""
    destination = destination or {}
    given = [each for name in RECIPIENT_LISTS for each in destination.get(name) or ()]
    found = [bare_address(each) for each in given]
    for each in found:
        if not ADDRESS.match(each):
            raise bad_request("Missing final '@domain'" if "@" not in each else "Illegal address")
    if len(found) > MAX_RECIPIENTS:
        raise bad_request(f"Recipient count exceeds {MAX_RECIPIENTS}.")
    return found


def tags_of(raw: Iterable[dict[str, Any]] | None) -> dict[str, str]:
    """EmailTags as a mapping. Raises `AwsError`."""
    tags: dict[str, str] = {}
    for each in raw or ():
        name, value = str(each.get("Name", "")), str(each.get("Value", ""))
        if not TAG.match(name) or not TAG.match(value):
            raise bad_request("Invalid tag: only alphanumeric ASCII characters, '_' and '-' are allowed.")
        if name in tags:
            raise bad_request("Duplicate tag name.")
        tags[name] = value
    return tags


def single_email(request: dict[str, Any]) -> Email:
    """The email of a SendEmail request. Raises `AwsError`."""
    content = request.get("Content") or {}
    if len(content) != 1:
        raise bad_request("Exactly one of Simple, Raw or Template content must be given.")
    made = Email(
        source=request.get("FromEmailAddress") or "",
        recipients=recipients_of(request.get("Destination")),
        tags=tags_of(request.get("EmailTags")),
        configuration_set=request.get("ConfigurationSetName") or None,
    )
    if "Simple" in content:
        _fill_simple(made, content["Simple"])
    elif "Raw" in content:
        _fill_raw(made, content["Raw"])
    elif "Template" in content:
        template = content["Template"]
        _fill_template(made, template, _json_object(template.get("TemplateData")))
    else:
        raise bad_request("Exactly one of Simple, Raw or Template content must be given.")
    if not made.source:
        raise bad_request("FromEmailAddress is required.")
    if not made.recipients:
        raise bad_request("At least one recipient is required.")
    return made


def bulk_email(request: dict[str, Any], entry: dict[str, Any]) -> Email:
    """The email of one entry of a SendBulkEmail request. Raises `AwsError`."""
    template = (request.get("DefaultContent") or {}).get("Template") or {}
    replacement = (entry.get("ReplacementEmailContent") or {}).get("ReplacementTemplate") or {}
    raw_data = replacement.get("ReplacementTemplateData") or "{}"
    if len(raw_data) > MAX_REPLACEMENT_BYTES:
        raise bad_request("ReplacementTemplateData exceeds 256 KiB.")
    made = Email(
        source=request.get("FromEmailAddress") or "",
        recipients=recipients_of(entry.get("Destination")),
        tags=tags_of(request.get("DefaultEmailTags")) | tags_of(entry.get("ReplacementTags")),
        configuration_set=request.get("ConfigurationSetName") or None,
    )
    _fill_template(made, template, _json_object(template.get("TemplateData")) | _json_object(raw_data))
    replaced = {each["Name"].lower() for each in entry.get("ReplacementHeaders") or ()}
    made.headers = [each for each in made.headers if each[0].lower() not in replaced]
    made.headers += _headers(entry.get("ReplacementHeaders"))
    if not made.recipients:
        raise bad_request("At least one recipient is required.")
    return made


def _data(part: dict[str, Any] | None) -> str:
    return str((part or {}).get("Data") or "")


def _headers(raw: Iterable[dict[str, Any]] | None) -> list[tuple[str, str]]:
    headers = [(str(each.get("Name", "")), str(each.get("Value", ""))) for each in raw or ()]
    if any("\r" in value or "\n" in value for pair in headers for value in pair):
        raise bad_request("Header contains a line break.")
    return headers


def _attachments(raw: Iterable[dict[str, Any]] | None) -> list[tuple[str, int]]:
    found = [(str(each.get("FileName", "")), len(each.get("RawContent") or "") * 3 // 4) for each in raw or ()]
    if sum(size for _, size in found) > MAX_MESSAGE_BYTES:
        raise bad_request("Message length is more than 41943040 bytes long.")
    return found


def _fill_simple(made: Email, simple: dict[str, Any]) -> None:
    body = simple.get("Body") or {}
    made.subject, made.html, made.text = _data(simple.get("Subject")), _data(body.get("Html")), _data(body.get("Text"))
    made.headers = _headers(simple.get("Headers"))
    made.attachments = _attachments(simple.get("Attachments"))
    if not made.html and not made.text:
        raise bad_request("Body must have Text or Html.")


def _fill_raw(made: Email, raw: dict[str, Any]) -> None:
    try:
        data = base64.b64decode(raw.get("Data") or "", validate=True)
    except binascii.Error as wrong:
        raise bad_request("Raw data is not base64.") from wrong
    if len(data) > MAX_MESSAGE_BYTES:
        raise bad_request("Message length is more than 41943040 bytes long.")
    parsed = RAW_PARSER.parsebytes(data)
    made.subject = str(parsed["Subject"] or "")
    made.html, made.text = _raw_body(parsed, "html"), _raw_body(parsed, "plain")
    made.headers = [(name, str(value)) for name, value in parsed.items()]
    made.attachments = [
        (part.get_filename() or "", len(part.get_payload(decode=True) or b"")) for part in parsed.iter_attachments()
    ]
    made.source = made.source or str(parsed["From"] or "")
    if not made.recipients:
        made.recipients = recipients_of({"ToAddresses": str(parsed["To"] or "").split(",")})


def _raw_body(parsed: EmailMessage, kind: str) -> str:
    part = parsed.get_body(preferencelist=(kind,))
    return "" if part is None else str(part.get_content())


def _json_object(raw: str | None) -> dict[str, Any]:
    try:
        value = orjson.loads(raw or "{}")
    except orjson.JSONDecodeError as wrong:
        raise bad_request("Template data is not valid JSON.") from wrong
    if not isinstance(value, dict):
        raise bad_request("Template data must be a JSON object.")
    return value


def _fill_template(made: Email, template: dict[str, Any], data: dict[str, Any]) -> None:
    inline = template.get("TemplateContent")
    if inline is None:
        name = template.get("TemplateName") or template.get("TemplateArn") or ""
        raise AwsError("NotFoundException", f"Template {name} does not exist.", status=404)
    parts = [str(inline.get(name) or "") for name in ("Subject", "Html", "Text")]
    if sum(map(len, parts)) > MAX_TEMPLATE_BYTES:
        raise bad_request("Template content exceeds 1 MB.")
    made.subject, made.html, made.text = (_substitute(made, part, data) for part in parts)
    made.headers = _headers(template.get("Headers"))
    made.attachments = _attachments(template.get("Attachments"))


def _substitute(made: Email, text: str, data: dict[str, Any]) -> str:
    statics, names = _parsed(text)
    if not names:
        return text
    parts = [statics[0]]
    for name, static in zip(names, statics[1:], strict=True):
        if name not in data:
            made.missing = made.missing or name
        parts += (str(data.get(name, "")), static)
    return "".join(parts)


@lru_cache(maxsize=256)
def _parsed(text: str) -> tuple[list[str], list[str]]:
    """A template's static texts and the names between them: fifty entries, and the next calls, share it."""
    parts = PLACEHOLDER.split(text)
    return parts[::2], parts[1::2]
