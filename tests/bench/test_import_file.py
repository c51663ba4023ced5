"""The bench's file is what its checks say of it, by the very code that imports it."""

from __future__ import annotations

from pathlib import Path

from waypost.bench import import_file
from waypost.imports.batching import CsvIntake
from waypost.imports.options import ImportOptions

ROWS = 3_000


def test_rows_are_wrong_and_repeated_as_often_as_announced(tmp_path: Path) -> None:
    file = tmp_path / "contacts.csv"
    import_file.write_file(file, ROWS)
    batches = CsvIntake(ImportOptions()).take(file.read_bytes(), final=True)
    named = [one.external_id for batch in batches for one in batch.contacts]
    repeats = sum(batch.repeats for batch in batches) + len(named) - len(set(named))
    assert sum(batch.rows for batch in batches) == ROWS
    assert sum(len(batch.refusals) for batch in batches) == import_file.wrong(ROWS) == 3
    assert repeats == import_file.repeated(ROWS) == 15
