"""The templates of examples/templates as `PUT /v1/templates/{key}` takes them."""

import json
from pathlib import Path
from typing import Any

import waypost
from waypost.demo.errors import ExamplesError

FOLDER = Path(waypost.__file__).parent.parent / "examples" / "templates"
RECEIPT, LOGIN_CODE, PARCEL, NEWSLETTER = "receipt", "login-code", "parcel", "newsletter"
CLUB = ("club-welcome", "club-welcome-sms", "club-thanks", "club-thanks-sms", "club-nudge")
"""Of the journey."""


def load(key: str, folder: Path = FOLDER) -> dict[str, Any]:
    """`{key}.json`; as with curl, a value `@name` is the text of that file beside it. Raises `ExamplesError`."""
    try:
        return dict(_with_files(json.loads((folder / f"{key}.json").read_text()), folder))
    except (OSError, ValueError) as error:
        raise ExamplesError(
            f"The template {key} can't be read from {folder} ({type(error).__name__}): run the demo from a clone."
        ) from error


def _with_files(value: Any, folder: Path) -> Any:
    if isinstance(value, dict):
        return {name: _with_files(each, folder) for name, each in value.items()}
    if isinstance(value, str) and value.startswith("@"):
        return (folder / value[1:]).read_text()
    return value
