"""What can be wrong with an import as a whole, drawn as a tree.

    ImportsError
    └── FileError    the file, its header or the mapping of its columns: no row of it can be taken

What is wrong with one row is no exception but a `Refusal`. Messages are our own sentences and never repeat a cell.
"""


class ImportsError(Exception):
    """The import cannot go on. `field` is where to look: `header`, `map`, `id`."""

    def __init__(self, message: str, *, field: str) -> None:
        super().__init__(message)
        self.message = message
        self.field = field


class FileError(ImportsError):
    """The file's header cannot be used."""
