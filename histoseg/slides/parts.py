"""What a region leaves for others, as one Parquet file: pieces, solids, strips, and the classes of its tissue squares.

Pixels are packed to bits; probabilities are kept, in full, where the piece is.
"""

import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Bool, UInt8

from histoseg.errors import DataError
from histoseg.maps.evidence import Evidence
from histoseg.slides.settle import Piece, Settled, Solid, Strip

if TYPE_CHECKING:
    import pyarrow as pa

FORMAT = b"1"
COLUMNS = ("kind", "structure", "region", "top", "left", "height", "width", "holder", "part", "mask", "inner", "types")
NUMBERS = COLUMNS[3:8]


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
    columns = {name: [row[i] for row in rows] for i, name in enumerate(COLUMNS)}
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
        if about.get(b"format") != FORMAT or tuple(table.column_names) != COLUMNS:
            raise ValueError("it is of another version")
        rows, columns = map(int, about[b"shape"].split())
        tissue = np.frombuffer(about[b"tissue"], np.uint8).reshape(rows, columns)
        settled = Settled(
            pieces=list(_pieces(table)),
            solids=[
                Solid(structure=row["structure"], top=row["top"], left=row["left"], mask=_mask(row, "part"))
                for row in _rows(table, "solid")
            ],
            strips=[
                Strip(structure=row["structure"], top=row["top"], left=row["left"], types=_types(row))
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

    kinds = {name: pa.string() for name in COLUMNS[:3]} | {name: pa.int32() for name in NUMBERS}
    return pa.schema(list((kinds | {name: pa.binary() for name in COLUMNS[8:]}).items()))


Row = tuple[Any, ...]


def _piece_row(piece: Piece) -> Row:
    evidence = piece.evidence
    inner = None if evidence.inner is None else evidence.inner[piece.part].tobytes()
    types = None if evidence.types is None else evidence.types.tobytes()
    place = (piece.top, piece.left, *piece.shape, piece.holder)
    return "piece", piece.structure, piece.region, *place, _pack(piece.part), _pack(evidence.mask), inner, types


def _solid_row(solid: Solid) -> Row:
    return "solid", solid.structure, "", solid.top, solid.left, *solid.shape, -1, _pack(solid.mask), None, None, None


def _strip_row(strip: Strip) -> Row:
    place = (strip.top, strip.left, *strip.shape, -1)
    return "strip", strip.structure, "", *place, None, None, None, strip.types.tobytes()


def _pack(mask: Bool[np.ndarray, "H W"]) -> bytes:
    return np.packbits(mask).tobytes()


def _rows(table: "pa.Table", kind: str) -> Iterator[dict[str, Any]]:
    import pyarrow.compute as pc

    return iter(table.filter(pc.equal(table["kind"], kind)).to_pylist())


def _pieces(table: "pa.Table") -> Iterator[Piece]:
    for row in _rows(table, "piece"):
        part, inner = _mask(row, "part"), None
        if row["inner"] is not None:
            inner = np.zeros(part.shape, np.float32)
            inner[part] = np.frombuffer(row["inner"], np.float32)
        types = None if row["types"] is None else _types(row)
        yield Piece(
            structure=row["structure"],
            region=row["region"],
            top=row["top"],
            left=row["left"],
            part=part,
            evidence=Evidence(mask=_mask(row, "mask"), inner=inner, types=types),
            holder=row["holder"],
        )


def _mask(row: dict[str, Any], name: str) -> Bool[np.ndarray, "H W"]:
    shape = row["height"], row["width"]
    bits = np.unpackbits(np.frombuffer(row[name], np.uint8), count=shape[0] * shape[1])
    return bits.astype(bool).reshape(shape)


def _types(row: dict[str, Any]) -> UInt8[np.ndarray, "H W"]:
    return np.frombuffer(row["types"], np.uint8).reshape(row["height"], row["width"])
