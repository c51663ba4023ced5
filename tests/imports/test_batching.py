"""Whatever pieces a file comes in, and wherever reading it is taken up again, its rows are the same."""

from __future__ import annotations

import csv
import io
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from waypost.imports import batching
from waypost.imports.batching import Batch, CsvIntake
from waypost.imports.errors import FileError
from waypost.imports.judging import GivenContact, Refusal
from waypost.imports.options import Delimiter, IdFrom, ImportOptions
from waypost.imports.reading import MAX_ROW_BYTES, NOT_TEXT, QUOTING, TOO_LONG, RowReader

HEADER = b"external_id,email,note\n"
LINES = st.sampled_from(
    [
        b"a,a@example.com,x\n",
        b'b,,"two\nlines"\r\n',
        b'c,,"quo""ted"\n',
        b'd,,"open\n',
        b"e,,\xff\n",
        b"\n",
        b"f,,g",
        b',"\n',
    ]
)


def read(data: bytes, pieces: list[int], *, resume: bool = False, options: ImportOptions | None = None) -> list[Any]:
    """Contacts merged over all batches, and refusals: what would be in the tables."""
    options = options or ImportOptions()
    intake, begins, rows = CsvIntake(options), 0, 0
    contacts: dict[str, GivenContact] = {}
    refusals: list[Refusal] = []
    cuts = sorted({min(cut, len(data)) for cut in pieces} | {len(data)})
    sent = 0
    for cut in cuts:
        taken: list[Batch] = intake.take(data[sent:cut], final=cut == len(data))
        sent = cut
        for batch in taken:
            assert batch.rows == len(batch.contacts) + batch.repeats + len(batch.refusals) + batch.blank
            begins, rows = batch.end, rows + batch.rows
            refusals += batch.refusals
            for one in batch.contacts:
                earlier = contacts.get(one.external_id)
                contacts[one.external_id] = earlier.then(one) if earlier else one
        if resume and taken:
            intake = CsvIntake(options, offset=begins, rows=rows, layout=taken[-1].layout)
            sent = begins
    assert begins == len(data)
    return [contacts, refusals, rows]


@settings(max_examples=300, deadline=None)
@given(lines=st.lists(LINES, max_size=12), pieces=st.lists(st.integers(0, 200), max_size=6), resume=st.booleans())
def test_pieces_and_resuming_change_nothing(lines: list[bytes], pieces: list[int], resume: bool) -> None:
    data = HEADER + b"".join(lines)
    assert read(data, pieces, resume=resume) == read(data, [])


@settings(max_examples=100, deadline=None)
@given(st.lists(st.lists(st.text('ab,"\n\r;ä ', max_size=6), min_size=3, max_size=3), max_size=8), st.integers(0, 99))
def test_what_the_csv_module_wrote_is_read_back(rows: list[list[str]], cut: int) -> None:
    text = io.StringIO(newline="")
    csv.writer(text).writerows(rows)
    data = text.getvalue().encode()
    reader = RowReader(delimiter=",", offset=0, number=1)
    found = []
    for piece, final in ((data[:cut], False), (data[cut:], True)):
        reader.feed(piece)
        found += list(reader.rows(final=final))
    assert [row.cells for row in found] == rows
    assert [row.number for row in found] == list(range(1, len(rows) + 1))


def test_a_quote_that_is_never_closed_costs_its_line_alone() -> None:
    rest = b"".join(b"r%d,,x\n" % number for number in range(20_000))
    data = HEADER + b'bad,,"open\n' + rest
    for pieces in ([], [50, 70_000, 100_000], list(range(0, len(data), 3_001))):
        contacts, refusals, rows = read(data, pieces)
        assert [(one.number, one.message) for one in refusals] == [(2, TOO_LONG)]
        assert len(contacts) == rows - 1 == 20_000


def test_a_line_without_an_end_is_passed_over_in_bounded_memory() -> None:
    reader = RowReader(delimiter=",", offset=0, number=2)
    for _ in range(40):
        reader.feed(b"x" * 10_000)
        assert list(reader.rows()) == []
        assert len(reader._buffer) <= MAX_ROW_BYTES + 10_000
    reader.feed(b"\na,b\n")
    assert [(row.number, row.problem, row.end) for row in reader.rows()] == [(2, TOO_LONG, 400_001), (3, None, 400_005)]


def test_bad_bytes_and_bad_quotes_are_the_row_s_own_fault() -> None:
    data = HEADER + b'a,,"x"y\n' + b"b,,\xc3\n" + b"c,,\0\n" + b"d,,fine\n"
    contacts, refusals, _ = read(data, [])
    assert [(one.number, one.message) for one in refusals] == [(2, QUOTING), (3, NOT_TEXT), (4, NOT_TEXT)]
    assert list(contacts) == ["d"]


def test_a_row_of_many_mistakes_names_them_all_and_no_cell() -> None:
    data = b"external_id,email,phone,consent.sms,attributes.n\n?!,secret,secret,secret,secret\n"
    options = ImportOptions(columns=(("attributes.n", "attributes.n:number"),))
    _, (refusal,), _ = read(data, [], options=options)
    assert refusal.field == "email, phone, external_id, consent.sms, attributes.n"
    assert "secret" not in refusal.message


def test_batches_have_a_bound_however_short_the_rows_are() -> None:
    data = b"external_id\n" + b"a\n" * (batching.BATCH_ROWS * 2 + 1)
    taken = CsvIntake(ImportOptions()).take(data, final=True)
    assert [batch.rows for batch in taken] == [batching.BATCH_ROWS, batching.BATCH_ROWS, 1]


def test_types_are_given_to_what_can_be_nothing_else() -> None:
    data = b"external_id,a,b,c,d,e,f\n1,12,-3.5,TRUE,007,+43,2026-11-24\n"
    contacts, _, _ = read(data, [], options=ImportOptions(types=True))
    assert contacts["1"].attributes == {"a": 12, "b": -3.5, "c": True, "d": "007", "e": "+43", "f": "2026-11-24"}
    contacts, _, _ = read(data, [])
    assert contacts["1"].attributes["a"] == "12"


def test_the_delimiter_is_found_or_given() -> None:
    for delimiter, character in ((Delimiter.AUTO, ";"), (Delimiter.AUTO, "\t"), (Delimiter.SEMICOLON, ";")):
        data = character.join(["external_id", "note"]) + "\n" + character.join(["a", "x,y"]) + "\n"
        contacts, _, _ = read(data.encode(), [], options=ImportOptions(delimiter=delimiter))
        assert contacts["a"].attributes == {"note": "x,y"}


def test_the_email_address_is_the_id_in_one_spelling() -> None:
    data = b"Email,note\nAnn@Example.com,1\nann@example.com,2\n,3\n"
    contacts, refusals, _ = read(data, [], options=ImportOptions(id_from=IdFrom.EMAIL))
    assert list(contacts) == ["ann@example.com"]
    assert contacts["ann@example.com"].attributes == {"note": "2"}
    assert [one.field for one in refusals] == ["email"]


@pytest.mark.parametrize(
    ("header", "options"),
    [
        (b"external_id," + b"," * 600, ImportOptions()),
        (b"external_id,a\0b", ImportOptions()),
        (b"external_id,a,a", ImportOptions()),
        (b"external_id,a", ImportOptions(columns=(("a", "nonsense"),))),
        (b"external_id,email", ImportOptions(id_from=IdFrom.EMAIL)),
        (b'"external_id', ImportOptions()),
        (b"x" * 70_000, ImportOptions()),
    ],
)
def test_a_header_that_cannot_be_used_is_the_file_s_fault(header: bytes, options: ImportOptions) -> None:
    with pytest.raises(FileError):
        CsvIntake(options).take(header + b"\n", final=True)
