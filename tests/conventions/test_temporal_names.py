"""Names that Temporal keeps are made in one module, and what is written is registered."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator

from tests.conventions.sources import PRODUCT, Module, modules
from waypost.stack.temporal import SEARCH_ATTRIBUTES

HOME_OF_NAMES = "workflows/names.py"

ID_OR_QUEUE = re.compile(r"^(message|campaign|journey|tenant)[/-]$|^(tenant-|pool-)|/(fast|bulk)$")
"""How the ids and queues of workflows/names.py begin or end."""

DEMANDED = {"id", "task_queue", "workflow_id"}
"""Arguments of Temporal's client and workers that are such names."""


def test_ids_and_queues_are_made_in_one_module() -> None:
    for module in modules(*PRODUCT):
        if module.place != HOME_OF_NAMES:
            for line, text in module.strings():
                assert not ID_OR_QUEUE.search(text), f"{module.place}:{line} makes a name; see {HOME_OF_NAMES}"


def test_temporal_is_never_given_a_name_made_on_the_spot() -> None:
    for module in modules(*PRODUCT, "waypost/cli"):
        for call in _calls(module, {"start_workflow", "execute_workflow", "get_workflow_handle", "Worker"}):
            given = [keyword.value for keyword in call.keywords if keyword.arg in DEMANDED] + call.args[:1]
            assert not [node for node in given if isinstance(node, ast.Constant | ast.JoinedStr)], module.place


def test_search_attributes_are_named_in_one_module_and_by_the_stack() -> None:
    for module in modules(*PRODUCT):
        if module.place != HOME_OF_NAMES:
            assert not {text for _, text in module.strings()} & set(SEARCH_ATTRIBUTES), module.place


def test_every_workflow_and_activity_is_registered_by_the_worker() -> None:
    worker = next(iter(modules("worker.py")))
    (call,) = _calls(worker, {"QueueWorkers"})
    given = {keyword.arg: keyword.value for keyword in call.keywords}
    registered = {kind: {_last(item) for item in _items(given[kind])} for kind in ("workflows", "activities")}
    assert registered["workflows"] == set(_workflows())
    assert registered["activities"] == set(_activities())


def test_every_activity_s_name_is_explicit_and_comes_from_its_contract() -> None:
    for module in modules("activities"):
        for _, decorator in _decorated(module, "activity.defn"):
            assert isinstance(decorator, ast.Call), f"{module.place}: @activity.defn without a name"
            (name,) = decorator.keywords
            assert name.arg == "name"
            assert isinstance(name.value, ast.Name), f"{module.place}: the name is a constant of the contract"


def test_the_worker_imports_no_tool_of_proof() -> None:
    worker = next(iter(modules("worker.py")))
    assert not [
        name for name in worker.imports() if name.startswith(("waypost.simulators", "waypost.drills", "waypost.bench"))
    ]


def _workflows() -> Iterator[str]:
    for module in modules("workflows"):
        for node in ast.walk(module.tree):
            if isinstance(node, ast.ClassDef) and any(
                "workflow.defn" in ast.unparse(each) for each in node.decorator_list
            ):
                yield node.name


def _activities() -> Iterator[str]:
    for module in modules("activities"):
        if not module.place.startswith("activities/contracts/"):
            for function, _ in _decorated(module, "activity.defn"):
                yield function.name


def _decorated(module: Module, by: str) -> Iterator[tuple[ast.FunctionDef | ast.AsyncFunctionDef, ast.expr]]:
    for node in ast.walk(module.tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            for decorator in node.decorator_list:
                if ast.unparse(decorator).startswith(by):
                    yield node, decorator


def _calls(module: Module, names: set[str]) -> list[ast.Call]:
    return [node for node in ast.walk(module.tree) if isinstance(node, ast.Call) and _last(node.func) in names]


def _last(node: ast.expr) -> str:
    return ast.unparse(node).rsplit(".", 1)[-1]


def _items(node: ast.expr) -> list[ast.expr]:
    assert isinstance(node, ast.List | ast.Tuple), "registered by a literal list, so that this test can read it"
    return node.elts
