"""File name -> module: a new file in one of these packages is a new name, with nothing to register.

A lab's own source, network, method, evaluator or experiment may live outside the package: any installed distribution
can name a module under the entry-point group that is called like the package, for example `histoseg.sources`.
"""

import importlib
import logging
import math
import pkgutil
import sys
from collections.abc import Callable, Iterable, Sequence
from functools import cache
from importlib.metadata import EntryPoints, entry_points
from types import ModuleType
from typing import Protocol, cast, runtime_checkable

from histoseg.errors import ConfigError
from histoseg.types import DEMO_RESERVE, Entry, Sample, Task

logger = logging.getLogger(__name__)

SOURCES = "histoseg.sources"
EXPERIMENTS = "histoseg.experiments"
MEMBERS = {  # What a module of each package must have.
    SOURCES: ("TASK", "entries", "read"),
    "histoseg.models": ("SPEC",),
    "histoseg.methods": ("METHOD",),
    "histoseg.scoring": ("EVALUATOR",),
    "histoseg.listeners": ("listen",),
    "histoseg.exports": ("NAME", "write"),
    EXPERIMENTS: ("SCALES",),
}
TABLE, COHORT = "table", "cohort"
KINDS = {TABLE: ("SOURCES", "SPEC", "runs", "why_missing"), COHORT: ()}  # What experiments of each kind have as well.


@runtime_checkable
class Source(Protocol):
    """A module of `histoseg.sources`: the task, the images below a folder, and one of them as a sample."""

    @property
    def TASK(self) -> Task: ...  # noqa: N802  # as modules have it
    @property
    def entries(self) -> Callable[..., list[Entry]]: ...
    @property
    def read(self) -> Callable[[Entry], Sample]: ...


def names(package: str) -> list[str]:
    """The public names in a package, sorted."""
    return sorted({*_own_names(package), *(point.name for point in _points_of(package))})


def load(package: str, name: str) -> ModuleType:
    """The module of that name.

    Raises:
        ConfigError: If there is no such module (the text lists the choices), two modules claim the name, or the module
            cannot be imported or lacks a member.
    """
    module = _import(package, name)
    where = getattr(module, "__file__", name)
    members = (*MEMBERS[package], *(KINDS[_kind(module)] if package == EXPERIMENTS else ()))
    if lacking := [member for member in members if not hasattr(module, member)]:
        raise ConfigError(f"{where} has no {', '.join(lacking)}; CONTRIBUTING.md says what such a file needs")
    if package == SOURCES:
        _require_task(module.TASK, name, where)
    return module


def kind_of(experiment: str) -> str:
    """What an experiment is: TABLE, trainings whose scores are a table, or COHORT, slides through a model."""
    return _kind(load(EXPERIMENTS, experiment))


def tables() -> list[str]:
    """The public names of the experiments that are tables."""
    return [name for name in names(EXPERIMENTS) if kind_of(name) == TABLE]


def _kind(module: ModuleType) -> str:
    kind = getattr(module, "KIND", TABLE)
    if kind not in KINDS:
        raise ConfigError(f"{module.__name__}: KIND is {kind!r}; choose from {', '.join(KINDS)}")
    return str(kind)


def load_source(name: str) -> Source:
    """The source of that name; errors are those of `load`."""
    return cast(Source, load(SOURCES, name))


def settings(package: str, name: str) -> type:
    """The dataclass that the module of that name offers: its METHOD, SPEC or EVALUATOR."""
    found: type = getattr(load(package, name), MEMBERS[package][0])
    return found


def teaching(structure: str, others: Iterable[Task] = ()) -> list[Task]:
    """The tasks of all sources that teach a structure, first those that `used_together` prefers.

    A source from another distribution that cannot be used is left out with a warning. `others` are tasks of sources
    that need not be in the catalog, such as those that a store holds.
    """
    own = names(SOURCES)
    known = [*filter(None, map(_task_of, own)), *(task for task in others if task.name not in own)]
    return sorted(
        (task for task in known if task.structure == structure), key=lambda task: (task.reserve or 0, _age(task))
    )


def used_together(tasks: Sequence[Task]) -> list[Task]:
    """Of the tasks of a structure those that are learnt together: the lowest `Task.reserve`, and all that have none.

    They are in the order in which they were published; unpublished ones follow by name.
    """
    lowest = min((DEMO_RESERVE - 1 if task.reserve is None else task.reserve for task in tasks), default=0)
    return sorted((task for task in tasks if task.reserve in (None, lowest)), key=_age)


def _age(task: Task) -> tuple[float | int, str]:
    return task.year or math.inf, task.name


def _task_of(name: str) -> Task | None:
    """The task of a source; None if the source is not ours and cannot be used."""
    try:
        return load_source(name).TASK
    except ConfigError as error:
        if name in _own_names(SOURCES):
            raise
        logger.warning("source %s is left out: %s", name, error)
        return None


def _require_task(task: object, name: str, where: str) -> None:
    if not isinstance(task, Task):
        raise ConfigError(f"{where}: TASK is of type {type(task).__name__}; it must be a histoseg.types.Task")
    if task.name != name:  # Its shards would replace those of another source.
        raise ConfigError(f"{where}: TASK.name is {task.name!r}; it must be {name!r}")


def _points_of(package: str) -> EntryPoints:
    """The entry points of all installed distributions for a package."""
    return _scan(package, tuple(sys.path))


@cache
def _scan(package: str, path: tuple[str, ...]) -> EntryPoints:  # noqa: ARG001  # other folders have other entry points
    return entry_points(group=package)


@cache
def _own_names(package: str) -> tuple[str, ...]:
    """The public names of this distribution's own modules in a package, whose folder does not change in a process."""
    inside = pkgutil.iter_modules(importlib.import_module(package).__path__)
    # Networks are folders; the modules beside them are what networks share.
    return tuple(m.name for m in inside if not m.name.startswith("_") and (m.ispkg or package != "histoseg.models"))


def _import(package: str, name: str) -> ModuleType:
    """The module of a name that exactly one place claims, imported."""
    points = {point.value: point for point in _points_of(package) if point.name == name}
    places: dict[str, Callable[[], ModuleType]] = {value: point.load for value, point in points.items()}
    if name in _own_names(package):
        places[f"{package}.{name}"] = lambda: importlib.import_module(f"{package}.{name}")
    kind = package.rpartition(".")[2]
    if not places:
        raise ConfigError(f"no {name!r} in {kind}; choose from {', '.join(names(package))}")
    if len(places) > 1:
        raise ConfigError(f"{' and '.join(sorted(places))} claim the name {name!r} in {kind}; rename or uninstall one")
    ((where, import_module),) = places.items()
    try:
        return import_module()
    except (Exception, SystemExit) as error:  # Any fault of one file must not hide the others.
        reason = " ".join(str(error).split())
        raise ConfigError(f"{where} cannot be imported ({type(error).__name__}: {reason}); correct it") from error
