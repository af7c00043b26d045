"""NCT-CRC-HE: tiles of one tissue each from colorectal cancer, nine classes (Kather et al. 2019)."""

from dataclasses import replace
from pathlib import Path

from histoseg.errors import ConfigError, DataError
from histoseg.files.folders import plain, require_unique
from histoseg.sources import _tissue
from histoseg.types import EXTERNAL, Entry, Sample, Task

TASK = Task(
    name="nct_crc_he",
    title="NCT-CRC-HE",
    classes=_tissue.CLASSES,
    mpp=0.5,  # Kather et al. 2019, Methods.
    licence="CC BY 4.0",
    kind="patch",
    structure="tissue",
    year=2019,
)

PARTS = {  # The folders of each part; the two of 100k have the same tiles, the first with normalised colours.
    "100k": ("NCT-CRC-HE-100K", "NCT-CRC-HE-100K-NONORM"),
    "7k": ("CRC-VAL-HE-7K",),
}
CHOICES = (*PARTS, "all")


def entries(root: Path, *, part: str = "all") -> list[Entry]:
    """The tiles, no pixel read. Names state no patient: each tile is its own. The 7K, of other patients, are external.

    part: "100k", "7k", or "all" for the parts that are there.
    """
    if part not in CHOICES:
        raise ConfigError(f"no part {part!r} for {TASK.name}; choose from {', '.join(CHOICES)}")
    names = [name for each in PARTS for name in PARTS[each] if part in (each, "all")]
    wanted = {plain(name) for name in names}
    layout = _tissue.Layout(
        title=TASK.title,
        folders=_tissue.NCT_CRC_HE,
        is_set=lambda folder: plain(folder.name) in wanted,
        wanted=f"{' or '.join(names)} with a folder per class, ADI to TUM",
    )
    tiles = _tissue.find(root, layout)
    _require_one_100k({path.parents[1] for path in tiles})
    return require_unique([_entry(path, class_id) for path, class_id in tiles.items()])


def _is_external(folder: Path) -> bool:
    return plain(folder.name) in {plain(name) for name in PARTS["7k"]}


def _require_one_100k(folders: set[Path]) -> None:
    found = sorted(folder for folder in folders if not _is_external(folder))
    if len(found) > 1:
        raise DataError(f"{found[1]}: the same 100,000 tiles as {found[0]}; keep one of the two")


def _entry(path: Path, class_id: int) -> Entry:
    entry = _tissue.make_entry(path, class_id, path.stem)
    return replace(entry, fold=EXTERNAL) if _is_external(path.parents[1]) else entry


def read(entry: Entry) -> Sample:
    """One tile; every pixel has its class."""
    return _tissue.read(entry, TASK)
