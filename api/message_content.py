"""What a message says, checked when it is accepted: the template's version, its syntax, and the variables it needs."""

from collections import OrderedDict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from pydantic import TypeAdapter

from waypost.messaging import ids
from waypost.messaging.content import EmailContent, SmsContent, TemplateContent, WhatsappContent, one_locale
from waypost.messaging.content_errors import ContentError, RenderError, UndefinedVariableError
from waypost.messaging.errors import MessageRefusedError, Refusal
from waypost.messaging.rendering import choose_locale, render, template_context
from waypost.messaging.templating import CompiledTemplate, compile_template
from waypost.messaging.values import Channel
from waypost.store.database import Database
from waypost.store.message_templates import template_version

MAX_VERSIONS = 256
MAX_CHARACTERS = 4_000_000
"""Of source, of all versions kept together."""
MAX_CURRENT = 10_000

_CONTENT: TypeAdapter[TemplateContent] = TypeAdapter(TemplateContent)
_ANY_TIME = datetime(2000, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True, kw_only=True)
class Checked:
    """Content that compiles. For a template: which version of it was looked at."""

    channel: Channel
    compiled: CompiledTemplate
    template_id: UUID | None = None
    version: int | None = None
    pinned: bool = False


class TemplateShelf:
    """The template versions used last, compiled. Which version is current is believed until `forget` says otherwise."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._current: OrderedDict[UUID, int] = OrderedDict()
        self._versions: OrderedDict[tuple[UUID, int], tuple[CompiledTemplate, int]] = OrderedDict()
        self._characters = 0

    async def get(self, tenant: UUID, *, key: str, version: int | None) -> Checked:
        """A template's version, the current one for None. Raises MessageRefusedError where there is none."""
        template = ids.template_id(tenant=tenant, key=key)
        known = version or self._current.get(template)
        kept = self._versions.get((template, known)) if known else None
        if known is None or kept is None:
            known, compiled = await self._load(tenant, template, version)
        else:
            compiled = kept[0]
            self._versions.move_to_end((template, known))
        return Checked(
            channel=compiled.channel,
            compiled=compiled,
            template_id=template,
            version=known,
            pinned=version is not None,
        )

    def forget(self, template: UUID) -> None:
        """The template has another current version than was believed."""
        self._current.pop(template, None)

    async def _load(self, tenant: UUID, template: UUID, version: int | None) -> tuple[int, CompiledTemplate]:
        found = await template_version(self._database, tenant=tenant, template=template, version=version)
        if found is None:
            raise MessageRefusedError(Refusal.TEMPLATE_NOT_FOUND)
        if found.content is None:
            raise MessageRefusedError(Refusal.TEMPLATE_VERSION_NOT_FOUND)
        content = _CONTENT.validate_python(found.content)
        compiled = compile_template(content)
        self._keep(template, found.version, compiled, size=len(content.model_dump_json()))
        if version is None:
            self._current[template] = found.version
            while len(self._current) > MAX_CURRENT:
                self._current.popitem(last=False)
        return found.version, compiled

    def _keep(self, template: UUID, version: int, compiled: CompiledTemplate, *, size: int) -> None:
        if (template, version) not in self._versions:
            self._versions[template, version] = (compiled, size)
            self._characters += size
        while len(self._versions) > MAX_VERSIONS or (self._characters > MAX_CHARACTERS and len(self._versions) > 1):
            _, (_, dropped) = self._versions.popitem(last=False)
            self._characters -= dropped


def check_inline(content: EmailContent | SmsContent | WhatsappContent, *, field: str) -> Checked:
    """Inline content, compiled. Raises TemplateError whose field is the request's (`content.subject`)."""
    template = one_locale(content)
    try:
        compiled = compile_template(template)
    except ContentError as error:
        error.field = field + (error.field or "").removeprefix(f"locales.{template.default_locale}")
        raise
    return Checked(channel=compiled.channel, compiled=compiled)


def check_data(content: Checked, data: Mapping[str, Any], *, locale: str | None, known_locale: bool) -> None:
    """Raise MessageRefusedError where rendering is bound to fail for a variable that `data` lacks.

    `known_locale`: the message goes out in `locale` or the default; else the contact's decides, and only what every
    language lacks is refused. What hangs on the contact's attributes is left to the send.
    """
    chosen = [choose_locale(content.compiled, locale)] if locale or known_locale else list(content.compiled.locales)
    missing = [_lacks(content.compiled, name, data) for name in chosen]
    if missing and all(missing):
        raise MessageRefusedError(Refusal.MISSING_VARIABLE, field=missing[0], variable=missing[0])


def _lacks(template: CompiledTemplate, locale: str, data: Mapping[str, Any]) -> str | None:
    variables = template.locales[locale].variables
    if all(_holds(data, path) for path in _paths(variables)):
        return None
    # A name that is not there may have a default or stand in a branch that is not taken: rendering knows.
    about_contact = any(path.partition(".")[0] != "data" for path in variables)
    trials = (_Anything(False), _Anything(True)) if about_contact else (_Anything(False),)
    found = [_undefined(template, locale, data, trial) for trial in trials]
    return found[0] if all(found) else None


def _paths(variables: Iterable[str]) -> Iterator[list[str]]:
    for path in variables:
        root, *names = path.split(".")
        if root == "data":
            yield names


def _holds(data: Any, names: list[str]) -> bool:
    for name in names:
        if not isinstance(data, Mapping) or name not in data:
            return False
        data = data[name]
    return True


def _undefined(template: CompiledTemplate, locale: str, data: Mapping[str, Any], trial: "_Anything") -> str | None:
    known: Any = _Anything(True)
    context = template_context(
        contact={},
        data=data,
        tenant=known,
        message=known,
        now=_ANY_TIME,
        unsubscribe_url="https://",
        preferences_url="https://",
    )
    try:
        render(template, locale, {**context, "contact": trial})
    except UndefinedVariableError as error:
        name = error.variable or "data"
        return name if name.partition(".")[0] == "data" else None
    except RenderError:
        return None
    return None


class _Anything(str):
    """Stands for what is not known at acceptance: every name is there and can be printed, all true or all false."""

    _truth: bool

    def __new__(cls, truth: bool) -> "_Anything":
        """All true or all false."""
        word = super().__new__(cls, "x")
        word._truth = truth
        return word

    def __getitem__(self, name: object) -> Any:
        return self if self._truth or name == "attributes" else False
