"""Whether the elements of a MATLAB file are whole: SciPy's reader ends the process where a type is damaged.

The layout is that of version 5 ("MAT-File Format", MathWorks). Compressed elements have a checksum, so only others need
a look, and of each only its first eight bytes are read.
"""

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from histoseg.errors import DataError

HEADER = 128
VERSION_7_3 = (b"\0\2", b"\2\0")  # In either order of bytes
MATRIX, COMPRESSED = 14, 15
NUMBERS = {1, 2, 3, 4, 5, 6, 7, 9, 12, 13}  # Types of values; 8, 10 and 11 are reserved.
TEXTS = {16, 17, 18}
CELL, STRUCT, OBJECT, TEXT, SPARSE, LARGEST_CLASS = 1, 2, 3, 4, 5, 17
NESTED = {CELL, STRUCT, OBJECT, 16, LARGEST_CLASS}  # Arrays of arrays; 16 and 17 are not documented
COMPLEX = 0x0800  # The flag of an array with an imaginary part, an element more


@dataclass(frozen=True, kw_only=True)
class _Element:
    """Where the bytes of an element begin and end, and where the next element begins."""

    kind: int
    start: int
    stop: int
    following: int


def require_known_types(path: Path) -> None:
    """Refuse a file of version 5 with an element of a type that its array cannot have, or longer than the array."""
    size = path.stat().st_size
    with path.open("rb") as file:
        header = file.read(HEADER)
        order = "<" if header[126:] == b"IM" else ">"
        if 0 in header[:4] or header[124:126] in VERSION_7_3:  # Version 4 begins with a number of four bytes.
            return
        pending = [element for element in _elements(file, HEADER, size, order) if element.kind != COMPRESSED]
        while pending:
            element = pending.pop()
            inner = list(_elements(file, element.start, element.stop, order)) if element.kind == MATRIX else []
            if not inner or not _fits(file, inner, order):
                raise DataError(f"{path}: not a readable MATLAB file (damaged at byte {element.start}); fetch it again")
            pending += [each for each in inner if each.kind == MATRIX and each.stop > each.start]


def _elements(file: BinaryIO, position: int, end: int, order: str) -> Iterator[_Element]:
    """The elements from one position to another; what is cut short or longer has the kind 0."""
    while position < end:
        file.seek(position)
        tag = file.read(8)
        kind, length = struct.unpack(f"{order}II", tag) if len(tag) == 8 else (0, 0)
        if kind > 0xFFFF:  # Up to four bytes, stored within the tag
            kind, start, stop, following = kind & 0xFFFF, position + 4, position + 4 + (kind >> 16), position + 8
            is_whole = stop <= following
        else:
            start, stop = position + 8, position + 8 + length
            following, is_whole = stop if kind == COMPRESSED else stop + -length % 8, stop <= end
        yield _Element(kind=kind if is_whole else 0, start=start, stop=stop, following=following)
        position = following if is_whole else end


def _fits(file: BinaryIO, inner: list[_Element], order: str) -> bool:
    """Whether the elements of an array begin with its class and are of types that the class has."""
    flags = inner[0]
    if flags.kind != 6 or flags.stop - flags.start != 8:
        return False
    file.seek(flags.start)
    (word,) = struct.unpack(f"{order}I", file.read(4))
    array_class, is_complex = word & 0xFF, bool(word & COMPLEX)
    if not 1 <= array_class <= LARGEST_CLASS:
        return False
    if array_class not in NESTED and len(inner) != (6 if array_class == SPARSE else 4) + is_complex:
        return False
    allowed = NUMBERS | ({MATRIX} if array_class in NESTED else TEXTS if array_class == TEXT else set())
    return all(element.kind in allowed for element in inner)
