"""Files of an email, checked when they are accepted so that SES does not refuse them later."""

import base64
import binascii
import re
from collections.abc import Sequence
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from waypost.messaging.content import has_control_or_break
from waypost.messaging.content_errors import AttachmentError
from waypost.messaging.provider import Attachment

MAX_ATTACHMENTS = 20
MAX_ATTACHMENT_BYTES = 10_000_000
"""Of all files of a message together, decoded."""

# RFC 6838 4.2, without parameters.
_MEDIA_TYPE = re.compile(r"[A-Za-z0-9][A-Za-z0-9!#$&^_.+-]{0,126}/[A-Za-z0-9][A-Za-z0-9!#$&^_.+-]{0,126}", re.ASCII)
# SES "Unsupported attachment types".
_REFUSED_EXTENSIONS = (
    "ade adp app asp bas bat cer chm cmd com cpl crt csh der exe fxp gadget hlp hta inf ins isp its js jse ksh lib lnk"
    " mad maf mag mam maq mar mas mat mau mav maw mda mdb mde mdt mdw mdz msc msh msh1 msh2 mshxml msh1xml msh2xml msi"
    " msp mst ops pcd pif plg prf prg reg scf scr sct shb shs sys ps1 ps1xml ps2 ps2xml psc1 psc2 tmp url vb vbe vbs"
    " vps vsmacros vss vst vsw vxd ws wsc wsf wsh xnk"
)


class AttachmentIn(BaseModel):
    """A file as the API takes it: `content` is base64."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    filename: Annotated[str, StringConstraints(min_length=1, max_length=255)]
    media_type: Annotated[str, StringConstraints(max_length=255)] = "application/octet-stream"
    content: Annotated[str, StringConstraints(max_length=MAX_ATTACHMENT_BYTES * 4 // 3 + 4)] = Field(repr=False)


def decode_attachments(files: Sequence[AttachmentIn]) -> tuple[Attachment, ...]:
    """The files as bytes. Raises `AttachmentError`, whose `field` names the file's place."""
    if len(files) > MAX_ATTACHMENTS:
        raise AttachmentError(
            f"A message may have at most {MAX_ATTACHMENTS} attachments.", field="attachments", bound=MAX_ATTACHMENTS
        )
    decoded = tuple(_decode(file, f"attachments.{place}") for place, file in enumerate(files))
    if sum(len(file.content) for file in decoded) > MAX_ATTACHMENT_BYTES:
        raise AttachmentError(
            "The attachments of a message may have 10 MB together.", field="attachments", bound=MAX_ATTACHMENT_BYTES
        )
    return decoded


def _decode(file: AttachmentIn, field: str) -> Attachment:
    _check_filename(file.filename, f"{field}.filename")
    if not _MEDIA_TYPE.fullmatch(file.media_type):
        raise AttachmentError(
            "This is not a media type.", field=f"{field}.media_type", hint="Use one such as application/pdf."
        )
    try:
        content = base64.b64decode(file.content, validate=True)
    except (binascii.Error, ValueError):
        raise AttachmentError("The content is not base64.", field=f"{field}.content") from None
    return Attachment(filename=file.filename, media_type=file.media_type, content=content)


def _check_filename(filename: str, field: str) -> None:
    if has_control_or_break(filename) or any(char in filename for char in '/\\"<>:|?*') or not filename.strip(" ."):
        raise AttachmentError(
            'A file name has no path, no control characters and none of / \\ " < > : | ? *.', field=field
        )
    # Windows drops trailing dots and spaces: "invoice.exe. " runs.
    extension = filename.rstrip(" .").rpartition(".")[2].lower()
    if extension in _REFUSED_EXTENSIONS.split():
        raise AttachmentError(
            f"Files that end in .{extension} cannot be attached: the provider refuses them.",
            field=field,
            hint="Put the file behind a link.",
        )
