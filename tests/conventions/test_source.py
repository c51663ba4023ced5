"""The house style where a machine can see it."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator

import pytest

from tests.conventions.sources import EVERYTHING, PRODUCT, Module, modules

MAX_LINES = 400
MAX_FUNCTION_LINES = 50

NAMES_THAT_SAY_NOTHING = {"common", "helper", "helpers", "manager", "managers", "misc", "util", "utils"}

SUPPRESSION = re.compile(r"# (type: ignore(\[[a-z, -]+\])?|noqa(: [A-Z]+[0-9]+(, ?[A-Z]+[0-9]+)*)?)(?P<reason>.*)$")

Function = ast.FunctionDef | ast.AsyncFunctionDef


def test_no_file_is_longer_than_400_lines() -> None:
    lengths = {module.place: len(module.text.splitlines()) for module in modules(*EVERYTHING)}
    assert not {place: lines for place, lines in lengths.items() if lines > MAX_LINES}, "two files, please"


def test_no_function_is_longer_than_fifty_lines() -> None:
    lengths = {
        f"{module.place}:{node.name}": (node.end_lineno or 0) - node.lineno + 1
        for module in modules(*EVERYTHING)
        for node in ast.walk(module.tree)
        if isinstance(node, Function)
    }
    assert not {place: lines for place, lines in lengths.items() if lines > MAX_FUNCTION_LINES}


def test_no_module_is_called_by_a_name_that_says_nothing() -> None:
    for module in modules(*EVERYTHING):
        assert not NAMES_THAT_SAY_NOTHING & set(module.place.removesuffix(".py").split("/")), module.place


def test_what_is_public_in_the_product_says_what_it_is() -> None:
    silent = [f"{module.place}: {name}" for module in modules(*PRODUCT) for name in _silent(module)]
    assert not silent, "public modules, classes and functions have a docstring"


def test_every_module_says_what_it_is() -> None:
    silent = [each.place for each in modules(*EVERYTHING) if each.text.strip() and not ast.get_docstring(each.tree)]
    assert not [place for place in silent if not place.startswith("tests/")]


def test_every_suppression_of_a_check_says_why() -> None:
    for module in modules(*EVERYTHING):
        for number, line in enumerate(module.text.splitlines(), 1):
            found = SUPPRESSION.search(line)
            assert found is None or re.search(r"\w", found["reason"]), f"{module.place}:{number} gives no reason"


def test_names_of_tests_are_sentences() -> None:
    for module in modules("tests"):
        for node in module.tree.body:
            if isinstance(node, Function) and node.name.startswith("test_"):
                assert node.name.count("_") >= 2, f"{module.place}: {node.name}"


@pytest.mark.parametrize("name", ["a.utils.py", "helpers/b.py"])
def test_the_names_are_looked_for_in_folders_and_files(name: str) -> None:
    parts = name.removesuffix(".py").replace(".", "/").split("/")
    assert NAMES_THAT_SAY_NOTHING & set(parts)


def _silent(module: Module) -> Iterator[str]:
    yield from _without_docstring(module.tree.body, "")


def _without_docstring(body: list[ast.stmt], prefix: str) -> Iterator[str]:
    for node in body:
        if not isinstance(node, ast.ClassDef | Function) or node.name.startswith("_"):
            continue
        if not ast.get_docstring(node) and not _is_stub(node):
            yield f"{prefix}{node.name}"
        if isinstance(node, ast.ClassDef):
            yield from _without_docstring(node.body, f"{prefix}{node.name}.")


def _is_stub(node: ast.stmt) -> bool:
    """An overload, or a Protocol's `...`."""
    body = getattr(node, "body", [])
    return len(body) == 1 and isinstance(body[0], ast.Expr) and getattr(body[0].value, "value", None) is ...
