"""Optional packages: an ordinary install does not bring them, an extra of this project does."""

import importlib
import importlib.util
from importlib.metadata import version
from types import ModuleType

from histoseg.errors import ConfigError


def is_installed(extra: str) -> bool:
    """Whether the package of an extra, which has the same name, can be imported."""
    return importlib.util.find_spec(extra) is not None


def why_lacking(extra: str) -> str:
    """What to do about an extra that is not installed; empty if it is."""
    if is_installed(extra):
        return ""
    return f"{extra} is not installed; install histoseg[{extra}], in an environment of its own if versions conflict"


def import_extra(extra: str, module: str = "") -> ModuleType:
    """A module of the package of an extra; the package itself if none is named.

    Raises:
        ConfigError: If it is not installed, or in a version without that module.
    """
    if why := why_lacking(extra):
        raise ConfigError(why)
    name = f"{extra}.{module}" if module else extra
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name != name:
            raise
        text = f"{extra} {version(extra)} has no {name}; install histoseg[{extra}], which brings a version with it"
        raise ConfigError(text) from error
