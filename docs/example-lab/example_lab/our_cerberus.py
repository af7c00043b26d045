"""One network of nuclei over three folds of patients, as Cerberus; every prepared source of nuclei takes part."""

from dataclasses import replace

from histoseg.experiments import _cerberus
from histoseg.experiments._cerberus import FoldGrid, Row, Sizes, sources_teaching
from histoseg.experiments._cerberus_spec import NOTES, folds_table, groups
from histoseg.runs.config import Optim
from histoseg.scoring.objects import Objects

STRUCTURES = ("nuclei",)  # Sources that teach them are read, also those that only the store knows.
SOURCES = sources_teaching(STRUCTURES)
SPEC = folds_table(
    title="Our nuclei by one network",
    rows={"plain": "Without contours", "contour": "With contours"},
    groups=groups(STRUCTURES, {"pq": "PQ", "dice": "Dice"}),
    notes=NOTES,
    keeps_model=True,
)
SMOKE = Sizes(
    data=replace(_cerberus.AUGMENTATION, patch_px=64, tissue_px=64),
    width=4,
    batch=4,
    optim=Optim(lr=3e-3, steps=2),
    evaluator=Objects(window_px=192, margin_px=16),
    imagenet=False,
)
SCALES = {"smoke": SMOKE, **_cerberus.SCALES}
_GRID = FoldGrid(
    experiment="our_cerberus",
    rows={
        "plain": Row(title="Without contours", trainings=(STRUCTURES,)),
        "contour": Row(title="With contours", trainings=(STRUCTURES,), contour=True),
    },
    scales=SCALES,
    divisions=((("fold1", "fold2"), "fold3"),),
)
runs = _GRID.runs
why_missing = _GRID.why_missing
