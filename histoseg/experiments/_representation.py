"""The runs behind Cerberus' Tables 6 and A1: patches about nuclei, classified by the features of many encoders.

Each row is a way to come by an encoder. Rows that start from a Cerberus share its training with Tables 2 to 5 by name,
except at the scale laptop, where it is shorter; what follows is the same for all: two layers on its frozen features.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

from histoseg.experiments import _cerberus
from histoseg.experiments._available import Sources
from histoseg.experiments._cerberus import ALL, SEGMENTATION, FoldGrid, Row, typed_sources
from histoseg.experiments._cerberus_spec import ON_WEIGHTS
from histoseg.methods.probe import Probing
from histoseg.methods.simclr import SimClr
from histoseg.models.probe import ProbeSpec
from histoseg.runs.config import Optim, Run, Select, Stage
from histoseg.scoring.object_classes import ObjectClasses
from histoseg.types import Split

NUCLEI = "nuclei"
# Sources that teach none of Cerberus' structures: SimCLR+ learns from their images, too.
UNLABELLED = ("digestpath", "gleason2019", "breastpathq")
SOURCES = (*_cerberus.SOURCES, *UNLABELLED)
_TEMPLATE = Row(title="", trainings=((NUCLEI,),), mixed=False)  # Of rows without a Cerberus: their data and divisions
LABELLED, EVERYTHING = "labelled", "everything"  # What SimCLR sees
GIVEN = ("external", "timm")  # Rows, and labels of their stages, whose encoder a person gives

NOTES = (
    "Mean ± standard deviation over three divisions of the folds (and seeds): encoder and layers are trained on one "
    "fold and scored on another, which neither has seen. The network is the one after the last step; nothing is chosen "
    "on a score.",
    "Patches of 32 by 32 pixels about the annotated nuclei; features of four depths of the encoder, pooled and frozen; "
    "two fully connected layers are trained. Scores are of all annotated nuclei of a split together.",
    "SimCLR sees the images with glands, lumina or nuclei, of the fold that is trained on. SimCLR+ sees those of every "
    "prepared source, also those of tissue and those that teach none of these structures. The paper's SimCLR+ saw over "
    "two million patches, of TCGA and PAIP besides.",
    "“Ciga et al.” is a ResNet18 that its authors trained by SimCLR on 57 data sets. That row, and the one of timm, "
    "need a file, see docs/representation.md.",
    ON_WEIGHTS,
)


@dataclass(frozen=True, kw_only=True)
class EncoderRow:
    """A way to come by an encoder.

    Attributes:
        cerberus: The training whose encoder is taken; None if no Cerberus is trained.
        contrast: What SimCLR learns from: the images with glands, lumina or nuclei, or all that are prepared.
        imagenet: Whether the encoder is ImageNet's.
        given: The encoder of a row whose weights a person gives.
        by_pixel: Whether a decoder for classes follows instead, so that objects are classified by their pixels.
    """

    title: str
    cerberus: Row | None = None
    contrast: str = ""
    imagenet: bool = False
    given: str = ""
    by_pixel: bool = False


def _single(structure: str) -> Row:
    return Row(title=structure, trainings=((structure,),), mixed=False)


ROWS: Mapping[str, EncoderRow] = {
    "in": EncoderRow(title="ImageNet", imagenet=True),
    "simclr": EncoderRow(title="SimCLR", contrast=LABELLED),
    "simclr_plus": EncoderRow(title="SimCLR+", contrast=EVERYTHING),
    "stl_nuclei": EncoderRow(title="Single task, nuclei", cerberus=_single(NUCLEI)),
    "stl_gland": EncoderRow(title="Single task, glands", cerberus=_single("gland")),
    "stl_lumen": EncoderRow(title="Single task, lumina", cerberus=_single("lumen")),
    "mtl": EncoderRow(title="Multi-task", cerberus=Row(title="", trainings=(SEGMENTATION,))),
    "in_mtl": EncoderRow(title="+ ImageNet", cerberus=Row(title="", trainings=(SEGMENTATION,), imagenet=True)),
    "in_mtl_pc": EncoderRow(
        title="+ ImageNet + patch classification", cerberus=Row(title="", trainings=(ALL,), imagenet=True)
    ),
    "in_mtl_pc_18": EncoderRow(
        title="The same, ResNet18", cerberus=Row(title="", trainings=(ALL,), encoder="resnet18", imagenet=True)
    ),
    "external": EncoderRow(title="Ciga et al., or another file of a ResNet18", given="resnet18"),
    "timm": EncoderRow(title="An encoder of timm", given="timm/vit_small_patch16_224"),
}
PIXEL = {
    "pixel": EncoderRow(
        title="Cerberus, by pixel",
        cerberus=Row(title="", trainings=(ALL,), imagenet=True, subtyping=(NUCLEI,)),
        by_pixel=True,
    )
}


@dataclass(frozen=True, kw_only=True)
class ProbeSizes:
    """How large the stages are that Cerberus' tables do not have."""

    contrast: SimClr
    contrast_optim: Optim
    probing: Probing
    probing_optim: Optim


# The paper gives no number of steps of these stages, and its code for them was not published.
SIZES = {
    "laptop": ProbeSizes(
        contrast=SimClr(batch=12),
        contrast_optim=Optim(lr=1e-3, steps=60),
        probing=Probing(batch=64),
        probing_optim=Optim(lr=2e-3, steps=200, drop_at=150),
    ),
    "real-cpu": ProbeSizes(
        contrast=SimClr(batch=12),
        contrast_optim=Optim(lr=1e-3, steps=150),
        probing=Probing(),
        probing_optim=Optim(lr=1e-3, steps=600, drop_at=400),
    ),
    "paper": ProbeSizes(
        contrast=SimClr(),
        contrast_optim=Optim(lr=1e-3, steps=90_000, drop_at=70_000, precision="bf16", compile=True),  # As Sec. 4.4
        probing=Probing(),
        probing_optim=Optim(lr=1e-3, steps=20_000, drop_at=15_000),
    ),
}
SCALES = {name: _cerberus.BRIEF_SCALES[name] for name in SIZES}


@dataclass(frozen=True, kw_only=True)
class EncoderGrid:
    """The runs of a table whose rows are encoders."""

    experiment: str
    rows: Mapping[str, EncoderRow]

    def runs(self, scale: str, seeds: int, sources: Sources) -> list[Run]:
        """Every run that the prepared sources allow, for seeds 0 to `seeds` - 1."""
        grid, typed = self._grid, self._typed(sources)
        if not typed:
            return []
        return [self._run(run, typed, sources) for run in grid.runs(scale, seeds, sources)]

    def why_missing(self, row: str, column: str, sources: Sources) -> str:
        """Why a number cannot be had; empty if it can. Columns are split.structure.score, perhaps with a class."""
        split, structure, _, *classes = column.split(".", 3)
        if why := self._grid.why_missing(row, f"{split}.{structure}.mpq", sources):
            return why
        if lacking := self._lacking(row, sources):
            return lacking
        known = sources[self._typed(sources)[0]].task.classes
        if classes and classes[0] not in known:
            return f"no class {classes[0]} of {structure}"
        return ""

    def why_incomplete(self, run: Run) -> str:
        """Why a run has no encoder: those of some rows are given by assignments. Empty for one that has."""
        network = run.at(-1).network
        is_given = isinstance(network, ProbeSpec) and bool(network.weights)
        return "" if run.row not in GIVEN or is_given else "no encoder was given; docs/representation.md says how"

    @property
    def _grid(self) -> FoldGrid:
        """The trainings that rows begin with, or that stand for them."""
        rows = {name: row.cerberus or _TEMPLATE for name, row in self.rows.items()}
        return FoldGrid(experiment=self.experiment, rows=rows, scales=SCALES)

    def _lacking(self, row: str, sources: Sources) -> str:
        """Why a row's Cerberus cannot be trained."""
        before = self.rows[row].cerberus
        wanted = before.trainings[0] if before else ()
        found = [structure for structure in wanted if self._grid.chosen(structure, sources)]
        if len(found) < min(self._grid.least, len(wanted)):
            return f"no shards with {' or '.join(structure for structure in wanted if structure not in found)}"
        return ""

    def _typed(self, sources: Sources) -> tuple[str, ...]:
        return typed_sources(self._grid.chosen(NUCLEI, sources), sources)

    def _run(self, run: Run, typed: tuple[str, ...], sources: Sources) -> Run:
        """A run of the grid of trainings with the stages that follow, or in their place."""
        row, size = self.rows[run.row], SCALES[run.scale]
        splits = run.stages[0].select.splits
        scored = replace(
            run,
            score=replace(run.score, sources=typed),
            evaluator=ObjectClasses(window_px=size.evaluator.window_px, margin_px=size.evaluator.margin_px),
        )
        if row.by_pixel:
            return scored
        probe = Stage(
            label=run.row if run.row in GIVEN else "probe",
            method=SIZES[run.scale].probing,
            select=Select(sources=typed, splits=splits),
            optim=SIZES[run.scale].probing_optim,
            network=self._probe(row, run),
        )
        return replace(scored, stages=(*self._before(row, run, sources), probe))

    def _probe(self, row: EncoderRow, run: Run) -> ProbeSpec:
        size = SCALES[run.scale]
        if row.given:
            return ProbeSpec(encoder=row.given)
        weights = "imagenet" if row.imagenet and size.imagenet else ""
        encoder = row.cerberus.encoder if row.cerberus else "resnet34"
        return ProbeSpec(encoder=encoder, width=size.width, weights=weights)

    def _before(self, row: EncoderRow, run: Run, sources: Sources) -> tuple[Stage, ...]:
        """The stages that train the encoder."""
        if row.cerberus:
            return run.stages
        if not row.contrast:
            return ()
        width, splits = SCALES[run.scale].width, run.stages[0].select.splits
        learn = Stage(
            label="contrast",
            method=SIZES[run.scale].contrast,
            select=Select(sources=self._seen(row, splits, sources), splits=splits),
            optim=SIZES[run.scale].contrast_optim,
            # Chen et al. 2020, Sec. 2.1: the last features are projected, by a hidden layer as wide as they are.
            network=ProbeSpec(width=width, depths=1, hidden=8 * width),
        )
        return (learn,)

    def _seen(self, row: EncoderRow, splits: Iterable[Split], sources: Sources) -> tuple[str, ...]:
        """The sources that SimCLR learns from: those with an image in the folds that are trained on."""
        labelled = (name for structure in SEGMENTATION for name in self._grid.chosen(structure, sources))
        chosen = labelled if row.contrast == LABELLED else sources
        return tuple(dict.fromkeys(name for name in chosen if set(splits) & sources[name].splits))
