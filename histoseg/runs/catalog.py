"""File name -> member: a new file in a package is a new name, with nothing to register.

A lab's own source, method or experiment may live outside the package: any installed distribution can name a
module under the entry-point group that is called like the package, for example `histoseg.sources`.
"""

import importlib
import pkgutil
from importlib.metadata import entry_points
from typing import Any

from histoseg.errors import ConfigError

MEMBERS = {
    "histoseg.sources": ("TASK", "entries", "read"),
    "histoseg.models": ("SPEC",),
    "histoseg.methods": ("METHOD",),
    "histoseg.scoring": ("EVALUATOR",),
    "histoseg.listeners": ("listen",),
    "histoseg.experiments": ("SCALES", "SOURCES", "SPEC", "runs", "why_missing"),
}


def names(package: str) -> list[str]:
    """The public names in a package, sorted."""
    inside = pkgutil.iter_modules(importlib.import_module(package).__path__)
    # Networks are folders; the modules beside them are what networks share.
    found = {m.name for m in inside if not m.name.startswith("_") and (m.ispkg or package != "histoseg.models")}
    return sorted(found | {point.name for point in entry_points(group=package)})


def load(package: str, name: str) -> Any:
    """The module of that name.

    Raises:
        ConfigError: If there is none (the text lists the choices), or it is not what its package promises.
    """
    if name not in (choices := names(package)):
        kind = package.rpartition(".")[2]
        raise ConfigError(f"no {name!r} in {kind}; choose from {', '.join(choices)}")
    module = _import(package, name)
    where = module.__file__
    if lacking := [member for member in MEMBERS[package] if not hasattr(module, member)]:
        raise ConfigError(f"{where} has no {', '.join(lacking)}; CONTRIBUTING.md says what such a file needs")
    if package == "histoseg.sources" and module.TASK.name != name:  # Its shards would take another source's place.
        raise ConfigError(f"{where}: TASK.name is {module.TASK.name!r}; it must be {name!r}")
    return module


def settings(package: str, name: str) -> type:
    """The dataclass that the module of that name offers: its METHOD, SPEC or EVALUATOR.

    Raises:
        ConfigError: If there is no such module, or it is not what its package promises.
    """
    found: type = getattr(load(package, name), MEMBERS[package][0])
    return found


def _import(package: str, name: str) -> Any:
    points = list(entry_points(group=package, name=name))
    where = points[0].value if points else f"{importlib.import_module(package).__path__[0]}/{name}.py"
    try:
        return points[0].load() if points else importlib.import_module(f"{package}.{name}")
    except Exception as error:  # It may be anybody's file, and whatever is wrong in it must not hide the others.
        reason = " ".join(str(error).split())
        raise ConfigError(f"{where} cannot be imported ({type(error).__name__}: {reason}); correct it") from error
