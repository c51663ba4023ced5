"""Reads what a simulation is given from files and options."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, RootModel

from waypost.messaging.content import TemplateContent
from waypost.simulation.cases import Case, check_data, read_document
from waypost.simulation.errors import GivenError, Wrong
from waypost.simulation.expecting import Scenario, Suite
from waypost.simulation.given import SOMEBODY, ContactGiven, TenantGiven, read_moment, read_object, resolve, validated
from waypost.simulation.script import Script

T = TypeVar("T", bound=BaseModel)

SUFFIX = ".test.yaml"
_MOST = 1_048_576


class _Template(RootModel[TemplateContent]):
    pass


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """What `waypost journeys simulate` is told; texts are as they were typed."""

    file: Path
    contact: str | None = None
    events: Path | None = None
    data: str | None = None
    start: str | None = None
    until: str | None = None
    rules: Path | None = None
    templates: Path | None = None


def read_case(options: Options, *, now: datetime) -> Case:
    """The case that options name. Raises `GivenError`, `DocumentError`."""
    tenant = _from_file(TenantGiven, options.rules, "--rules") if options.rules else TenantGiven()
    templates = read_templates(options.templates, "--templates") if options.templates else {}
    text = read_text(options.file, str(options.file))
    journey = read_document(text, str(options.file), tenant=tenant, templates=templates)
    contact = _given(ContactGiven, options.contact, "--contact") if options.contact else SOMEBODY
    case = Case(
        journey=journey,
        text=text,
        start=now.replace(second=0, microsecond=0),
        contact=contact,
        tenant=tenant,
        templates=templates,
        data=_data(options.data),
        script=_script(options.events) if options.events else Script(),
    )
    return _timed(case, start=options.start, until=options.until)


def _timed(case: Case, *, start: str | None, until: str | None) -> Case:
    if start is not None:
        moment = read_moment(start, "--start")
        if isinstance(moment, timedelta):
            raise GivenError("--start", [Wrong(field="", message="Give a time, such as 2026-11-24T09:00.")])
        case = replace(case, start=resolve(moment, start=case.start, zone=case.zone))
    if until is not None:
        case = replace(case, until=resolve(read_moment(until, "--until"), start=case.start, zone=case.zone))
    check_data(case)
    return case


def read_suite(file: Path) -> Suite:
    """A file of scenarios. Raises `GivenError`."""
    return _from_file(Suite, file, str(file))


def suite_files(place: Path) -> list[Path]:
    """The files of scenarios in a folder and below, or the one. Raises `GivenError` where there is none."""
    found = sorted(place.rglob(f"*{SUFFIX}")) if place.is_dir() else [place]
    if not found:
        raise GivenError(str(place), [Wrong(field="", message=f"There is no *{SUFFIX} in it.")])
    return found


def cases_of(file: Path, suite: Suite) -> Iterator[tuple[Scenario, Case]]:
    """The cases of a file's scenarios. Raises `GivenError`, `DocumentError`."""
    text = read_text(file.parent / suite.journey, f"{file}: journey")
    templates = read_templates(file.parent / suite.templates, f"{file}: templates") if suite.templates else {}
    for number, one in enumerate(suite.scenarios):
        source = f"{file}: scenarios.{number}"
        tenant = one.tenant or suite.tenant or TenantGiven()
        journey = read_document(text, suite.journey, tenant=tenant, templates=templates)
        start = one.start or suite.start
        if start is None:
            raise GivenError(source, [Wrong(field="start", message="Say when it begins, here or for all.")])
        case = Case(
            name=f"{file.name}: {one.name}",
            journey=journey,
            text=text,
            start=datetime.min.replace(tzinfo=UTC),
            contact=one.contact or suite.contact or SOMEBODY,
            tenant=tenant,
            templates=templates,
            data=one.data,
            script=Script(events=one.events),
        )
        case = replace(case, start=resolve(start, start=case.start, zone=case.zone))
        until = resolve(one.until, start=case.start, zone=case.zone) if one.until is not None else None
        case = replace(case, until=until)
        check_data(case)
        yield one, case


def read_text(file: Path, source: str) -> str:
    """A file's text. Raises `GivenError`."""
    try:
        with file.open(encoding="utf-8-sig") as opened:
            text = opened.read(_MOST + 1)
    except UnicodeDecodeError:
        raise GivenError(source, [Wrong(field="", message="This is no UTF-8 text.")]) from None
    except OSError as error:
        raise GivenError(source, [Wrong(field="", message=f"It cannot be read: {error.strerror}.")]) from None
    if len(text) > _MOST:
        raise GivenError(source, [Wrong(field="", message=f"It has more than {_MOST:,} characters.")])
    return text


def read_templates(folder: Path, source: str) -> dict[str, TemplateContent]:
    """The templates of a folder: each a JSON file, whose name is its key, as it is put to the API.

    A text that is `@` and the name of a file beside it is that file's. Raises `GivenError`.
    """
    if not folder.is_dir():
        raise GivenError(source, [Wrong(field="", message=f"{folder} is no folder.")])
    found = {}
    for file in sorted([*folder.glob("*.json"), *folder.glob("*.yaml")]):
        tree = _included(read_object(read_text(file, str(file)), str(file)), file)
        found[file.stem] = validated(_Template, tree, str(file)).root
    return found


def _included(tree: Any, file: Path) -> Any:
    if isinstance(tree, Mapping):
        return {key: _included(value, file) for key, value in tree.items()}
    if isinstance(tree, str) and tree.startswith("@") and "\n" not in tree and "/" not in tree:
        return read_text(file.parent / tree[1:], str(file))
    return tree


def _given(model: type[T], said: str, source: str) -> T:
    """JSON as it is typed, or a file's name."""
    if said.lstrip().startswith("{"):
        return validated(model, read_object(said, source), source)
    return _from_file(model, Path(said), source)


def _from_file(model: type[T], file: Path, source: str) -> T:
    text = read_text(file, source)
    return validated(model, read_object(text, source), source, text=text)


def _script(file: Path) -> Script:
    text = read_text(file, "--events")
    tree = read_object(text, "--events")
    listed = tree if isinstance(tree, Mapping) else {"events": tree if tree is not None else []}
    return validated(Script, listed, "--events", text=text if listed is tree else None)


def _data(said: str | None) -> Mapping[str, Any] | None:
    if said is None:
        return None
    try:
        value = json.loads(said)
    except ValueError:
        value = None
    if not isinstance(value, dict):
        raise GivenError("--data", [Wrong(field="", message='Give JSON such as {"plan": "pro"}.')])
    return value
