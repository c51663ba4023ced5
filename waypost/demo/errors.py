"""What can end a demo early."""


class DemoError(Exception):
    """Root. The text tells the person at the terminal what to do."""


class RefusedError(DemoError):
    """The API answered something that the demo has no use for."""

    def __init__(self, *, method: str, path: str, status: int, code: str, detail: str) -> None:
        super().__init__(f"{method} {path} was answered {status} {code}: {detail}".rstrip(": "))
        self.status = status
        self.code = code


class SilentError(DemoError):
    """The API did not answer, or not in time."""


class ExamplesError(DemoError):
    """A file of the examples is missing or broken."""
