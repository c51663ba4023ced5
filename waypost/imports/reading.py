"""From bytes to rows, a piece at a time, with the place in the file where each row ends.

Whatever pieces the bytes come in, the rows are the same: an import that was cut off anywhere goes on as if it had not
been. Memory is bounded by the longest row.
"""

import csv
from collections.abc import Generator, Iterator
from io import BytesIO
from typing import Any, NamedTuple

MAX_ROW_BYTES = 65_536
BOM = b"\xef\xbb\xbf"

TOO_LONG = "A quote is opened and not closed, or the row has more than 65,536 bytes; its first line was left out."
QUOTING = "The quoting is wrong: a quoted cell ends with a quote, and a quote inside of it is written twice."
NOT_TEXT = "The row is not UTF-8, or holds the character U+0000."
_OPEN = "unexpected end of data"
"""What the csv module says where the data ends inside quotes."""


class Row(NamedTuple):
    """A row, counted as a spreadsheet does: the header is row 1. `end` is where the next one begins, in bytes."""

    number: int
    end: int
    cells: list[str]
    problem: str | None


class RowReader:
    """Gives the rows of what was fed to it, as soon as they are whole. `offset`: of the first byte, in the file."""

    def __init__(self, *, delimiter: str, offset: int, number: int) -> None:
        self._delimiter = delimiter
        self._offset = offset
        self._number = number
        self._buffer = b""
        self._leaving_out = False
        """The buffer begins with a line that no row can be made of."""

    def feed(self, data: bytes) -> None:
        """The next bytes of the file."""
        self._buffer += data

    def rows(self, *, final: bool = False) -> Iterator[Row]:
        """Every row that is whole; `final`: nothing comes after what was fed. To be read to its end."""
        while True:
            if self._leaving_out:
                row = self._leave_out_line(final)
                if row is None:
                    return
                yield row
            self._leaving_out = yield from self._read(final)
            if not self._leaving_out:
                return

    def _read(self, final: bool) -> Generator[Row, None, bool]:
        """Rows up to the end, or to a row that is none: whether there is one."""
        size = len(self._buffer) if final else self._buffer.rfind(b"\n") + 1
        lines = _Lines(self._buffer[:size])
        reader = csv.reader(lines, delimiter=self._delimiter, strict=True)
        start = 0
        try:
            while start < size:
                lines.mangled = False
                cells, problem = _next(reader)
                if problem == _OPEN:
                    return final or len(self._buffer) - start > MAX_ROW_BYTES
                if lines.consumed - start > MAX_ROW_BYTES:
                    return True
                start = lines.consumed
                yield self._row(self._offset + start, cells, NOT_TEXT if lines.mangled else problem)
            return len(self._buffer) - start > MAX_ROW_BYTES
        finally:
            self._drop(start)

    def _leave_out_line(self, final: bool) -> Row | None:
        end = self._buffer.find(b"\n") + 1
        if not end and not final:
            self._drop(len(self._buffer))
            return None
        self._drop(end or len(self._buffer))
        return self._row(self._offset, [], TOO_LONG)

    def _drop(self, size: int) -> None:
        self._buffer = self._buffer[size:]
        self._offset += size

    def _row(self, end: int, cells: list[str], problem: str | None) -> Row:
        row = Row(self._number, end, cells, problem)
        self._number += 1
        return row


class _Lines:
    """Lines as text; how many bytes were handed out, and whether one of them was no text."""

    def __init__(self, block: bytes) -> None:
        self._lines = BytesIO(block)
        self.consumed = 0
        self.mangled = False

    def __iter__(self) -> "_Lines":
        return self

    def __next__(self) -> str:
        line = next(self._lines)
        self.consumed += len(line)
        if b"\0" in line:
            self.mangled = True
        try:
            return line.decode()
        except UnicodeDecodeError:
            self.mangled = True
            return line.decode("utf-8", "replace")


def _next(reader: Any) -> tuple[list[str], str | None]:
    try:
        return next(reader), None
    except csv.Error as error:
        return [], _OPEN if str(error) == _OPEN else QUOTING
