"""Dataclasses as plain values, and a digest that stands for plain values: what names are made of."""

import hashlib
import json
from dataclasses import MISSING, Field, fields, is_dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from _typeshed import DataclassInstance


def digest(value: object) -> str:
    """Sixteen hexadecimal digits that stand for a JSON-able value, whatever the order of its keys."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def non_default(value: "DataclassInstance") -> dict[str, object]:
    """The fields of a dataclass that differ from their defaults, as plain values; a field without a default always.

    So a field that is added with a default changes nothing.
    """
    found = {field.name: (field, getattr(value, field.name)) for field in fields(value)}
    return {name: _plain(member) for name, (field, member) in found.items() if member != _default(field)}


def _plain(value: object) -> object:
    if is_dataclass(value) and not isinstance(value, type):
        return non_default(value)
    return [_plain(item) for item in value] if isinstance(value, list | tuple) else value


def _default(field: Field[object]) -> object:
    return field.default if field.default_factory is MISSING else field.default_factory()
