"""What a region leaves for others, as one Parquet file: pieces, solids, strips, and the classes of its tissue squares.

Pixels are packed to bits; probabilities are kept, in full, where the piece is.
"""

import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from jaxtyping import Bool, UInt8

from histoseg.errors import DataError
from histoseg.maps.evidence import Evidence
from histoseg.slides.settle import Piece, Settled, Solid, Strip

if TYPE_CHECKING:
    import pyarrow as pa

FORMAT = b"1"


class Row(NamedTuple):
    """A piece, a solid or a strip, as the file has it; pixels are bits, floats and bytes, row by row."""

    kind: str
    structure: str
    region: str
    top: int
    left: int
    height: int
    width: int
    holder: int = -1
    part: bytes = b""
    mask: bytes = b""
    inner: bytes | None = None
    types: bytes | None = None

    @property
    def shape(self) -> tuple[int, int]:
        """Height and width."""
        return self.height, self.width


@dataclass(frozen=True, kw_only=True)
class Rest:
    """What a region leaves: what is to be stitched, and the class of each square of tissue, if there are any."""

    settled: Settled
    tissue: UInt8[np.ndarray, "I J"] | None = None


def encode_rest(rest: Rest) -> bytes:
    """The file's bytes; what is settled already is not in it."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    rows = [*map(_piece_row, rest.settled.pieces), *map(_solid_row, rest.settled.solids)]
    rows += map(_strip_row, rest.settled.strips)
    columns = {name: [getattr(row, name) for row in rows] for name in Row._fields}
    tissue = np.zeros((0, 0), np.uint8) if rest.tissue is None else rest.tissue
    about = {b"format": FORMAT, b"shape": f"{tissue.shape[0]} {tissue.shape[1]}".encode(), b"tissue": tissue.tobytes()}
    table = pa.table(columns, schema=_schema().with_metadata(about))
    body = io.BytesIO()
    pq.write_table(table, body, compression="zstd", use_dictionary=["kind", "structure", "region"])
    return body.getvalue()


def decode_rest(body: bytes, where: str) -> Rest:
    """What `encode_rest` made bytes of.

    Raises:
        DataError: If the file is damaged or of another version.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        table = pq.read_table(io.BytesIO(body))
        about = table.schema.metadata or {}
        if about.get(b"format") != FORMAT or tuple(table.column_names) != Row._fields:
            raise ValueError("it is of another version")
        rows, columns = map(int, about[b"shape"].split())
        tissue = np.frombuffer(about[b"tissue"], np.uint8).reshape(rows, columns)
        settled = Settled(
            pieces=list(_pieces(table)),
            solids=[
                Solid(structure=row.structure, top=row.top, left=row.left, mask=_mask(row, row.part))
                for row in _rows(table, "solid")
            ],
            strips=[
                Strip(structure=row.structure, top=row.top, left=row.left, types=_types(row, row.types or b""))
                for row in _rows(table, "strip")
            ],
        )
    except (pa.ArrowException, ValueError, KeyError, TypeError) as error:
        raise DataError(f"{where}: cannot be read ({error}); delete it, and its region is segmented again") from error
    return Rest(settled=settled, tissue=tissue if tissue.size else None)


def join_rests(rests: Sequence[Rest]) -> Settled:
    """What all regions leave, together."""
    return Settled(
        pieces=[piece for rest in rests for piece in rest.settled.pieces],
        solids=[solid for rest in rests for solid in rest.settled.solids],
        strips=[strip for rest in rests for strip in rest.settled.strips],
    )


def _schema() -> "pa.Schema":
    import pyarrow as pa

    numbers = dict.fromkeys(Row._fields[3:8], pa.int32())
    pixels = dict.fromkeys(Row._fields[8:], pa.binary())
    return pa.schema(list((dict.fromkeys(Row._fields[:3], pa.string()) | numbers | pixels).items()))


def _piece_row(piece: Piece) -> Row:
    evidence = piece.evidence
    return Row(
        kind="piece",
        structure=piece.structure,
        region=piece.region,
        top=piece.top,
        left=piece.left,
        height=piece.part.shape[0],
        width=piece.part.shape[1],
        holder=piece.holder,
        part=_pack(piece.part),
        mask=_pack(evidence.mask),
        inner=None if evidence.inner is None else evidence.inner[piece.part].tobytes(),
        types=None if evidence.types is None else evidence.types.tobytes(),
    )


def _solid_row(solid: Solid) -> Row:
    return Row(
        kind="solid",
        structure=solid.structure,
        region="",
        top=solid.top,
        left=solid.left,
        height=solid.mask.shape[0],
        width=solid.mask.shape[1],
        part=_pack(solid.mask),
    )


def _strip_row(strip: Strip) -> Row:
    return Row(
        kind="strip",
        structure=strip.structure,
        region="",
        top=strip.top,
        left=strip.left,
        height=strip.types.shape[0],
        width=strip.types.shape[1],
        types=strip.types.tobytes(),
    )


def _pack(mask: Bool[np.ndarray, "H W"]) -> bytes:
    return np.packbits(mask).tobytes()


def _rows(table: "pa.Table", kind: str) -> Iterator[Row]:
    import pyarrow.compute as pc

    return (Row(**row) for row in table.filter(pc.equal(table["kind"], kind)).to_pylist())


def _pieces(table: "pa.Table") -> Iterator[Piece]:
    for row in _rows(table, "piece"):
        part, inner = _mask(row, row.part), None
        if row.inner is not None:
            inner = np.zeros(part.shape, np.float32)
            inner[part] = np.frombuffer(row.inner, np.float32)
        types = None if row.types is None else _types(row, row.types)
        yield Piece(
            structure=row.structure,
            region=row.region,
            top=row.top,
            left=row.left,
            part=part,
            evidence=Evidence(mask=_mask(row, row.mask), inner=inner, types=types),
            holder=row.holder,
        )


def _mask(row: Row, bits: bytes) -> Bool[np.ndarray, "H W"]:
    unpacked = np.unpackbits(np.frombuffer(bits, np.uint8), count=row.height * row.width)
    return unpacked.astype(bool).reshape(row.shape)


def _types(row: Row, body: bytes) -> UInt8[np.ndarray, "H W"]:
    return np.frombuffer(body, np.uint8).reshape(row.shape)
