"""CRC-TP: tiles of one tissue each from colorectal cancer, seven classes (Javed et al. 2020).

Its `Fold1` and `Fold2` are not folds of cross-validation: each divides the same tiles into Training and Testing, the
first at random, the second by patient. The data set is said to be no longer public.
"""

from pathlib import Path

from histoseg.errors import ConfigError
from histoseg.files.folders import plain, require_unique
from histoseg.sources import _tissue
from histoseg.types import Entry, Sample, Task

TASK = Task(
    name="crc_tp",
    title="CRC-TP",
    classes=_tissue.CLASSES,
    mpp=0.5,  # 20x (Javed et al. 2020).
    licence="research, non-commercial (Warwick TIA Centre)",
    kind="patch",
    structure="tissue",
    year=2020,
)

DIVISIONS = ("2", "1")


def entries(root: Path, *, division: str = "2", complex_stroma: str = "leave-out") -> list[Entry]:
    """The tiles with a class of Cerberus, no pixel read. Names state no patient as far as known: each tile is its own.

    division: Whether the tiles are read from Fold2 ("2") or Fold1 ("1"), which hold the same.
    complex_stroma: Whether tiles of complex stroma are left out and counted ("leave-out"), or are "stroma".
    """
    if division not in DIVISIONS:
        raise ConfigError(f"no division {division!r} for {TASK.name}; choose from {', '.join(DIVISIONS)}")
    layout = _tissue.Layout(
        title=TASK.title,
        folders=_tissue.CRC_TP,
        is_set=lambda folder: _is_half(folder, f"fold{division}"),
        wanted=f"Fold{division}/Training and Fold{division}/Testing with a folder per class, Benign to Tumor",
        ambiguous=("Complex Stroma", "Complex"),
    )
    tiles = _tissue.find(root, layout, complex_stroma=complex_stroma)
    return require_unique([_tissue.make_entry(path, class_id, _name(path)) for path, class_id in tiles.items()])


def _is_half(folder: Path, division: str) -> bool:
    return plain(folder.name) in ("training", "testing") and plain(folder.parent.name) == division


def _name(path: Path) -> str:
    """The half, the class and the file name: file names may recur in other folders."""
    return f"{path.parents[1].name}_{path.parent.name}_{path.stem}"


def read(entry: Entry) -> Sample:
    """One tile; every pixel has its class."""
    return _tissue.read(entry, TASK)
