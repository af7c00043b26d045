"""Runs and stages as JSON and by name: a name is a hash that says where a result lies.

A name depends on the fields that differ from their defaults, on the name of the stage before, and on the checksums of
the shards that are read. So a new field with a default renames nothing, and runs whose first stages are equal share the
training. Where the meaning of a default changes, raise FORMAT: every name is then another one. Where what a value
stands for changes, raise its revision: only the runs that have it get other names.
"""

import ast
import json
from collections.abc import Mapping
from dataclasses import MISSING, Field, fields, is_dataclass, replace
from typing import Any, TypeVar, get_args, get_origin, get_type_hints

from pydantic import JsonValue, TypeAdapter, ValidationError

from histoseg.errors import ConfigError
from histoseg.runs import catalog
from histoseg.runs.config import Run, Select, Settings, Stage, public_name
from histoseg.runs.plain import digest, non_default

FORMAT = 2  # Of names: raised by hand where the meaning of a default changes.

# Fields of `Data` and modules that do something else than they did under the same name (ADR 16); raised by hand.
REVISIONS = {
    "blur": 2,  # Kernels and noise as published
    "cerberus": 2,  # Initial biases as published
}

# Fields that hold the settings of a catalogued module.
PACKAGES = {"method": "histoseg.methods", "network": "histoseg.models", "evaluator": "histoseg.scoring"}

OF_RUN = ("data", "network", "evaluator")  # What can be changed of a run besides its stages
OF_STAGE = ("method", "select", "optim", "keep", "network")
Value = TypeVar("Value")


def stage_name(run: Run, number: int, checksums: Mapping[str, str]) -> str:
    """The name of a stage, counted from 0; runs whose stages up to this one are equal share it.

    `checksums` gives the checksum of the index of each source.
    """
    stage = run.stages[number]
    before = stage_name(run, number - 1, checksums) if number else ""
    how = {**non_default(stage), "method": _named(stage.method)}
    del how["label"]
    how.pop("network", None)
    # The evaluator gives the score by which an epoch is chosen, and the windows through which regions are looked at.
    if stage.keep == "best val" or stage.select.choose != "random":
        how["evaluator"] = _named(run.evaluator)
    network = _named(run.at(number).network)
    read = {source: checksums[source] for source in stage.select.sources}
    return digest([FORMAT, run.seed, _revised(non_default(run.data)), network, how, before, read])


def run_name(run: Run, checksums: Mapping[str, str]) -> str:
    """The name of a run's result: its last stage, what is scored and how, and its place in the table."""
    place = [run.experiment, run.scale, run.row, run.column, run.part, run.division]
    scored = [non_default(run.score), _named(run.evaluator), {name: checksums[name] for name in run.score.sources}]
    return digest([FORMAT, stage_name(run, len(run.stages) - 1, checksums), place, scored])


def _named(settings: Settings) -> dict[str, object]:
    name = public_name(settings)
    revision = {"revision": REVISIONS[name]} if name in REVISIONS else {}
    return {"name": name, **revision, **non_default(settings)}


def _revised(values: dict[str, object]) -> dict[str, object]:
    """The fields that are given, with what some stand for now in place of their values."""
    return {name: [value, REVISIONS[name]] if name in REVISIONS else value for name, value in values.items()}


def to_json(run: Run) -> dict[str, JsonValue]:
    """The run as plain JSON values with every field; `from_json` gives it back."""
    decoded: dict[str, JsonValue] = json.loads(json.dumps(_plain(run)))
    return decoded


def _fields(value: Any) -> dict[str, object]:
    return {field.name: _plain(getattr(value, field.name)) for field in fields(value)}


def _plain(value: object) -> object:
    if isinstance(value, tuple):
        return [_plain(item) for item in value]
    if not is_dataclass(value):
        return value
    found = _fields(value)
    for name in found.keys() & PACKAGES.keys():
        if (settings := getattr(value, name)) is None:  # A stage with the network of its run
            del found[name]
        else:
            found[name] = {"name": public_name(settings), **_fields(settings)}
    return found


def from_json(record: Mapping[str, object]) -> Run:
    """The run that `to_json` wrote; a field that is missing takes its default.

    Raises:
        ConfigError: If a field is unknown or of another type, or lacks and has no default.
    """
    run: Run = _build(Run, record, "run")
    return run


def _build(kind: type, record: object, path: str) -> Any:
    if not isinstance(record, Mapping):
        raise ConfigError(f"{path} = {record!r}: must be an object with the fields {_names_of(kind)}")
    known = {field.name: field for field in fields(kind)}
    if unknown := set(record) - set(known):
        raise ConfigError(f"{path} has no field {', '.join(sorted(unknown))}; choose from {_names_of(kind)}")
    if lacking := [name for name, field in known.items() if name not in record and not _has_default(field)]:
        raise ConfigError(f"{path} lacks {', '.join(lacking)}: it was written by another version")
    hints = get_type_hints(kind)
    return kind(**{name: _read(name, value, hints[name], f"{path}.{name}") for name, value in record.items()})


def _names_of(kind: type) -> str:
    return ", ".join(field.name for field in fields(kind))


def _has_default(field: Field[object]) -> bool:
    return field.default is not MISSING or field.default_factory is not MISSING


def _read(name: str, value: Any, hint: Any, path: str) -> object:
    """A field's value from JSON: settings by the name of their module, parts by their fields, the rest by its type."""
    if name in PACKAGES:
        if not isinstance(value, Mapping) or not isinstance(value.get("name"), str):
            choices = ", ".join(catalog.names(PACKAGES[name]))
            raise ConfigError(f"{path} = {value!r}: must be an object whose name is one of {choices}")
        values = {field: member for field, member in value.items() if field != "name"}
        return _build(catalog.settings(PACKAGES[name], value["name"]), values, path)
    if isinstance(hint, type) and is_dataclass(hint):
        return _build(hint, value, path)
    if get_origin(hint) is tuple and isinstance(part := get_args(hint)[0], type) and is_dataclass(part):
        if not isinstance(value, list | tuple):
            raise ConfigError(f"{path} = {value!r}: must be a list of objects with the fields {_names_of(part)}")
        return tuple(_build(part, item, f"{path}[{i}]") for i, item in enumerate(value))
    return convert(value, hint, path)


def convert(value: object, hint: Any, path: str) -> object:
    """A plain value as the annotated type."""
    try:
        return TypeAdapter(hint).validate_json(json.dumps(value), strict=True)
    except (ValidationError, TypeError) as error:
        reasons = error.errors() if isinstance(error, ValidationError) else []
        text = reasons[0]["msg"] if reasons else "Input should be a plain value"
        raise ConfigError(f"{path} = {value!r}: {text.replace('Input should', 'must')}") from None


def override(run: Run, assignment: str) -> Run:
    """The run with one field changed: `override(run, "optim.lr=1e-3")`.

    A path that begins with the label of a stage changes that stage: "refine.optim.lr". One that begins with a field of
    a stage changes the first stage. The fields that tell a run from others cannot be changed.
    """
    path, names, value = parse_assignment(assignment)
    if names[0] in OF_RUN:
        changed: Run = _assign(run, names, value, path)
        return changed
    labels = [stage.label for stage in run.stages]
    number, rest = (labels.index(names[0]), names[1:]) if names[0] in labels else (0, names)
    if not rest:
        raise ConfigError(f"{path!r} is a group; set one of {', '.join(OF_STAGE)}")
    if rest[0] not in OF_STAGE:
        choices = OF_STAGE if rest is not names else (*OF_RUN, *OF_STAGE, *labels)
        raise ConfigError(f"{path!r} cannot be set: {rest[0]!r} is not among {', '.join(choices)}")
    stages = list(run.stages)
    stages[number] = _assign(stages[number], rest, value, path)
    return replace(run, stages=tuple(stages))


def assigned(settings: Value, assignment: str) -> Value:
    """Settings with one field changed: `assigned(options, "windows.window_px=512")`."""
    path, names, value = parse_assignment(assignment)
    changed: Value = _assign(settings, names, value, path)
    return changed


def parse_assignment(assignment: str) -> tuple[str, list[str], object]:
    """The path, its parts and the value of `path=value`."""
    path, equals, text = (word.strip() for word in assignment.partition("="))
    if not equals or (text[:1] in ("(", "[") and text[-1:] not in (")", "]")):
        raise ConfigError(f"{assignment!r} is not an assignment; write it without blanks, as data.scale=(0.8,1.2)")
    return path, path.split("."), _parse(text)


def has_field(run: Run, path: str) -> bool:
    """Whether `override` could set that path in this run."""
    names = path.split(".")
    labels = {stage.label: stage for stage in run.stages}
    part: Any = run if names[0] in OF_RUN else run.stages[0]
    if names[0] in labels:
        part, names = labels[names[0]], names[1:]
    for name in names:
        if not is_dataclass(part) or name not in _settable(part):
            return False
        part = getattr(part, name)
    return bool(names)


def _assign(part: Any, names: list[str], value: object, path: str) -> Any:
    name, *rest = names
    if not hasattr(part, name):
        raise ConfigError(f"no field {path!r}; {name!r} is not among {', '.join(_settable(part))}")
    if name not in _settable(part):
        raise ConfigError(f"{path!r} cannot be set: {name!r} is not among {', '.join(_settable(part))}")
    old = getattr(part, name)
    if rest:
        if not is_dataclass(old):
            raise ConfigError(f"no field {path!r}; {name!r} has no fields")
        return replace(part, **{name: _assign(old, rest, value, path)})
    if is_dataclass(old):
        raise ConfigError(f"{path!r} is a group; set one of {', '.join(_settable(old))}")
    return replace(part, **{name: convert(value, get_type_hints(type(part))[name], path)})


def _settable(part: Any) -> list[str]:
    """The fields of a part that can be changed; which sources and splits are read tells a run from others."""
    if isinstance(part, Stage):
        return list(OF_STAGE)
    fixed = ("sources", "splits") if isinstance(part, Select) else ()
    return [field.name for field in fields(part) if field.name not in fixed]


def _parse(text: str) -> object:
    if text.lower() in ("true", "false"):
        return text.lower() == "true"
    try:
        value: object = ast.literal_eval(text)
    except (ValueError, SyntaxError):
        return text
    return value
