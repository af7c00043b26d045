"""Checkpoints that networks' authors published: which network they are of, their tensors' names say.

A network's folder that has such weights holds `published.py`, with `LANDMARK`, the name of a tensor that all of its
checkpoints have and no other network's, and `import_published(path)`.
"""

import importlib
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType

from histoseg.errors import CheckpointError
from histoseg.models.weights import Model, read_foreign
from histoseg.runs import catalog

PACKAGE = "histoseg.models"


def import_published(path: Path) -> Model:
    """The model in a published checkpoint; nothing in the file is executed.

    Raises:
        CheckpointError: If it is of no network with published weights, or differs from the published layout.
    """
    tensors, layouts = read_foreign(path), _layouts()
    for layout in layouts.values():
        if layout.LANDMARK in tensors:
            model: Model = layout.import_published(path)
            return model
    expected = ", or ".join(f"{layout.LANDMARK} ({name})" for name, layout in layouts.items())
    raise CheckpointError(f"{path} has the layout of no published checkpoint; expected a tensor named {expected}")


def _layouts() -> dict[str, ModuleType]:
    """The modules that know published checkpoints, by network."""
    found = {}
    for name in catalog.names(PACKAGE):
        module = catalog.load(PACKAGE, name)
        if hasattr(module, "__path__") and find_spec(f"{module.__name__}.published"):
            found[name] = importlib.import_module(f"{module.__name__}.published")
    return found
