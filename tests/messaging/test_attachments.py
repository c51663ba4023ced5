import base64

import pytest

from waypost.messaging import attachments
from waypost.messaging.attachments import AttachmentIn, decode_attachments
from waypost.messaging.content_errors import AttachmentError


def _file(filename: str = "invoice.pdf", content: bytes = b"%PDF", media_type: str = "application/pdf") -> AttachmentIn:
    return AttachmentIn(filename=filename, media_type=media_type, content=base64.b64encode(content).decode())


def test_a_file_comes_back_as_bytes() -> None:
    (decoded,) = decode_attachments([_file()])
    assert (decoded.filename, decoded.media_type, decoded.content) == ("invoice.pdf", "application/pdf", b"%PDF")


@pytest.mark.parametrize("name", ["run.exe", "RUN.EXE", "invoice.pdf.exe", "run.exe. ", "a.js", "x.vbs", "macro.scr"])
def test_what_the_provider_refuses_is_refused_at_once(name: str) -> None:
    with pytest.raises(AttachmentError) as caught:
        decode_attachments([_file(), _file(name)])
    assert caught.value.field == "attachments.1.filename"


@pytest.mark.parametrize("name", ["../a.pdf", "a\r\nb.pdf", 'a".pdf', "C:\\a.pdf", "...", "a\x00.pdf"])
def test_a_filename_is_one_plain_name(name: str) -> None:
    with pytest.raises(AttachmentError):
        decode_attachments([_file(name)])


@pytest.mark.parametrize("media_type", ["", "pdf", "application/", "text/html; charset=x", "a/b\r\nX: y"])
def test_a_media_type_has_two_parts_and_no_parameters(media_type: str) -> None:
    with pytest.raises(AttachmentError):
        decode_attachments([_file(media_type=media_type)])


def test_what_is_not_base64_is_refused() -> None:
    with pytest.raises(AttachmentError) as caught:
        decode_attachments([AttachmentIn(filename="a.pdf", media_type="application/pdf", content="!!!")])
    assert caught.value.field == "attachments.0.content"


def test_the_files_of_a_message_are_bounded_together(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(attachments, "MAX_ATTACHMENT_BYTES", 10)
    decode_attachments([_file(content=b"12345")] * 2)
    with pytest.raises(AttachmentError) as caught:
        decode_attachments([_file(content=b"12345")] * 3)
    assert caught.value.bound == 10
    with pytest.raises(AttachmentError):
        decode_attachments([_file()] * 21)


def test_the_content_of_a_file_is_not_shown_in_its_repr() -> None:
    assert "JVBERg" not in repr(_file())
