from typing import Any

import pytest

from waypost.messaging.content_errors import LabelError
from waypost.messaging.labels import validate_data, validate_metadata, validate_tags


def test_tags_lose_repeats_and_keep_order() -> None:
    assert validate_tags(["b", "a", "b"]) == ("b", "a")


@pytest.mark.parametrize("tags", [[""], ["a b"], ["ä"], ["x" * 65], ["a\n"], [str(number) for number in range(21)]])
def test_tags_out_of_bounds_are_refused(tags: list[str]) -> None:
    with pytest.raises(LabelError):
        validate_tags(tags)


def test_metadata_is_flat_json() -> None:
    metadata = {"order": "A-1", "total": 12.5, "vip": True, "note": None}
    assert validate_metadata(metadata) == metadata


@pytest.mark.parametrize(
    "metadata",
    [
        {"a": {"b": 1}},
        {"a": [1]},
        {"a": "x" * 5_000},
        {str(number): 1 for number in range(51)},
        {"a": "\x00"},
        {"\x00": "a"},
        {"a": "\ud800"},
        {"a": float("nan")},
    ],
)
def test_metadata_out_of_bounds_is_refused(metadata: dict[str, Any]) -> None:
    with pytest.raises(LabelError) as caught:
        validate_metadata(metadata)
    assert caught.value.field == "metadata"


def test_data_may_be_nested_but_not_without_end() -> None:
    nested: dict[str, Any] = {"a": [{"b": ["c"]}]}
    assert validate_data(nested) == nested
    for _ in range(100):
        nested = {"a": nested}
    with pytest.raises(LabelError):
        validate_data(nested)


@pytest.mark.parametrize("data", [{"a": "x" * 70_000}, {"a": ["\x00"]}, {"a": [float("inf")]}])
def test_data_out_of_bounds_is_refused(data: dict[str, Any]) -> None:
    with pytest.raises(LabelError):
        validate_data(data)
