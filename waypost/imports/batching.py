"""From bytes to batches: what is committed together, and where in the file it ends."""

from collections.abc import Iterator
from dataclasses import dataclass

from waypost.imports.errors import FileError
from waypost.imports.judging import GivenContact, Judge, Refusal
from waypost.imports.layout import Layout, lay_out
from waypost.imports.options import ImportOptions
from waypost.imports.reading import BOM, MAX_ROW_BYTES, Row, RowReader

BATCH_ROWS = 2_000

_ANOTHER_ENCODING = (b"\xff\xfe", b"\xfe\xff")


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """Rows of a file that go in together. `rows = contacts + repeats + refusals + blank`."""

    layout: Layout
    end: int
    """The byte of the file at which the next batch begins."""
    rows: int = 0
    blank: int = 0
    repeats: int = 0
    """Rows that a later one of the batch was merged into."""
    contacts: tuple[GivenContact, ...] = ()
    refusals: tuple[Refusal, ...] = ()


class CsvIntake:
    """A file, or what is left of it. `rows`: how many were read before, without the header."""

    def __init__(self, options: ImportOptions, *, offset: int = 0, rows: int = 0, layout: Layout | None = None) -> None:
        self._options = options
        self._layout = layout
        self._head = b""
        if layout is not None:
            self._begin(layout, offset=offset, number=rows + 2)

    def take(self, data: bytes, *, final: bool = False) -> list[Batch]:
        """The batches that `data` completes; the last one may be small. Raises `FileError`."""
        header_end = None
        if self._layout is None:
            self._head += data
            header_end = self._read_header(final)
            if header_end is None:
                return []
        else:
            self._reader.feed(data)
        batches = list(self._batches(final))
        if not batches and header_end is not None:
            batches = [Batch(layout=self._known_layout, end=header_end)]
        return batches

    @property
    def _known_layout(self) -> Layout:
        assert self._layout is not None
        return self._layout

    def _begin(self, layout: Layout, *, offset: int, number: int) -> None:
        self._layout = layout
        self._judge = Judge(layout, self._options.id_from)
        self._reader = RowReader(delimiter=layout.delimiter, offset=offset, number=number)

    def _read_header(self, final: bool) -> int | None:
        """Where the header ends, once it is whole."""
        if self._head.startswith(_ANOTHER_ENCODING):
            raise FileError("The file is UTF-16: save it as CSV in UTF-8.", field="header")
        skipped = len(BOM) if self._head.startswith(BOM) else 0
        line = self._head[skipped:].partition(b"\n")[0].decode("utf-8", "replace")
        delimiter = self._options.delimiter.character(line)
        reader = RowReader(delimiter=delimiter, offset=skipped, number=1)
        reader.feed(self._head[skipped:])
        header = next(reader.rows(final=final), None)
        if header is None:
            if final or len(self._head) > MAX_ROW_BYTES + len(BOM):
                raise FileError("The file has no header: its first row names the columns.", field="header")
            return None
        if header.problem is not None:
            raise FileError(f"The header cannot be read. {header.problem}", field="header")
        self._begin(lay_out(header.cells, delimiter=delimiter, options=self._options), offset=header.end, number=2)
        self._reader.feed(self._head[header.end :])
        self._head = b""
        return header.end

    def _batches(self, final: bool) -> Iterator[Batch]:
        rows: list[Row] = []
        for row in self._reader.rows(final=final):
            rows.append(row)
            if len(rows) == BATCH_ROWS:
                yield self._batch(rows)
                rows = []
        if rows:
            yield self._batch(rows)

    def _batch(self, rows: list[Row]) -> Batch:
        contacts: dict[str, GivenContact] = {}
        refusals: list[Refusal] = []
        blank = repeats = 0
        for number, _, cells, problem in rows:
            if problem is not None:
                refusals.append(Refusal(number=number, field=None, message=problem))
                continue
            if not any(cells):
                blank += 1
                continue
            given = self._judge.judge(number, cells)
            if isinstance(given, Refusal):
                refusals.append(given)
                continue
            earlier = contacts.get(given.external_id)
            repeats += earlier is not None
            contacts[given.external_id] = earlier.then(given) if earlier is not None else given
        return Batch(
            layout=self._known_layout,
            end=rows[-1].end,
            rows=len(rows),
            blank=blank,
            repeats=repeats,
            contacts=tuple(contacts.values()),
            refusals=tuple(refusals),
        )
