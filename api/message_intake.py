"""From a body to committed messages: content checked, references resolved, rows stored, each verdict explained."""

import asyncio
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, assert_never
from uuid import UUID

import orjson

from api.message_content import Checked, TemplateShelf, check_data, check_inline
from api.message_models import Fallback, MessageIn
from waypost.messaging import ids
from waypost.messaging.content_errors import ContentError
from waypost.messaging.errors import (
    BacklogFullError,
    IdempotencyKeyReusedError,
    MessageRefusedError,
    MessagingError,
    Refusal,
    TemplateMovedError,
    TenantClosedError,
)
from waypost.messaging.values import Channel, Lane, Mode, Part
from waypost.store import messages
from waypost.store.backlog import Backlogs
from waypost.store.database import Database
from waypost.store.messages import Accepted, Keyed, KeyReused, Refused
from waypost.store.notifications import Teller, notify, ready_channel
from waypost.store.requests import PartAsked, RequestAsked

ROUNDS = 3
"""How often a request is checked again because its template got a new version meanwhile."""
PAUSE_EVERY = 10
"""After so many messages of a batch other requests get their turn."""

Answer = Accepted | MessagingError | ContentError


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """One message that is asked for. `body` is JSON as it came; the same key with another one is a conflict.

    So is the same key under a key of the other mode: a live request is never answered with a test message.
    """

    message: MessageIn
    mode: Mode
    body: Mapping[str, Any] = field(repr=False)
    key: str | None = field(default=None, repr=False)

    @property
    def keyed(self) -> Keyed:
        """What tells this request from others with its key."""
        told_apart = orjson.dumps([self.mode, self.body], option=orjson.OPT_SORT_KEYS)
        body_hash = hashlib.sha256(told_apart).digest()
        return Keyed(self.key or "", body_hash, has_fallback=self.message.fallback is not None)


class MessageIntake:
    """Takes messages in for one API process."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._shelf = TemplateShelf(database)
        self._backlogs = Backlogs(database)
        self._teller = Teller(partial(notify, database))

    async def close(self) -> None:
        """Tell the dispatcher what it was not told yet."""
        await self._teller.close()

    async def take_one(self, tenant: UUID, mode: Mode, asked: Asked) -> Accepted:
        """Commit one message. Raises MessagingError or ContentError: nothing was stored then."""
        try:
            await self._backlogs.admit(tenant, messages=1)
        except BacklogFullError as error:
            (answer,) = await self._recall(tenant, [asked], [error])
        else:
            (answer,) = await self._take(tenant, mode, [asked])
        if isinstance(answer, Accepted):
            return answer
        raise answer

    async def take_batch(self, tenant: UUID, mode: Mode, batch: Sequence[Asked]) -> list[Answer]:
        """Commit what can be taken of a batch, with an answer for each. Raises BacklogFullError for the whole of it."""
        await self._backlogs.admit(tenant, messages=len(batch))
        first = {asked.key: place for place, asked in reversed(list(enumerate(batch))) if asked.key is not None}
        own = [place for place, asked in enumerate(batch) if asked.key is None or first[asked.key] == place]
        taken = await self._take(tenant, mode, [batch[place] for place in own])
        answers = dict(zip(own, taken, strict=True))
        for place, asked in enumerate(batch):
            if place not in answers and asked.key is not None:
                answers[place] = _repeated(asked, batch[first[asked.key]], answers[first[asked.key]])
        return [answers[place] for place in range(len(batch))]

    async def _take(self, tenant: UUID, mode: Mode, batch: Sequence[Asked]) -> list[Answer]:
        answers: dict[int, Answer] = {}
        left = list(range(len(batch)))
        for _ in range(ROUNDS):
            tried = await self._try(tenant, mode, {place: batch[place] for place in left})
            answers |= tried
            left = [place for place in left if isinstance(tried[place], TemplateMovedError)]
            if not left:
                break
        return await self._recall(tenant, batch, [answers[place] for place in range(len(batch))])

    async def _try(self, tenant: UUID, mode: Mode, batch: Mapping[int, Asked]) -> dict[int, Answer]:
        answers: dict[int, Answer] = {}
        composed: dict[int, RequestAsked] = {}
        for count, (place, asked) in enumerate(batch.items(), 1):
            try:
                composed[place] = await self._compose(tenant, mode, asked)
            except (MessagingError, ContentError) as error:
                answers[place] = error
            if count % PAUSE_EVERY == 0:
                await asyncio.sleep(0)
        verdicts = await messages.accept(self._database, tenant=tenant, requests=list(composed.values()))
        if any(isinstance(verdict, Accepted) and not verdict.replayed for verdict in verdicts):
            self._teller.tell(ready_channel(Lane.FAST))
        for place, verdict in zip(composed, verdicts, strict=True):
            answers[place] = self._explain(verdict, composed[place])
        return answers

    async def _recall(self, tenant: UUID, batch: Sequence[Asked], answers: list[Answer]) -> list[Answer]:
        """A request that was answered before gets that answer again, whatever stands against it today."""
        doubtful = [
            place
            for place, answer in enumerate(answers)
            if not isinstance(answer, Accepted | IdempotencyKeyReusedError) and batch[place].key is not None
        ]
        if not doubtful:
            return answers
        earlier = await messages.recall(
            self._database, tenant=tenant, requests=[batch[place].keyed for place in doubtful]
        )
        for place, verdict in zip(doubtful, earlier, strict=True):
            if verdict is not None:
                answers[place] = verdict if isinstance(verdict, Accepted) else IdempotencyKeyReusedError()
        return answers

    def _explain(self, verdict: messages.Verdict, request: RequestAsked) -> Answer:
        match verdict:
            case Accepted():
                return verdict
            case KeyReused():
                return IdempotencyKeyReusedError()
            case Refused(messages.TENANT_CLOSED):
                return TenantClosedError()
            case Refused(messages.TEMPLATE_MOVED):
                for part in request.parts:
                    if part.template_id is not None:
                        self._shelf.forget(part.template_id)
                return TemplateMovedError()
            case Refused(problem, part):
                return _refusal(Refusal(problem), part)
            case _:
                assert_never(verdict)

    async def _compose(self, tenant: UUID, mode: Mode, asked: Asked) -> RequestAsked:
        message = asked.message
        parts = [await self._part(tenant, message, Part.PRIMARY, message)]
        if message.fallback is not None:
            parts.append(await self._part(tenant, message, Part.FALLBACK, message.fallback))
        _refuse_email_extras(message, parts)
        return RequestAsked(
            mode=mode,
            message_class=message.message_class,
            parts=tuple(parts),
            expires_in=message.life,
            send_at=message.send_at,
            idempotency_key=asked.key,
            body_hash=asked.keyed.body_hash if asked.key is not None else b"",
            tags=message.tags,
            metadata=orjson.dumps(message.metadata) if message.metadata else None,
            unknown_policy=message.unknown_policy,
            fallback_after=message.fallback.after if message.fallback else None,
        )

    async def _part(self, tenant: UUID, message: MessageIn, part: Part, says: MessageIn | Fallback) -> PartAsked:
        try:
            checked = await self._checked(tenant, says, field=_at(part, "content"))
        except MessageRefusedError as error:
            raise _refusal(error.refusal, part) from None
        if says.channel is not None and says.channel is not checked.channel:
            raise _refusal(Refusal.CHANNEL_MISMATCH, part)
        check_data(checked, message.data, locale=message.locale, known_locale=message.to.contact is None)
        address = message.to.address(checked.channel)
        if address is None and message.to.contact is None:
            raise MessageRefusedError(Refusal.ADDRESS_MISSING)
        return PartAsked(
            part=part,
            channel=checked.channel,
            contact_id=_contact_id(tenant, message),
            address=address,
            sender_id=ids.sender_id(tenant=tenant, key=says.sender) if says.sender else None,
            template_id=checked.template_id,
            template_version=checked.version,
            template_pinned=checked.pinned,
            payload=_payload(message, says, checked.channel),
        )

    async def _checked(self, tenant: UUID, says: MessageIn | Fallback, *, field: str) -> Checked:
        if says.template is not None:
            return await self._shelf.get(tenant, key=says.template.key, version=says.template.version)
        assert says.content is not None  # the model has one of the two
        return check_inline(says.content, field=field)


def _repeated(asked: Asked, first: Asked, answer: Answer) -> Answer:
    """The answer to a key's second place in a batch."""
    if asked.keyed != first.keyed:
        return IdempotencyKeyReusedError()
    return replace(answer, replayed=True) if isinstance(answer, Accepted) else answer


def _contact_id(tenant: UUID, message: MessageIn) -> UUID | None:
    return ids.contact_id(tenant=tenant, external_id=message.to.contact) if message.to.contact else None


def _payload(message: MessageIn, says: MessageIn | Fallback, channel: Channel) -> bytes:
    """The JSON of a MessagePayload; what is empty is left out."""
    fields: dict[str, Any] = {
        "content": says.content.model_dump(mode="json", exclude_none=True) if says.content else None,
        "data": message.data,
        "locale": message.locale,
    }
    if channel is Channel.EMAIL:
        fields["reply_to"] = message.reply_to
        fields["headers"] = list(message.headers.items())
        fields["attachments"] = [file.model_dump() for file in message.attachments]
    return orjson.dumps({name: value for name, value in fields.items() if value})


def _refuse_email_extras(message: MessageIn, parts: Sequence[PartAsked]) -> None:
    if any(part.channel is Channel.EMAIL for part in parts):
        return
    for name in ("attachments", "headers", "reply_to"):
        if getattr(message, name):
            raise MessageRefusedError(Refusal.EMAIL_ONLY, field=name)


def _refusal(refusal: Refusal, part: Part) -> MessageRefusedError:
    error = MessageRefusedError(refusal)
    if error.field is not None and error.field.partition(".")[0] in ("channel", "template", "sender"):
        error.field = _at(part, error.field)
    return error


def _at(part: Part, field: str) -> str:
    return f"fallback.{field}" if part is Part.FALLBACK else field
