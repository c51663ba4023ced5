"""What a caller hangs on a message: tags to find it by, metadata to get back, data to render with."""

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from waypost.messaging.content_errors import LabelError

MAX_TAGS = 20
MAX_METADATA_KEYS = 50
MAX_METADATA_BYTES = 4_096
MAX_DATA_BYTES = 65_536
MAX_ATTRIBUTES_BYTES = 32_768
"""Of a contact, by whatever door they come."""
MAX_DATA_DEPTH = 20

_TAG = re.compile(r"[A-Za-z0-9_-]{1,64}", re.ASCII)


def validate_tags(tags: Sequence[str]) -> tuple[str, ...]:
    """The tags without repeats, in order. Raises `LabelError`."""
    unique = tuple(dict.fromkeys(tags))
    if len(unique) > MAX_TAGS:
        raise LabelError(f"A message may have at most {MAX_TAGS} tags.", field="tags", bound=MAX_TAGS)
    for place, tag in enumerate(tags):
        if not _TAG.fullmatch(tag):
            raise LabelError(
                "A tag is 1 to 64 letters, digits, hyphens and underscores.", field=f"tags.{place}", bound=64
            )
    return unique


def validate_metadata(metadata: Mapping[str, Any]) -> dict[str, Any]:
    """Flat JSON: text, numbers, booleans, null. At most 50 keys and 4 KB. Raises `LabelError`."""
    if len(metadata) > MAX_METADATA_KEYS:
        raise LabelError(f"Metadata has at most {MAX_METADATA_KEYS} keys.", field="metadata", bound=MAX_METADATA_KEYS)
    if any(isinstance(value, dict | list) for value in metadata.values()):
        raise LabelError("Metadata is flat: text, numbers, booleans and null.", field="metadata")
    return _bounded_json(metadata, field="metadata", most=MAX_METADATA_BYTES)


def validate_data(data: Mapping[str, Any], *, field: str = "data", max_bytes: int = MAX_DATA_BYTES) -> dict[str, Any]:
    """Template data or a contact's attributes: JSON within its bounds that PostgreSQL can keep. Raises `LabelError`."""
    if _is_plain(data, max_bytes):
        return dict(data)
    _check_depth(data, field)
    return _bounded_json(data, field=field, most=max_bytes)


_PLAIN = frozenset({str, int, bool, type(None)})
_MOST_OF_A_CHARACTER = 6
"""Bytes that a character may take as JSON."""


def _is_plain(data: Mapping[str, Any], most: int) -> bool:
    """Whether it is flat, far from its bound, and of ASCII and whole numbers alone: as most are, and quick to see."""
    size = 2
    for name, value in data.items():
        kind = type(value)
        if kind not in _PLAIN or type(name) is not str:
            return False
        said = value if kind is str else ""
        if not (name.isascii() and said.isascii()) or "\0" in name or "\0" in said:
            return False
        size += _MOST_OF_A_CHARACTER * (len(name) + len(said)) + _ROOM
        if kind is int and not -_LARGE < value < _LARGE:
            return False
    return size <= most


_LARGE, _ROOM = 10**18, 32
"""A number below the one takes less than the other, with all that JSON writes around a value."""


def _bounded_json(value: Mapping[str, Any], *, field: str, most: int) -> dict[str, Any]:
    try:
        size = len(json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode())
    except (TypeError, ValueError):  # NaN, lone surrogates, bytes
        raise LabelError(f"{field} must be JSON with well-formed text and finite numbers.", field=field) from None
    if size > most:
        raise LabelError(f"{field} may have {most} bytes as JSON.", field=field, bound=most)
    if _has_nul(value):
        # PostgreSQL's jsonb cannot hold it.
        raise LabelError(f"{field} may not hold the character U+0000.", field=field)
    return dict(value)


def _check_depth(value: object, field: str) -> None:
    level: list[object] = [value]
    for _ in range(MAX_DATA_DEPTH + 1):
        level = [child for item in level for child in _children(item)]
        if not level:
            return
    raise LabelError(f"{field} is nested deeper than {MAX_DATA_DEPTH} levels.", field=field, bound=MAX_DATA_DEPTH)


def _children(value: object) -> Iterable[object]:
    if isinstance(value, Mapping):
        return value.values()
    return value if isinstance(value, list | tuple) else ()


def _has_nul(value: object) -> bool:
    if isinstance(value, str):
        return "\0" in value
    if isinstance(value, Mapping):
        return any(_has_nul(key) or _has_nul(child) for key, child in value.items())
    return any(_has_nul(child) for child in _children(value))
