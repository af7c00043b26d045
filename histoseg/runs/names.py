"""A run as JSON and by name: its hash says where its results lie, and one assignment changes one field."""

import ast
import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, fields, is_dataclass, replace
from types import NoneType
from typing import Any, Literal, TypeVar, get_args, get_origin, get_type_hints

from histoseg.errors import ConfigError
from histoseg.runs import catalog
from histoseg.runs.config import AnyRun, FoldRun, Run, method_name, require

RECORD_FORMAT = 1  # Raised whenever a record of the same result would have other fields.

Part = TypeVar("Part")


def to_json(run: AnyRun) -> dict[str, Any]:
    """The run as plain JSON values; `from_json` gives it back."""
    plain = {"kind": _KINDS[type(run)], **asdict(run)}
    for name in _METHODS:
        if (method := getattr(run, name, None)) is not None:
            plain[name] = {"name": method_name(method), **plain[name]}
    decoded: dict[str, Any] = json.loads(json.dumps(plain))
    return decoded


def from_json(record: Mapping[str, Any]) -> AnyRun:
    """The run that `to_json` wrote.

    Raises:
        ConfigError: If a field is unknown, missing or of another type.
    """
    kinds = {name: kind for kind, name in _KINDS.items()}
    require(record.get("kind") in kinds, "run.kind", record.get("kind"), f"one of {', '.join(kinds)}")
    rest = {name: value for name, value in record.items() if name not in ("kind", *_METHODS)}
    ready = {name: _method(record[name], name) for name in _METHODS if name in record}
    run: AnyRun = _build(kinds[record["kind"]], rest, "run", **ready)
    return run


_KINDS: dict[type, str] = {Run: "leave one task out", FoldRun: "folds"}
_METHODS = ("method", "subtyping")  # Fields that name a module of histoseg.methods.


def _method(record: Mapping[str, Any] | None, path: str) -> Any:
    if record is None:
        return None
    values = dict(record)
    return _build(catalog.load("histoseg.methods", values.pop("name")).METHOD, values, path)


def _build(kind: Any, record: Mapping[str, Any], path: str, **ready: Any) -> Any:
    hints = get_type_hints(kind)
    if unknown := set(record) - set(hints):
        raise ConfigError(f"{path} has no field {', '.join(sorted(unknown))}; choose from {', '.join(hints)}")
    if missing := set(hints) - set(record) - set(ready):
        raise ConfigError(f"{path} lacks {', '.join(sorted(missing))}: it was written by another version")
    return kind(**ready, **{name: _convert(value, hints[name], f"{path}.{name}") for name, value in record.items()})


def _convert(value: Any, hint: Any, path: str) -> Any:
    """The value as the annotated type, or a ConfigError that says what was expected."""
    if is_dataclass(hint) and isinstance(value, Mapping):
        return _build(hint, value, path)
    if get_origin(hint) is Literal:
        require(value in get_args(hint), path, value, f"one of {', '.join(map(str, get_args(hint)))}")
        return value
    if get_origin(hint) is tuple:
        require(isinstance(value, list | tuple), path, value, "a list")
        inner = get_args(hint)
        kinds = [inner[0]] * len(value) if inner[-1] is Ellipsis else list(inner)
        require(len(kinds) == len(value), path, value, f"a list of {len(kinds)}")
        return tuple(_convert(item, kind, path) for item, kind in zip(value, kinds, strict=True))
    allowed = get_args(hint) or (hint,)
    if float in allowed and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if bool not in allowed and isinstance(value, bool):
        allowed = ()
    names = " or ".join(kind.__name__ for kind in get_args(hint) or (hint,) if kind is not NoneType)
    require(isinstance(value, tuple(allowed)), path, value, f"{names}")
    return value


def override(part: Part, assignment: str) -> Part:
    """The run, or the sizes of one, with a field of one of its parts changed: `override(run, "optim.lr=1e-3")`.

    What a run has besides parts says which run it is, and where its record lies: that cannot be changed.

    Raises:
        ConfigError: If the field does not exist or cannot have that value.
    """
    path, equals, text = (word.strip() for word in assignment.partition("="))
    if not equals or (text[:1] in ("(", "[") and text[-1:] not in (")", "]")):
        raise ConfigError(f"{assignment!r} is no assignment; write it without blanks, as data.scale=(0.8,1.2)")
    names = path.split(".")
    if names[0] not in (choices := _parts(part)):
        raise ConfigError(f"{path!r} cannot be set: {names[0]!r} is not among {', '.join(choices)}")
    changed: Part = _assign(part, names, _parse(text), path)
    return changed


def _parts(run: Any) -> list[str]:
    """The fields that have fields of their own."""
    return [member.name for member in fields(run) if is_dataclass(getattr(run, member.name))]


def has_field(run: AnyRun, path: str) -> bool:
    """Whether `override` could set that path in this run."""
    part: Any = run
    for name in path.split("."):
        if not is_dataclass(part) or name not in {member.name for member in fields(part)}:
            return False
        part = getattr(part, name)
    return True


def _assign(part: Any, names: list[str], value: Any, path: str) -> Any:
    name, *rest = names
    choices = [member.name for member in fields(part)]
    if name not in choices:
        raise ConfigError(f"no field {path!r}; {name!r} is not among {', '.join(choices)}")
    old = getattr(part, name)
    if rest:
        if not is_dataclass(old):
            raise ConfigError(f"no field {path!r}; {name!r} has no fields of its own")
        return replace(part, **{name: _assign(old, rest, value, path)})
    if is_dataclass(old):
        raise ConfigError(f"{path!r} is a group; set one of {', '.join(m.name for m in fields(old))}")
    return replace(part, **{name: _convert(value, get_type_hints(type(part))[name], path)})


def _parse(text: str) -> Any:
    if text.lower() in ("true", "false"):
        return text.lower() == "true"
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError):
        return text


def digest(value: Any) -> str:
    """Sixteen hexadecimal digits that stand for a JSON-able value, whatever the order of its keys."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def cell_id(run: AnyRun, checksums: Mapping[str, str]) -> str:
    """The name of this run's result: the run and the shards it reads, `checksums` by source."""
    return digest([to_json(run), _of(run.sources, checksums)])


def pretraining_id(run: AnyRun, checksums: Mapping[str, str]) -> str:
    """The name of the trained model, shared by all runs that differ only in what follows."""
    whole = to_json(run)
    later = ("experiment", "scale", "row", "structures", "new_task", "column", "refine", "eval")
    followed = (*later, "test", "subtyping", "subtype_optim", "windows")
    parts = {name: value for name, value in whole.items() if name not in followed}
    return digest([parts, _of(run.trained_on, checksums)])


def record_key(experiment: str, cell: str) -> str:
    """Where a cell's record lies in the store."""
    return f"records/{experiment}/{cell}.json"


def run_folder(pretraining: str) -> str:
    """Where a pretraining keeps its checkpoints, and what follows it below."""
    return f"runs/{pretraining}"


def model_folder(pretraining: str, cell: str) -> str:
    """Where the network of a run over folds lies, as `histoseg predict` takes it."""
    return f"{run_folder(pretraining)}/{cell}/model"


def _of(sources: Iterable[str], checksums: Mapping[str, str]) -> dict[str, str]:
    return {name: checksums[name] for name in sources}
