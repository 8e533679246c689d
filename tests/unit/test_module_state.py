"""No module holds what changes while pcn runs: what is kept of work has an owner, with which it goes (reconciler.incremental)."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
ROOMS = ("reconciler", "cubes", "providers")
ALLOWED = {
    "reconciler/incremental": "the one place for it: its functions give each owner its own",
}
CHANGING = {
    "add", "append", "appendleft", "clear", "discard", "each", "extend", "extendleft", "holds", "insert", "move_to_end", "pop",
    "popitem", "popleft", "put", "remember", "remove", "setdefault", "store", "update",
}  # fmt: skip
CONTAINERS = {
    "Counter", "EntryMemo", "Distinct", "Memo", "OrderedDict", "Sums", "TextPacker", "WeakKeyDictionary", "WeakSet", "WeakValueDictionary",
    "bytearray", "count", "cycle", "defaultdict", "deque", "local",
}  # fmt: skip
CACHES = {"cache", "lru_cache"}
"""A cached_property is its object's own."""


def faults(text: str) -> list[str]:
    tree = ast.parse(text)
    own = {each.name for each in tree.body if isinstance(each, ast.ClassDef) and _is_mutable(each)}
    top = {name.id: value for name, value in _assigned(tree)}
    found = [f"{node.lineno}: {_word(node)}, whose answers belong to the process" for node in ast.walk(tree) if _word(node) in CACHES]
    found += [f"{node.lineno}: global {', '.join(node.names)}" for node in ast.walk(tree) if isinstance(node, ast.Global)]
    found += [f"{value.lineno}: {name} is made to change" for name, value in top.items() if _makes(value, CONTAINERS | own)]
    found += [f"{node.lineno}: {name} is changed" for node in _in_functions(tree) if (name := _changed(node)) in top]
    return found


def _assigned(tree: ast.Module) -> Iterator[tuple[ast.Name, ast.expr]]:
    for node in tree.body:
        if isinstance(node, ast.Assign | ast.AnnAssign) and node.value is not None:
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            yield from ((target, node.value) for target in targets if isinstance(target, ast.Name))


def _in_functions(tree: ast.Module) -> Iterator[ast.AST]:
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            own = {name.id for name in ast.walk(node) if isinstance(name, ast.Name) and isinstance(name.ctx, ast.Store)}
            own |= {argument.arg for argument in ast.walk(node.args) if isinstance(argument, ast.arg)}
            yield from (inner for inner in ast.walk(node) if _changed(inner) not in own)


def _changed(node: ast.AST) -> str:
    """The name of what is changed in place."""
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in CHANGING:
        return _name(node.func.value)
    if isinstance(node, ast.Subscript | ast.Attribute) and isinstance(node.ctx, ast.Store | ast.Del):
        return _name(node.value)
    return ""


def _name(node: ast.expr) -> str:
    return node.id if isinstance(node, ast.Name) else ""


def _word(node: ast.AST) -> str:
    """Of a use of functools."""
    if isinstance(node, ast.Attribute):
        return node.attr if _name(node.value) == "functools" else ""
    names = node.names if isinstance(node, ast.ImportFrom) and node.module == "functools" else ()
    return next((each.name for each in names if each.name in CACHES), "")


def _makes(value: ast.expr, kinds: set[str]) -> bool:
    """Whether evaluating it makes an object of these kinds (one within a function is made when that is called)."""
    if isinstance(value, ast.Lambda):
        return False
    if isinstance(value, ast.Call) and _kind(value.func) in kinds:
        return True
    return any(_makes(child, kinds) for child in ast.iter_child_nodes(value) if isinstance(child, ast.expr))


def _kind(function: ast.expr) -> str:
    if isinstance(function, ast.Subscript):
        return _kind(function.value)
    return function.attr if isinstance(function, ast.Attribute) else _name(function)


def _is_mutable(cls: ast.ClassDef) -> bool:
    """A dataclass that is not frozen, or a class whose methods set attributes of an object that is there already."""
    for mark in cls.decorator_list:
        if isinstance(mark, ast.Call) and _kind(mark.func) == "dataclass":
            return not any(word.arg == "frozen" for word in mark.keywords)
    methods = (each for each in cls.body if isinstance(each, ast.FunctionDef) and each.name != "__init__")
    stored = (node for method in methods for node in ast.walk(method) if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store))
    return any(_name(node.value) == "self" for node in stored)


def test_no_module_holds_what_changes() -> None:
    found = []
    for path in (path for room in ROOMS for path in sorted((ROOT / room).rglob("*.py"))):
        place = str(path.relative_to(ROOT))
        if not place.startswith(tuple(ALLOWED)):
            found += [f"{place}:{fault}" for fault in faults(path.read_text("utf-8"))]
    assert found == []


@pytest.mark.parametrize(
    "text",
    [
        "import functools\n@functools.lru_cache(maxsize=8)\ndef f(x): ...",
        "from functools import cache\n",
        "SEEN = {}\ndef f(x):\n    SEEN[x] = 1",
        "SEEN = []\ndef f(x):\n    if x:\n        SEEN.append(x)",
        "from collections import deque\nLAST = deque(maxlen=2)",
        "MEMOS = (EntryMemo(), 1)",
        "N = 0\ndef f():\n    global N\n    N += 1",
        "class C:\n    def f(self):\n        self.x = 1\nONE = {1: C()}",
        "from dataclasses import dataclass\n@dataclass(slots=True)\nclass C:\n    x: int\nONE = C(1)",
    ],
)
def test_what_would_is_found(text: str) -> None:
    assert faults(text)


@pytest.mark.parametrize(
    "text",
    [
        "NAMES = {'a': 1}\ndef f(x):\n    NAMES = {}\n    NAMES[x] = 1",
        "LAST = Owned(lambda: deque(maxlen=2))\ndef f(x):\n    LAST().append(x)",
        "import functools\nclass C:\n    @functools.cached_property\n    def x(self): ...",
        "from dataclasses import dataclass\n@dataclass(frozen=True)\nclass C:\n    x: int\nONE = C(1)",
    ],
)
def test_what_does_not_is_not(text: str) -> None:
    assert not faults(text)
