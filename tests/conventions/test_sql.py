"""SQL is the store's, time is waypost_now()'s, and migrations go one after the other without holding anybody up."""

from __future__ import annotations

import ast
import re

from alembic.script import ScriptDirectory

from tests.conventions.sources import HOME, PRODUCT, Module, modules
from waypost.store.migrate import config

STATEMENT = re.compile(
    r"^\s*(SELECT|INSERT INTO|UPDATE|DELETE FROM|WITH (RECURSIVE )?\w+ AS|LISTEN|NOTIFY|SET LOCAL|CREATE|ALTER|GRANT)\b"
)

OTHER_CLOCKS = re.compile(
    r"(?<!waypost_)\bnow\(\)|\bcurrent_(timestamp|date|time)\b|\blocaltime|\b(clock|statement|transaction)_timestamp\b",
    re.I,
)

MIGRATIONS = sorted((HOME / "migrations" / "sql").glob("*.sql"))


def test_only_the_store_holds_sql() -> None:
    for module in modules(*PRODUCT, "waypost/cli"):
        if not module.place.startswith("waypost/store/"):
            assert not {(module.place, text) for _, text in module.strings() if STATEMENT.match(text)}


def test_no_statement_asks_another_clock_than_waypost_now() -> None:
    for module in modules(*PRODUCT):
        for line, text in module.strings():
            assert not OTHER_CLOCKS.search(text), f"{module.place}:{line}: a simulation could not move this clock"
        assert "func.now" not in module.text, module.place


def test_migrations_ask_another_clock_only_to_define_waypost_now() -> None:
    for path in MIGRATIONS:
        text = re.sub(r"--.*", "", path.read_text(encoding="utf-8"))
        defining = re.search(r"CREATE (OR REPLACE )?FUNCTION waypost_now\(\).*?;", text, re.S)
        rest = text.replace(defining[0], "") if defining else text
        assert not OTHER_CLOCKS.search(rest), path.name


def test_the_store_never_commits_but_in_its_unit_of_work() -> None:
    for module in modules("waypost/store"):
        commits = [node for node in ast.walk(module.tree) if _calls(node, "commit")]
        if commits:
            assert module.place in {"waypost/store/database.py", "waypost/store/migrate.py"}, module.place


def test_migrations_are_one_line_of_numbered_steps() -> None:
    steps = list(ScriptDirectory.from_config(config()).walk_revisions())[::-1]
    assert [step.revision for step in steps] == [f"{number:04}" for number in range(1, len(steps) + 1)]
    assert [step.down_revision for step in steps] == [None, *(step.revision for step in steps[:-1])]
    files = [module for module in modules("migrations/versions") if not module.place.endswith("__init__.py")]
    assert [module.path.name[:4] for module in files] == [step.revision for step in steps]
    assert {path.name[:4] for path in MIGRATIONS} <= {step.revision for step in steps}


def test_no_migration_waits_long_for_a_lock() -> None:
    for module in modules("migrations/versions"):
        upgrade = _function(module, "upgrade")
        if upgrade is not None:
            texts = [node.value for node in ast.walk(upgrade) if isinstance(node, ast.Constant)]
            first = next(text for text in texts if isinstance(text, str) and text != _doc(upgrade))
            assert re.fullmatch(r"SET LOCAL lock_timeout = '[1-5]s'", first), module.place


def _function(module: Module, name: str) -> ast.FunctionDef | None:
    found = [node for node in module.tree.body if isinstance(node, ast.FunctionDef) and node.name == name]
    return found[0] if found else None


def _doc(node: ast.FunctionDef) -> str | None:
    return ast.get_docstring(node, clean=False)


def _calls(node: ast.AST, method: str) -> bool:
    return isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == method
