"""What can be switched on and off: each class of each structure is a kind with a number, a colour and a count."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Int, UInt16

from histoseg.errors import DataError
from histoseg.slides.colours import NO_CLASS_COLOUR
from histoseg.slides.summary import Summary

if TYPE_CHECKING:
    import pyarrow as pa

BACKGROUND = "background"  # The first of a model's classes; no object has it.


@dataclass(frozen=True, kw_only=True)
class Kind:
    """A class of one structure; `class_name` is "" for objects without a class."""

    structure: str
    class_name: str
    colour: str
    count: int


def list_kinds(summary: Summary) -> tuple[Kind, ...]:
    """All kinds of objects that a slide may have; a kind's number is its place here."""
    return tuple(
        Kind(
            structure=structure,
            class_name=name,
            colour=_colours(summary, structure).get(name, NO_CLASS_COLOUR),
            count=count,
        )
        for structure in dict.fromkeys([*summary.structures, *summary.counts])
        for name, count in _classes(summary, structure).items()
    )


def _colours(summary: Summary, structure: str) -> dict[str, str]:
    about = summary.structures.get(structure)
    return about.colours if about else {}


def _classes(summary: Summary, structure: str) -> dict[str, int]:
    """The classes of a structure and their counts, last "" with the rest, if there is any or no class at all."""
    words, counts = summary.structures.get(structure), summary.counts.get(structure)
    known = {name: count for name, count in counts.classes.items() if name} if counts else {}
    names = dict.fromkeys([*(words.classes if words else ()), *known])
    found = {name: known.get(name, 0) for name in names if name and (name != BACKGROUND or known.get(name))}
    rest = (counts.all if counts else 0) - sum(found.values())
    return found | ({"": max(rest, 0)} if rest > 0 or not found else {})


def number_kinds(table: "pa.Table", kinds: tuple[Kind, ...]) -> UInt16[np.ndarray, " N"]:
    """The number of each object's kind, from the columns `structure` and `class`.

    Raises:
        DataError: If the summary does not name the structure or class of an object.
    """
    structures, structure_of = _words(table, "structure")
    classes, class_of = _words(table, "class")
    classes.append("")  # The last, which -1 stands for
    numbers = {(kind.structure, kind.class_name): number for number, kind in enumerate(kinds)}
    lookup = np.array([[numbers.get((s, c), -1) for c in classes] for s in structures], int).reshape(-1, len(classes))
    found = lookup[structure_of, class_of] if len(structures) else np.zeros(0, int)
    if (unknown := np.flatnonzero(found < 0)).size:
        first = int(unknown[0])
        what = f"structure {structures[structure_of[first]]!r}, class {classes[class_of[first]]!r}"
        raise DataError(f"an object has {what}, which summary.json does not name; segment the slide again")
    return found.astype(np.uint16)


def _words(table: "pa.Table", column: str) -> tuple[list[str], Int[np.ndarray, " N"]]:
    """The different words of a column, and for each row which one it has; -1 without one."""
    values = table.select([column]).unify_dictionaries().column(column).combine_chunks()
    return values.dictionary.to_pylist(), values.indices.fill_null(-1).to_numpy(zero_copy_only=False).astype(int)
