"""RFC 9457 problem documents: what every answer that is not 2xx looks like, and every code it may carry.

`code` is stable and meant for programs, `detail` says what to do, `type` is the path of the code's page.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

import orjson
from pydantic import BaseModel, ConfigDict, Field
from starlette.exceptions import HTTPException
from starlette.responses import Response

MEDIA_TYPE = "application/problem+json"


class FieldError(BaseModel):
    """One thing that is wrong with one field of a request."""

    model_config = ConfigDict(frozen=True)

    field: str = Field(description="Dotted path in the body; query., path. and header. for what is not in the body")
    message: str
    code: str | None = None
    bound: float | None = Field(default=None, description="The bound that was passed")
    line: int | None = Field(default=None, description="Line within the field, from 1")
    variable: str | None = Field(default=None, description="The template's variable")
    step: str | None = Field(default=None, description="The journey's step")
    suggestion: str | None = Field(default=None, description="What may have been meant")


class Problem(BaseModel):
    """A problem document (RFC 9457)."""

    model_config = ConfigDict(frozen=True)

    type: str = Field(description="Path of the page about this code")
    title: str
    status: int
    code: str = Field(description="Stable; what a program should look at")
    detail: str = Field(description="What happened and what to do")
    errors: tuple[FieldError, ...] = ()


@dataclass(frozen=True, slots=True)
class Kind:
    """A code, its status, and its title, which never varies."""

    status: int
    title: str


KINDS: Mapping[str, Kind] = MappingProxyType(
    {
        "invalid_json": Kind(400, "The body is not JSON"),
        "bad_request": Kind(400, "The request cannot be read"),
        "unauthorized": Kind(401, "The key is missing or not valid"),
        "missing_scope": Kind(403, "The key lacks a scope"),
        "tenant_closed": Kind(403, "The tenant is closed"),
        "test_key": Kind(403, "A test key may not do this"),
        "not_found": Kind(404, "There is no such thing"),
        "message_not_found": Kind(404, "There is no such message"),
        "method_not_allowed": Kind(405, "The path has no such method"),
        "conflict": Kind(409, "The present state forbids this"),
        "name_taken": Kind(409, "The name is taken"),
        "key_revoked": Kind(409, "The key is revoked"),
        "key_expired": Kind(409, "The key has expired"),
        "key_rotated": Kind(409, "The key was rotated before"),
        "sender_in_use": Kind(409, "Messages refer to the sender"),
        "topic_in_use": Kind(409, "The topic cannot go yet"),
        "too_many_topics": Kind(409, "There are as many topics as there can be"),
        "referred_to": Kind(409, "A segment, campaign or journey refers to it"),
        "default_sender_race": Kind(409, "Two senders became the default at once"),
        "template_channel": Kind(409, "The template has another channel"),
        "idempotency_key_reused": Kind(409, "The idempotency key belongs to another body"),
        "too_late": Kind(409, "The message cannot be cancelled any more"),
        "not_waiting_for_approval": Kind(409, "The message does not wait for an approval"),
        "template_moved": Kind(409, "The template is being published"),
        "campaign_not_draft": Kind(409, "The campaign is not a draft any more"),
        "campaign_not_scheduled": Kind(409, "The campaign is still a draft"),
        "campaign_over": Kind(409, "The campaign's run is over"),
        "campaign_not_over": Kind(409, "The campaign's run is not over yet"),
        "campaign_needs_approval": Kind(409, "The campaign waits for an approval"),
        "campaign_needs_no_approval": Kind(409, "The campaign does not wait for an approval"),
        "campaign_awaits_no_winner": Kind(409, "The campaign does not wait for a winner"),
        "nobody_to_resend_to": Kind(409, "The run failed to reach nobody"),
        "journey_not_published": Kind(409, "The journey is a draft"),
        "journey_published": Kind(409, "The journey was published"),
        "journey_archived": Kind(409, "The journey is archived"),
        "journey_draining": Kind(409, "The journey waits until its old version is empty"),
        "only_once": Kind(409, "The contact was in the journey before"),
        "cooling_down": Kind(409, "It is too early for the contact to come again"),
        "enrollment_over": Kind(409, "The enrollment has ended"),
        "enrollment_not_waiting": Kind(409, "The enrollment does not wait for that"),
        "import_offset": Kind(409, "The upload does not begin where the import stands"),
        "body_too_large": Kind(413, "The body is too large"),
        "campaign_incomplete": Kind(422, "The campaign names what is not there"),
        "journey_invalid": Kind(422, "The journey's document has problems"),
        "validation_failed": Kind(422, "The request is not valid"),
        "invalid_cursor": Kind(422, "The cursor is not one of ours"),
        "segment_cycle": Kind(422, "The segment refers back to itself"),
        "segment_too_large": Kind(422, "The rule is too large"),
        "segment_too_costly": Kind(422, "The rule costs too much"),
        "unknown_segment": Kind(422, "There is no such segment"),
        "unknown_list": Kind(422, "There is no such list"),
        "unknown_topic": Kind(422, "There is no such topic"),
        "unstorable_value": Kind(422, "A value cannot be stored"),
        "unknown_account": Kind(422, "There is no such provider account"),
        "account_channel": Kind(422, "The account's provider has no such channel"),
        "endpoint_refused": Kind(422, "The account may not name this origin"),
        "credentials_unavailable": Kind(422, "The credentials cannot be opened"),
        "invalid_content": Kind(422, "The content cannot be taken"),
        "invalid_address": Kind(422, "An address, time zone or locale is none"),
        "invalid_header": Kind(422, "A header cannot be taken"),
        "invalid_attachment": Kind(422, "A file may not be attached"),
        "invalid_label": Kind(422, "A tag, metadata or data breaks its bound"),
        "invalid_template": Kind(422, "The template cannot be compiled"),
        "template_syntax": Kind(422, "The template's Liquid does not parse"),
        "invalid_mjml": Kind(422, "The template's MJML does not compile"),
        "render_failed": Kind(422, "The message cannot be rendered"),
        "undefined_variable": Kind(422, "A variable has no value"),
        "render_limit": Kind(422, "Rendering passed a limit"),
        "unsendable_content": Kind(422, "The rendered message may not be sent"),
        "contact_not_found": Kind(422, "There is no such contact"),
        "contact_without_address": Kind(422, "The contact has no address on the channel"),
        "address_missing": Kind(422, "There is no address for the channel"),
        "channel_mismatch": Kind(422, "The content is of another channel"),
        "template_not_found": Kind(422, "There is no such template"),
        "template_version_not_found": Kind(422, "The template has no such version"),
        "sender_not_found": Kind(422, "There is no such sender"),
        "sender_channel_mismatch": Kind(422, "The sender is of another channel"),
        "sender_mode_mismatch": Kind(422, "The sender is of another mode than the key"),
        "no_sender": Kind(422, "The channel has no default sender"),
        "no_test_account": Kind(422, "The channel has no test account"),
        "send_at_too_far": Kind(422, "The time is too far away"),
        "email_only": Kind(422, "Only an email has this"),
        "missing_variable": Kind(422, "The data lacks a variable"),
        "invalid_import_file": Kind(422, "The file cannot be imported"),
        "rate_exceeded": Kind(429, "Too many requests"),
        "backlog_full": Kind(429, "Too many messages wait"),
        "imports_full": Kind(429, "Too many uploads at once"),
        "streams_full": Kind(429, "Too many watch campaigns at once"),
        "internal": Kind(500, "Something went wrong on our side"),
        "database_away": Kind(503, "The database cannot be reached"),
        "deadline_passed": Kind(503, "The request took too long"),
    }
)
"""Every code there is. tests/conventions holds it against the errors of the packages below and against docs/api.md."""


class ApiError(HTTPException):
    """An answer that is not 2xx. Raised anywhere below a route; answered as a problem document."""

    def __init__(
        self,
        code: str,
        detail: str,
        *,
        errors: Sequence[FieldError] = (),
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(KINDS[code].status, detail, dict(headers) if headers else None)
        self.code = code
        self.errors = tuple(errors)


def problem_response(
    code: str, detail: str, *, errors: Sequence[FieldError] = (), headers: Mapping[str, str] | None = None
) -> Response:
    """The document of one of KINDS as a response."""
    kind = KINDS[code]
    document: dict[str, object] = {
        "type": f"/errors/{code}",
        "title": kind.title,
        "status": kind.status,
        "code": code,
        "detail": detail,
        "errors": [error.model_dump(exclude_none=True) for error in errors],
    }
    return Response(
        orjson.dumps(document), kind.status, media_type=MEDIA_TYPE, headers=dict(headers) if headers else None
    )
