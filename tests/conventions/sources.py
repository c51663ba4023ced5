"""The repository's source as syntax trees, for tests of conventions."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

HOME = Path(__file__).resolve().parents[2]

PRODUCT = (
    "activities",
    "api",
    "workflows",
    "worker.py",
    "waypost/logs.py",
    "waypost/messaging",
    "waypost/providers",
    "waypost/relay",
    "waypost/serving.py",
    "waypost/settings.py",
    "waypost/store",
    "waypost/temporal",
)
"""What runs in production; the command, the local stack and the tools for proof are beside it."""

EVERYTHING = ("activities", "api", "migrations", "waypost", "workflows", "worker.py", "tests")


@dataclass(frozen=True, kw_only=True)
class Module:
    """One file."""

    path: Path
    text: str
    tree: ast.Module

    @property
    def place(self) -> str:
        """Its path in the repository."""
        return self.path.relative_to(HOME).as_posix()

    def strings(self) -> Iterator[tuple[int, str]]:
        """The text of every string that is no docstring, with its line; of an f-string, its constant parts."""
        documentation = {id(node) for node in self._docstrings()}
        for node in ast.walk(self.tree):
            if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in documentation:
                yield node.lineno, node.value

    def imports(self) -> set[str]:
        """What it imports: `a.b` for `import a.b`, and both `a` and `a.b` for `from a import b`."""
        found: set[str] = set()
        for node in ast.walk(self.tree):
            if isinstance(node, ast.Import):
                found.update(alias.name for alias in node.names)
            elif isinstance(node, ast.ImportFrom) and node.module:
                found.add(node.module)
                found.update(f"{node.module}.{alias.name}" for alias in node.names)
        return found

    def _docstrings(self) -> Iterator[ast.expr]:
        """Strings that stand by themselves: of a module, class or function, and after an attribute."""
        for node in ast.walk(self.tree):
            if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
                yield node.value


@cache
def modules(*places: str) -> tuple[Module, ...]:
    """The modules of these files and folders."""
    return tuple(_read(path) for place in places for path in _paths(HOME / place))


def _paths(place: Path) -> list[Path]:
    return [place] if place.is_file() else sorted(place.rglob("*.py"))


@cache
def _read(path: Path) -> Module:
    text = path.read_text(encoding="utf-8")
    return Module(path=path, text=text, tree=ast.parse(text))
