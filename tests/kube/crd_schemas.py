"""Custom resources against the schemas of their CRDs, as an API server would check them on creation.

The CRDs are not in this repository. They are read from the folder that HISTOSEG_CRDS names, or from one beside the
checkout; reading one takes seconds, so what is needed of it is kept as JSON.
"""

import copy
import hashlib
import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.beside import beside

FOLDER = beside("HISTOSEG_CRDS", "crds")
TRANSITION = "self == oldSelf"  # Of updates; nothing is old on creation.
MANAGERS = ("ray.io/kuberay-operator", "kueue.x-k8s.io/multikueue")
DELETION_RULES = "deletionRules"

# x-kubernetes-validations are written in CEL. There are few in the CRDs of what the chart renders: here is each in
# Python, and `schemas` fails if there is another one.
CEL: dict[str, Callable[[object], bool]] = {
    TRANSITION: lambda _: True,
    "self in ['ray.io/kuberay-operator', 'kueue.x-k8s.io/multikueue']": lambda x: x in MANAGERS,
    "!(has(self.jobStatus) && has(self.jobDeploymentStatus))": lambda x: (
        not {"jobStatus", "jobDeploymentStatus"} <= x.keys()
    ),
    "has(self.jobStatus) || has(self.jobDeploymentStatus)": lambda x: bool(
        {"jobStatus", "jobDeploymentStatus"} & x.keys()
    ),
    "!((has(self.onSuccess) || has(self.onFailure)) && has(self.deletionRules))": lambda x: (
        not ({"onSuccess", "onFailure"} & x.keys() and DELETION_RULES in x)
    ),
    "((has(self.onSuccess) && has(self.onFailure)) || has(self.deletionRules))": lambda x: (
        {"onSuccess", "onFailure"} <= x.keys() or DELETION_RULES in x
    ),
}
FILES = (
    "ray.io_rayjobs.yaml",
    "ray.io_rayclusters.yaml",
    "monitoring.coreos.com_podmonitors.yaml",
    "monitoring.coreos.com_prometheusrules.yaml",
    "kueue.x-k8s.io_localqueues.yaml",
)


def schemas(cache: Path) -> dict[str, dict]:
    """The schema of each served version, under "<group>/<version> <kind>"; skips where the CRDs are not."""
    if not FOLDER.is_dir():
        pytest.skip(
            f"no CRDs in {FOLDER}; put KubeRay's, Kueue's and the Prometheus operator's there, or set HISTOSEG_CRDS"
        )
    found = {}
    for name in FILES:
        found |= _read(FOLDER / name, cache)
    rules = {rule for schema in found.values() for rule in _cel_rules(schema)}
    assert rules <= CEL.keys(), f"write these in Python, in {__file__}: {rules - CEL.keys()}"
    return found


def schema_faults(document: dict, known: dict[str, dict]) -> list[str]:
    """What the API server would refuse, one line each; [] if nothing."""
    name = f"{document['apiVersion']} {document['kind']}"
    if name not in known:
        return [f"{name}: no CRD of {sorted(known)} serves it"]
    document = copy.deepcopy(document)
    _fill_in(document, known[name])
    errors = sorted(_validator(known[name]).iter_errors(document), key=lambda error: list(map(str, error.path)))
    return [f"{'.'.join(map(str, error.path))}: {error.message[:200]}" for error in errors]


def _read(path: Path, cache: Path) -> dict[str, dict]:
    import yaml

    text = path.read_bytes()
    kept = cache / f"{path.stem}-{hashlib.sha256(text + Path(__file__).read_bytes()).hexdigest()[:16]}.json"
    if not kept.exists():
        spec = yaml.load(text, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))["spec"]
        of = {
            f"{spec['group']}/{version['name']} {spec['names']['kind']}": _closed(version["schema"]["openAPIV3Schema"])
            for version in spec["versions"]
            if version["served"]
        }
        for schema in of.values():  # An API server knows these by itself.
            schema["properties"]["metadata"] = {"type": "object"}
            schema["properties"].pop("status", None)
        part = kept.with_suffix(f".{os.getpid()}")
        part.write_text(json.dumps(of))
        part.rename(kept)
    return json.loads(kept.read_text())


def _closed(schema: dict) -> dict:
    """The same without descriptions, where an object has no fields but those of the schema.

    An API server drops other fields in silence, which is worse for whoever wrote them.
    """
    schema = {key: value for key, value in schema.items() if key != "description"}
    if "properties" in schema:
        schema["properties"] = {name: _closed(part) for name, part in schema["properties"].items()}
    for key in ("items", "additionalProperties"):
        if isinstance(schema.get(key), dict):
            schema[key] = _closed(schema[key])
    is_open = "additionalProperties" in schema or schema.get("x-kubernetes-preserve-unknown-fields")
    if schema.get("type") == "object" and not is_open:
        schema["additionalProperties"] = False
    if schema.get("x-kubernetes-int-or-string"):
        schema["anyOf"] = [{"type": "integer"}, {"type": "string"}]
    if schema.get("nullable") and "type" in schema:
        schema["type"] = [schema["type"], "null"]
    return schema


def _fill_in(value: object, schema: dict) -> None:
    """Give absent fields their defaults, as an API server does before it validates."""
    if isinstance(value, dict):
        for name, part in schema.get("properties", {}).items():
            if name not in value and "default" in part:
                value[name] = copy.deepcopy(part["default"])
            if name in value:
                _fill_in(value[name], part)
        rest = schema.get("additionalProperties")
        for name in value.keys() - schema.get("properties", {}).keys() if isinstance(rest, dict) else ():
            _fill_in(value[name], rest)
    elif isinstance(value, list):
        for item in value:
            _fill_in(item, schema.get("items", {}))


def _cel_rules(schema: object) -> set[str]:
    if isinstance(schema, list):
        return {rule for part in schema for rule in _cel_rules(part)}
    if not isinstance(schema, dict):
        return set()
    own = {each["rule"] for each in schema.get("x-kubernetes-validations", [])}
    return own | {rule for part in schema.values() for rule in _cel_rules(part)}


def _validator(schema: dict):
    from jsonschema import Draft7Validator, ValidationError
    from jsonschema.validators import extend

    def check_cel(_validator, rules, value, _schema):
        for each in rules:
            if not CEL[each["rule"]](value):
                yield ValidationError(each["message"])

    def check_keys(_validator, keys, value, part):
        if not isinstance(value, list):
            return
        found = [tuple(item.get(key) for key in keys) for item in value]
        for twice in sorted({each for each in found if found.count(each) > 1}, key=str):
            yield ValidationError(f"{', '.join(map(str, twice))} is there {found.count(twice)} times")

    own = {"x-kubernetes-validations": check_cel, "x-kubernetes-list-map-keys": check_keys}
    return extend(Draft7Validator, own)(schema)
