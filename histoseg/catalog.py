"""File name -> member: a new file in a package is a new name, with nothing to register.

A lab's own source, method or experiment may live outside the package: any installed distribution can name a
module under the entry-point group that is called like the package, for example `histoseg.sources`.
"""

import importlib
import pkgutil
from importlib.metadata import entry_points
from typing import Any

from histoseg.errors import ConfigError


def names(package: str) -> list[str]:
    """The public names in a package, sorted."""
    inside = pkgutil.iter_modules(importlib.import_module(package).__path__)
    found = {module.name for module in inside if not module.name.startswith("_")}
    return sorted(found | {point.name for point in entry_points(group=package)})


def load(package: str, name: str) -> Any:
    """The module of that name.

    Raises:
        ConfigError: If there is none; the text lists the choices.
    """
    if name not in (choices := names(package)):
        kind = package.rpartition(".")[2]
        raise ConfigError(f"no {name!r} in {kind}; choose from {', '.join(choices)}")
    for point in entry_points(group=package, name=name):
        return point.load()
    return importlib.import_module(f"{package}.{name}")
