"""Sends a file of contacts to the API: from where the server says that it stands, a part at a time."""

from __future__ import annotations

import csv
import hashlib
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from waypost.imports.options import ImportOptions
from waypost.imports.reading import BOM, RowReader

PART = 4 * 1024 * 1024
"""Bytes a request: some seconds of the server's work, so that no proxy in between loses its patience."""
PATIENCE_S = 60.0
_READ = 65_536
_PAUSE_S = 0.5
_PASSING = frozenset({429, 502, 503, 504})

Shown = Mapping[str, Any]
Told = Callable[[Shown], None]


class ImportRefusedError(Exception):
    """The API does not take the import; the text says why and what to do."""


class ImportSilentError(Exception):
    """The API did not answer, or the import did not go on, for a minute."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LocalFile:
    """A file and its identity."""

    path: Path
    sha256: str
    size: int

    @classmethod
    def of(cls, path: Path) -> LocalFile:
        """Read once, to be known. Raises OSError."""
        digest = hashlib.sha256()
        size = 0
        with path.open("rb") as file:
            while data := file.read(1024 * 1024):
                digest.update(data)
                size += len(data)
        return cls(path=path, sha256=digest.hexdigest(), size=size)

    def part(self, offset: int, length: int) -> Iterator[bytes]:
        """Its bytes from `offset` on, never many at a time."""
        with self.path.open("rb") as file:
            file.seek(offset)
            while length > 0 and (data := file.read(min(_READ, length))):
                length -= len(data)
                yield data


class ImportClient:
    """A tenant's key and one file. Methods raise `ImportRefusedError` and `ImportSilentError`."""

    def __init__(self, http: httpx.Client, file: LocalFile, options: ImportOptions, *, part: int = PART) -> None:
        self._http = http
        self._file = file
        self._part = part
        self._query: list[tuple[str, str]] = [
            ("sha256", file.sha256),
            ("size", str(file.size)),
            ("file_name", file.path.name[:255]),
            *_parameters(options),
        ]

    def run(self, told: Told) -> Shown:
        """Send what is missing; the import at its end. `told` hears after each part."""
        part, furthest, deadline = self._part, -1, time.monotonic() + PATIENCE_S
        shown: Shown | None = None
        while shown is None or shown["state"] == "running":
            begin = shown["byte_offset"] if shown else 0
            found = self._send(begin, part if shown else 0)
            if found is None:
                if time.monotonic() > deadline:
                    raise ImportSilentError("The import did not go on for a minute; the same command again goes on.")
                shown = None  # whoever was away may have put in what it did not say
                time.sleep(_PAUSE_S)
                continue
            if shown and found["byte_offset"] == begin:
                part = self._file.size  # a line that is longer than a part
            if found["byte_offset"] > furthest:
                furthest, deadline = found["byte_offset"], time.monotonic() + PATIENCE_S
            shown = found
            told(shown)
        return shown

    def errors(self, import_id: str) -> Iterator[tuple[int, str, str]]:
        """Row, field and message of what was refused."""
        path = f"/v1/imports/{import_id}/errors"
        with self._http.stream("GET", path) as answer:
            if not answer.is_success:
                answer.read()
                raise _refused(answer)
            rows = csv.reader(line + "\n" for line in answer.iter_lines())
            next(rows, None)
            for row, field, message in rows:
                yield int(row), field, message

    def _send(self, offset: int, length: int) -> Shown | None:
        """One part; None where it is worth to try again."""
        length = min(length, self._file.size - offset)
        try:
            answer = self._http.post(
                "/v1/imports",
                params=[*self._query, ("offset", str(offset))],
                content=self._file.part(offset, length),
                headers={"content-type": "text/csv", "content-length": str(length)},
            )
        except httpx.TransportError:
            return None
        if answer.status_code in _PASSING or _moved(answer):
            return None
        if not answer.is_success:
            raise _refused(answer)
        shown: Shown = answer.json()
        return shown


def refused_rows(
    file: LocalFile, options: ImportOptions, errors: Iterator[tuple[int, str, str]]
) -> Iterator[tuple[int, str, str, str]]:
    """Each error with its row as it stands in the file: the server keeps no rows."""
    rows = _rows(file, options)
    for number, field, message in errors:
        found = next((text for at, text in rows if at == number), "")
        yield number, field, message, found


def _rows(file: LocalFile, options: ImportOptions) -> Iterator[tuple[int, str]]:
    head = next(file.part(0, _READ), b"")
    begin = len(BOM) if head.startswith(BOM) else 0
    delimiter = options.delimiter.character(head[begin:].partition(b"\n")[0].decode("utf-8", "replace"))
    reader = RowReader(delimiter=delimiter, offset=begin, number=1)
    sent = begin
    with file.path.open("rb") as text:
        for data in file.part(begin, file.size - begin):
            reader.feed(data)
            sent += len(data)
            for row in reader.rows(final=sent == file.size):
                text.seek(begin)
                yield row.number, text.read(row.end - begin).decode("utf-8", "replace").rstrip("\r\n")
                begin = row.end


def _parameters(options: ImportOptions) -> Iterator[tuple[str, str]]:
    yield from (("map", f"{column}={field}") for column, field in options.columns)
    yield "id", options.id_from.value
    yield "delimiter", options.delimiter.value
    yield "types", str(options.types).lower()
    yield "dry_run", str(options.dry_run).lower()
    if options.list_key is not None:
        yield "list", options.list_key
    if options.label is not None:
        yield "label", options.label


def _moved(answer: httpx.Response) -> bool:
    return answer.status_code == 409 and answer.json().get("code") == "import_offset"


def _refused(answer: httpx.Response) -> ImportRefusedError:
    problem = answer.json() if "json" in answer.headers.get("content-type", "") else {}
    return ImportRefusedError(f"{answer.status_code} {problem.get('code', '')}: {problem.get('detail', 'no reason')}")
