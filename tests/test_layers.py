"""Imports go only upward in the list of layers: what is below may be used, what is above may not.

Read from the sources with ast, so that imports inside functions and under TYPE_CHECKING count as well.
"""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parent.parent / "ferrite_hooks"

LAYERS = [
    {"version", "errors", "clock", "glob", "log", "config", "config_keys", "counters", "messagepack", "metrics"},
    {"resp"},
    {"values"},
    {"store"},
    {"webhooks"},
    {"engine"},
    {"commands"},
    {"server"},
    {"follow"},
    {"web"},
    # __init__: what users of the package may import
    {"app", "config_rewrite", "keeper", "recovery", "tools", "outlet", "cli", "listen", "__main__", "__init__"},
]
RANK = {name: rank for rank, names in enumerate(LAYERS) for name in names}


def part_of(file: Path) -> str:
    """The layer's file or directory that a source file belongs to."""
    return file.relative_to(PACKAGE).with_suffix("").parts[0]


def imported(tree: ast.AST, package: list[str]) -> Iterator[tuple[int, str]]:
    """Line and part (`store`, `errors`, …) of each import of our own; `package` is where relative ones start."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            modules = [alias.name.split(".") for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            module = base + (node.module.split(".") if node.module else [])
            modules = [[*module, alias.name] for alias in node.names]
        else:
            continue
        for module in modules:
            if module[0] == "ferrite_hooks" and len(module) > 1:
                yield node.lineno, module[1] if module[1] != "__version__" else "version"


def violations(source: str, file: Path) -> list[str]:
    package = ["ferrite_hooks", *file.relative_to(PACKAGE).parent.parts]
    rank = RANK.get(part_of(file), 0)
    return [
        f"{file.relative_to(PACKAGE)}:{line} imports {part}"
        for line, part in imported(ast.parse(source), package)
        if RANK.get(part, len(LAYERS)) > rank
    ]


def test_every_file_and_directory_has_a_layer() -> None:
    parts = {part_of(file) for file in PACKAGE.rglob("*.py")}
    assert parts <= RANK.keys()


def test_imports_go_only_upward() -> None:
    files = list(PACKAGE.rglob("*.py"))
    assert len(files) > 10
    assert [line for file in files for line in violations(file.read_text(), file)] == []


@pytest.mark.parametrize(
    ("file", "source", "wrong"),
    [
        ("store/x.py", "from ferrite_hooks.webhooks.model import Change", True),
        ("store/x.py", "def f():\n    import ferrite_hooks.app", True),
        ("store/x.py", "from ..engine import run", True),
        ("store/x.py", "from .. import engine", True),
        ("store/x.py", "from ferrite_hooks import nonsense", True),
        ("store/x.py", "from . import files\nfrom ferrite_hooks import __version__\nimport os", False),
        ("errors.py", "from ferrite_hooks.resp import reply", True),
        ("app.py", "from ferrite_hooks.store.journal import Journal", False),
    ],
)
def test_a_wrong_import_would_be_seen(file: str, source: str, wrong: bool) -> None:
    assert bool(violations(source, PACKAGE / file)) == wrong
