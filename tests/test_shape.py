"""The shape of the code: no import cycles, imports at the top of a file, small files, few untyped values."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FILES = sorted([*(ROOT / "histoseg").rglob("*.py"), *(ROOT / "ray_jobs").glob("*.py")])
# What the small install lacks, or what takes long to import where most commands do not need it.
LATE = {
    "aiohttp",
    "albumentations",
    "boto3",
    "botocore",
    "imagecodecs",
    "jinja2",
    "kubernetes",
    "matplotlib",
    "mlflow",
    "openslide",
    "psutil",
    "pyarrow",
    "ray",
    "safetensors",
    "shapely",
    "timm",
    "torchvision",
}
LATE |= {"anndata", "geopandas", "pandas", "spatialdata"}
LATE |= {"imagecodecs", "openslide", "pyarrow", "shapely", "skimage", "tensorboard", "tensorboardX", "torch", "yaml"}


def module_of(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


MODULES = {module_of(path): path for path in FILES}


def imported(node: ast.AST) -> Iterator[str]:
    """The absolute names that an import statement names, the deepest module of ours for each."""
    if isinstance(node, ast.Import):
        yield from (alias.name for alias in node.names)
    elif isinstance(node, ast.ImportFrom):
        for alias in node.names:
            deep = f"{node.module}.{alias.name}"
            yield deep if deep in MODULES else str(node.module)


def graph() -> dict[str, set[str]]:
    """Which of our modules each imports, wherever in the file, and also where only type checkers look."""
    found = {}
    for name, path in MODULES.items():
        names = {target for node in ast.walk(ast.parse(path.read_text())) for target in imported(node)}
        found[name] = {target for target in names if target in MODULES and target != name}
    return found


def cycles(edges: dict[str, set[str]]) -> list[list[str]]:
    """Strongly connected modules, two or more of them (Tarjan 1972)."""
    index: dict[str, int] = {}
    low: dict[str, int] = {}
    stack: list[str] = []
    found: list[list[str]] = []

    def visit(name: str) -> None:
        index[name] = low[name] = len(index)
        stack.append(name)
        for target in edges[name]:
            if target not in index:
                visit(target)
            if target in stack:
                low[name] = min(low[name], low[target])
        if low[name] == index[name]:
            part = []
            while not part or part[-1] != name:
                part.append(stack.pop())
            found.append(sorted(part))

    for name in edges:
        if name not in index:
            visit(name)
    return [part for part in found if len(part) > 1]


def test_cycles_are_found():
    assert cycles({"a": {"b"}, "b": {"c"}, "c": {"b"}}) == [["b", "c"]]


def test_no_module_imports_itself_by_any_way():
    assert cycles(graph()) == []


def nested_imports(path: Path) -> set[str]:
    """The top-level packages, or modules of ours, that are imported inside functions."""
    functions = [node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.FunctionDef)]
    return {name for function in functions for node in ast.walk(function) for name in imported(node)}


def needs_late(name: str, edges: dict[str, set[str]], seen: set[str] | None = None) -> bool:
    """Whether a module of ours imports, at its top or at that of what it imports, what may be lacking."""
    seen = set() if seen is None else seen
    if name in seen or name not in MODULES:
        return False
    seen.add(name)
    top = {target for node in ast.parse(MODULES[name].read_text()).body for target in imported(node)}
    if {target.split(".")[0] for target in top} & LATE:
        return True
    return any(needs_late(target, edges, seen) for target in top if target in MODULES)


def test_imports_inside_functions_are_only_of_what_may_be_lacking():
    edges = graph()
    strange = {
        f"{path.relative_to(ROOT)}: {name}"
        for path in FILES
        for name in nested_imports(path)
        if name.split(".")[0] not in LATE and not needs_late(name, edges)
    }
    assert not strange


def test_few_modules_lie_at_the_root():
    assert len(list((ROOT / "histoseg").glob("[!_]*.py"))) <= 8


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_files_are_read_at_one_go(path):
    assert len(path.read_text().splitlines()) <= 400


def test_any_is_rare():
    uses = {path: len(re.findall(r"\bAny\b", path.read_text())) for path in FILES}
    imports = sum("import" in line for path in FILES for line in path.read_text().splitlines() if "Any" in line)
    assert sum(uses.values()) - imports <= 60
