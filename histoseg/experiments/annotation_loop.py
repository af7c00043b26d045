"""Growing a data set: regions by what the network of the round before finds difficult, beside regions at random.

Cerberus (Graham et al. 2023), Sec. 3.4, with a simulated annotator: the true labels of a region are used once it is
chosen. Each round adds as many regions and trains on from the network before for as many steps, whatever the row.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from histoseg.experiments._annotation_spec import RANDOM, WAYS, annotation_table
from histoseg.experiments._available import Sources
from histoseg.experiments._cerberus import AUGMENTATION, FoldGrid, Row
from histoseg.methods.multitask import MultiTask
from histoseg.models.cerberus import CerberusSpec
from histoseg.runs.config import Data, Optim, Run, Select, Stage
from histoseg.scoring.objects import Objects
from histoseg.types import FOLDS, Split

STRUCTURE = "nuclei"
# Where nuclei are everywhere, any region teaches as much as another: drawn tissue that is mostly empty where it is
# prepared, else public sets of many organs.
GROUPS = (("synthetic_nuclei",), ("monuseg", "consep", "pannuke"))
SOURCES = tuple(name for group in GROUPS for name in group)
NUM_ROUNDS = 5
EVERYTHING = 10**6  # Regions of a first round that annotates all there is
ROWS = {
    "representative": "Representative regions",
    "difficult": "Difficult regions",
    "random": "Regions at random",
    "everything": "Everything annotated",
}
COLUMNS = {f"round{number}": f"Round {number}" for number in range(1, NUM_ROUNDS + 1)}
SPEC = annotation_table(STRUCTURE, ROWS, COLUMNS)

# Regions are squares that a patch fills, neither turned nor resized: turned ones need half as much again.
DATA = replace(AUGMENTATION, patch_px=64, scale=(1.0, 1.0), stretch=False, rotate_deg=0.0, shear_deg=0.0)


@dataclass(frozen=True, kw_only=True)
class Sizes:
    """How large the loop is.

    Attributes:
        start: Regions of the first round.
        is_warm: Whether the network knows other tissue before: of several sources, it learns all but the first one in
            the first round, and later ones add regions of the first, by which it is scored.
        regions: Regions that each later round adds.
        per_image: How many of the first ones, and of the most difficult ones, one image gives at most.
        first: The training of the first round, which must have learnt something before it is asked what is difficult.
        optim: The training of each later round.
    """

    data: Data = DATA
    network: CerberusSpec = field(default_factory=lambda: CerberusSpec(encoder="resnet18", width=8))
    batch: int = 8
    first: Optim = field(default_factory=lambda: Optim(lr=3e-3, steps=240, drop_at=180))
    optim: Optim = field(default_factory=lambda: Optim(lr=1e-3, steps=60, drop_at=40))
    start: int = 8
    is_warm: bool = False
    regions: int = 2
    per_image: int = 1
    evaluator: Objects = field(default_factory=lambda: Objects(window_px=384, margin_px=32))


SCALES: Mapping[str, Sizes] = {
    # Tiles of drawn nuclei: minutes on two cores.
    "laptop": Sizes(),
    # Real images on a few cores: a model of colon meets other organs, and a pathologist has time for little.
    "real-cpu": Sizes(
        first=Optim(lr=3e-3, steps=2000, drop_at=1400),
        optim=Optim(lr=1e-3, steps=400, drop_at=280),
        is_warm=True,
        regions=1,
    ),
    # Regions of Cerberus' size and its network (Secs. 3.4 and 4.4); the paper does not say how many a round had.
    "paper": Sizes(
        data=replace(DATA, patch_px=448),
        network=CerberusSpec(weights="imagenet", contour=True),
        batch=27,
        first=Optim(lr=1e-3, steps=90_000, drop_at=70_000, precision="bf16", compile=True),
        optim=Optim(lr=1e-3, steps=18_000, drop_at=14_000, precision="bf16", compile=True),
        start=200,
        regions=50,
        per_image=5,
        evaluator=Objects(),
    ),
}
_GRID = FoldGrid(
    experiment="annotation_loop",
    rows={name: Row(title=title, trainings=((STRUCTURE,),)) for name, title in ROWS.items()},
    divisions=tuple((tuple(fold for fold in FOLDS if fold != test), test) for test in FOLDS),
)


def runs(scale: str, seeds: int, sources: Sources) -> list[Run]:
    """A run for each row and number of rounds, with seeds 0 to `seeds` - 1; runs share the rounds that are equal."""
    if any(why_missing(row, "", sources) for row in ROWS):
        return []
    chosen = _chosen(sources)
    return [
        _run(scale, seed, (row, column), chosen, division)
        for seed in range(seeds)
        for division in _GRID.divisions
        for row in ROWS
        for column in COLUMNS
    ]


def why_missing(row: str, column: str, sources: Sources) -> str:  # noqa: ARG001  # every experiment's
    """Why a row cannot be had from these sources; empty if it can."""
    return _GRID.why_missing(row, f"test.{STRUCTURE}.pq", {name: sources[name] for name in _chosen(sources)})


def _chosen(sources: Sources) -> tuple[str, ...]:
    """The first group of which a source is prepared."""
    found = (tuple(name for name in group if name in sources) for group in GROUPS)
    return next((group for group in found if group), ())


def _run(
    scale: str, seed: int, place: tuple[str, str], chosen: tuple[str, ...], division: tuple[tuple[Split, ...], Split]
) -> Run:
    sizes, (row, column), (pool, test) = SCALES[scale], place, division
    numbers = range(1, list(COLUMNS).index(column) + 2)
    known, new = (chosen[1:], chosen[:1]) if sizes.is_warm and len(chosen) > 1 else ((), chosen)
    first = Select(sources=known, splits=pool, regions=EVERYTHING) if known else None
    select = Select(sources=new, splits=pool)
    return Run(
        experiment=_GRID.experiment,
        scale=scale,
        row=row,
        column=column,
        division=f"{'+'.join(pool)} to {test}",
        seed=seed,
        data=sizes.data,
        network=sizes.network,
        stages=tuple(_round(number, row, sizes, select, first) for number in numbers),
        score=Select(sources=new, splits=(test,)),
        evaluator=sizes.evaluator,
    )


def _round(number: int, row: str, sizes: Sizes, pool: Select, known: Select | None) -> Stage:
    """A round: some regions are annotated, and the network is trained on with all that are."""
    optim = sizes.first if number == 1 else sizes.optim
    if number == 1 and known:
        annotated = known
    else:
        choose = next((way for way in WAYS if way == row and number > 1), RANDOM)
        is_spread = row != "everything" and (number == 1 or choose == "difficult")
        annotated = replace(
            pool,
            regions=EVERYTHING if row == "everything" else sizes.start if number == 1 else sizes.regions,
            choose=choose,
            per_image=sizes.per_image if is_spread else 0,
        )
    return Stage(label=f"round{number}", method=MultiTask(batch=sizes.batch), select=annotated, optim=optim)
