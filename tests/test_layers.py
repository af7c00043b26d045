"""Imports point down. A module may import from its own layer and those below it, nothing else."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
LAYERS = [
    ["types", "errors", "machine", "distributed", "seeds", "structures"],
    ["runs", "store"],
    ["records"],
    ["maps", "metrics", "engines"],
    ["files"],
    ["models", "representation", "slides"],
    ["exports"],
    ["sources"],
    ["demo"],
    ["shards"],
    ["loaders"],
    ["methods", "inference"],
    ["viewer"],
    ["training"],
    ["listeners", "scoring"],
    ["report"],
    ["features"],
    ["annotate"],
    ["experiments"],
    ["pipeline"],
    ["kube"],
    ["doctor"],
    ["commands"],
    ["cli"],
]
LAYER_OF = {name: number for number, names in enumerate(LAYERS) for name in names}
NO_TORCH = [
    "types",
    "errors",
    "machine",
    "seeds",
    "structures",
    "runs",
    "store",
    "kube",
    "maps",
    "files",
    "slides",
    "sources",
    "shards",
    "loaders",
    "metrics",
    "demo",
    "slides",
    "exports",
    "viewer",
    "methods",
    "listeners",
    "experiments",
    "commands",
    "cli",
]
MODULES = sorted((ROOT / "histoseg").rglob("*.py"))


def imports(path, *, at_top_only=False):
    """The absolute names that a file imports, but for those that only type checkers see."""
    tree = ast.parse(path.read_text())
    hidden = {
        child
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"
        for child in ast.walk(node)
    }
    for node in ast.iter_child_nodes(tree) if at_top_only else ast.walk(tree):
        if node in hidden:
            continue
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def layer_name(module):
    parts = module.split(".")
    return parts[1] if parts[0] == "histoseg" and len(parts) > 1 and parts[1] in LAYER_OF else None


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(ROOT)))
def test_imports_point_down(path):
    own = path.relative_to(ROOT / "histoseg").parts[0].removesuffix(".py")
    if own == "__init__":
        return
    assert own in LAYER_OF, f"{own} has no layer yet"
    above = {m for m in imports(path) if (name := layer_name(m)) and LAYER_OF[name] > LAYER_OF[own]}
    assert not above


def test_only_ray_jobs_imports_ray():
    users = [path for path in MODULES if any(name.split(".")[0] == "ray" for name in imports(path))]
    assert not users


def public_files(name):
    """The file of a module, or the public ones of a package."""
    path = ROOT / "histoseg" / name
    return [path / "__init__.py", *path.glob("[!_]*.py")] if path.is_dir() else [path.with_suffix(".py")]


def file_of(module):
    """The file that an import of a module runs; of a package only that of its name."""
    path = ROOT / Path(*module.split("."))
    return path / "__init__.py" if path.is_dir() else path.with_suffix(".py")


def test_preparing_data_needs_no_torch():
    """Followed through all that these modules, and the public ones of these packages, import at their top."""
    pending, seen = [file for name in NO_TORCH for file in public_files(name)], set()
    while pending:
        if (file := pending.pop()) in seen or not file.exists():
            continue
        seen.add(file)
        found = set(imports(file, at_top_only=True))
        assert not {name for name in found if name.split(".")[0] == "torch"}, file
        pending += [file_of(name) for name in found if name.startswith("histoseg.")]
    assert len(seen) > 20


DAT = ROOT / "histoseg" / "exports" / "dat.py"


def test_one_file_writes_what_others_unpickle():
    """Of pickle it uses the function that writes and the names of a few bytes."""
    tree = ast.parse(DAT.read_text())
    used = {ast.unparse(node) for node in ast.walk(tree) if isinstance(node, ast.Attribute)}
    opcodes = {f"pickle.{name}" for name in ("PROTO", "EMPTY_DICT", "BINPUT", "SETITEM", "STOP")}
    assert {name for name in used if name.startswith("pickle")} == {"pickle.dumps", *opcodes}
    assert [*imports(DAT)].count("pickle") == 1


def test_nothing_is_unpickled():
    suspects = ("pickle", "joblib", "dill", "cloudpickle")
    for path in [*MODULES, *(ROOT / "ray_jobs").glob("*.py")]:
        used = {name for name in imports(path) if name.split(".")[0] in suspects}
        assert used <= ({"pickle"} if path == DAT else set()), path
        # Foreign weights are read by torch's weights-only reader, in one place; see the module's docstring.
        loads = path.read_text().count("torch.load(")
        assert loads == (path.name == "weights.py"), path
        assert path.read_text().count("weights_only=True") >= loads, path
        keywords = [word for node in ast.walk(ast.parse(path.read_text())) for word in getattr(node, "keywords", [])]
        assert not [word for word in keywords if word.arg == "allow_pickle" and ast.unparse(word.value) != "False"], (
            path
        )
