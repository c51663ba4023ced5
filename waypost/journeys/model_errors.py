"""What pydantic says of a document, as problems with a line and a suggestion."""

import types
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Union, get_args, get_origin

from pydantic import BaseModel
from pydantic_core import ErrorDetails

from waypost.journeys.document import Journey
from waypost.journeys.durations import suggest_duration
from waypost.journeys.problems import Path, Problem, did_you_mean
from waypost.journeys.source import Source

_SAID: Mapping[str, str] = {
    "missing": "This is missing.",
    "extra_forbidden": "There is no such field here.",
    "union_tag_not_found": "This is missing.",
    "model_type": "This is an object with fields.",
    "dict_type": "This is an object with fields.",
    "tuple_type": "This is a list.",
    "string_type": "This is a text.",
}


def is_an_echo(error: ErrorDetails) -> bool:
    """A list that is too short for want of sound elements: what is wrong with those is said anyway."""
    given = error["input"]
    return error["type"] == "too_short" and isinstance(given, list) and len(given) >= error["ctx"]["min_length"]


def problem_of(error: ErrorDetails, source: Source) -> Problem:
    """The problem that one of pydantic's errors is."""
    path = _written(error["loc"], source.tree)
    code, message, path = _meaning(error, path)
    return Problem(
        code=code,
        message=message,
        step=str(path[1]) if len(path) > 1 and path[0] == "steps" else None,
        line=source.line(path),
        path=path,
        suggestion=_suggestion(error, path, source.tree),
    )


def _meaning(error: ErrorDetails, path: Path) -> tuple[str, str, Path]:
    kind, context = error["type"], error.get("ctx", {})
    name = path[-1] if path else ""
    if kind == "extra_forbidden":
        return "unknown_field", f"There is no field {name} here.", path
    if kind in ("missing", "union_tag_not_found"):
        missing = (*path, error["loc"][-1]) if kind == "missing" else (*path, str(context["discriminator"]).strip("'"))
        return "missing_field", f"{missing[-1]} is missing.", missing
    if kind in ("literal_error", "enum", "union_tag_invalid"):
        expected = str(context.get("expected", context.get("expected_tags", "")))
        field = str(context["discriminator"]).strip("'") if kind == "union_tag_invalid" else None
        path = (*path, field) if field is not None else path
        return "unknown_value", f"{path[-1] if path else 'This'} is one of {_plain(expected)}.", path
    return _CODES.get(kind, "bad_value"), _SAID.get(kind) or f"{_sentence(error['msg'])}", path


_CODES: Mapping[str, str] = {
    "duration": "bad_duration",
    "zone": "bad_zone",
    "wall_clock": "bad_hour",
    "quiet_hours": "bad_hour",
    "bound": "too_large",
    "too_long": "too_large",
}


def _plain(expected: str) -> str:
    words = expected.replace("'", "").replace(" or ", ", ").split(", ")
    return ", ".join(words[:-1]) + f" and {words[-1]}" if len(words) > 1 else expected.replace("'", "")


def _sentence(text: str) -> str:
    return text if text.endswith(".") else f"{text}."


def _written(loc: Sequence[int | str], tree: Any) -> Path:
    """A place without what pydantic adds to it: which member of a union it tried."""
    path: list[int | str] = []
    for part in loc:
        if _has(tree, part):
            tree = tree[part]
            path.append(part)
    return tuple(path)


def _has(tree: Any, part: int | str) -> bool:
    if isinstance(tree, dict):
        return part in tree
    return isinstance(tree, list) and isinstance(part, int) and part < len(tree)


def _at(tree: Any, path: Path) -> Any:
    for part in path:
        if not _has(tree, part):
            return None
        tree = tree[part]
    return tree


def _suggestion(error: ErrorDetails, path: Path, tree: Any) -> str | None:
    kind, context = error["type"], error.get("ctx", {})
    if kind == "duration":
        meant = suggest_duration(_at(tree, path))
        return f"write {meant}" if meant else None
    if kind == "extra_forbidden":
        return did_you_mean(path[-1], _fields_around(error["loc"], tree) - set(_at(tree, path[:-1]) or ()))
    if kind == "union_tag_invalid":
        return did_you_mean(context["tag"], _words(str(context["expected_tags"])))
    if kind in ("literal_error", "enum"):
        return did_you_mean(_at(tree, path), _words(str(context["expected"])))
    return None


def _words(expected: str) -> set[str]:
    return set(expected.replace("'", "").replace(" or ", ", ").split(", "))


def _fields_around(loc: Sequence[int | str], tree: Any) -> set[str]:
    """The fields that an object has where one was found that is not among them."""
    models: set[type[BaseModel]] = {Journey}
    for part in loc[:-1]:
        if isinstance(tree, dict) and part in tree:
            tree, inner = tree[part], {below for model in models for below in _below(model, str(part))}
            models = inner or models
        elif isinstance(tree, list) and isinstance(part, int):
            tree = tree[part] if part < len(tree) else None
    tag = tree.get("kind") if isinstance(tree, dict) else None
    fitting = {model for model in models if tag is None or _is_tagged(model, tag)}
    return {field.alias or name for model in fitting or models for name, field in model.model_fields.items()}


def _is_tagged(model: type[BaseModel], tag: object) -> bool:
    field = model.model_fields.get("kind")
    return field is not None and tag in get_args(field.annotation)


def _below(model: type[BaseModel], name: str) -> Iterable[type[BaseModel]]:
    for own, field in model.model_fields.items():
        if name == (field.alias or own):
            yield from _models(field.annotation)


def _models(annotation: Any) -> Iterable[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel) and get_origin(annotation) is None:
        yield annotation
    elif get_origin(annotation) in (Union, types.UnionType) or get_args(annotation):
        for part in get_args(annotation):
            yield from _models(part)
