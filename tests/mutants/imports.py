"""Which of our modules import which, read from their text."""

import ast
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[2]
FOLDERS = ("histoseg", "tests")


def name_of(path: str) -> str:
    """The dotted name of a file, given from the repository's root."""
    return path.removesuffix(".py").removesuffix("/__init__").replace("/", ".")


def dependents_of(module: str) -> set[str]:
    """The module itself and all that import it when they are imported, directly or through others."""
    paths = [path for folder in FOLDERS for path in (ROOT / folder).rglob("*.py")]
    imports = {
        name_of(path.relative_to(ROOT).as_posix()): set(_imported(ast.parse(path.read_text()))) for path in paths
    }
    found, added = set[str](), {module}
    while added:
        found |= added
        added = {name for name, imported in imports.items() if imported & added} - found
    return found


def _imported(node: ast.AST) -> Iterator[str]:
    """Names that are imported on import: not within functions, nor for type checkers only."""
    if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
        return
    if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
        return
    if isinstance(node, ast.Import):
        yield from (alias.name for alias in node.names)
    if isinstance(node, ast.ImportFrom) and node.module:
        yield node.module
        yield from (f"{node.module}.{alias.name}" for alias in node.names)
    for child in ast.iter_child_nodes(node):
        yield from _imported(child)
