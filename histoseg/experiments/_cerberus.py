"""The runs behind Cerberus' tables: each row is a way to train, over three divisions of the folds."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

from histoseg.experiments._available import Sources
from histoseg.experiments._comparator import Comparator
from histoseg.methods.multitask import MultiTask
from histoseg.methods.subtyping import Subtyping
from histoseg.models.cerberus import CerberusSpec, Encoder
from histoseg.runs import catalog
from histoseg.runs.config import Data, Optim, Run, Select, Settings, Stage
from histoseg.runs.extras import is_installed
from histoseg.scoring.objects import Objects
from histoseg.structures import TISSUE
from histoseg.types import EXTERNAL, FOLDS, Split

# A division trains on one fold, as the paper's published code does, and is scored on the third; the second is the
# paper's for choosing a model, and as nothing is chosen here, it is left alone.
DIVISIONS: tuple[tuple[tuple[Split, ...], Split], ...] = tuple(((FOLDS[i],), FOLDS[(i + 2) % 3]) for i in range(3))

SEGMENTATION: tuple[str, ...] = ("gland", "lumen", "nuclei")
ALL: tuple[str, ...] = (*SEGMENTATION, TISSUE)
STRUCTURES = ALL  # Every source that teaches one of them is read, whether the catalog has it or only the store.


def sources_teaching(structures: Sequence[str]) -> tuple[str, ...]:
    """Every source that teaches one of some structures, in the order of the structures."""
    return tuple(task.name for structure in structures for task in catalog.teaching(structure))


SOURCES = sources_teaching(STRUCTURES)

# Sec. 4.4 names flip, rotation, blur and colour; how much is as in the published code, at 0.5 µm/px (20x).
AUGMENTATION = Data(
    patch_px=448,
    tissue_px=144,
    mpp=0.5,
    folds=True,
    scale=(0.9, 1.1),
    stretch=True,
    rotate_deg=180.0,
    shear_deg=5.0,
    blur=True,
    colour_p=0.9,
    brightness=26 / 255,
    contrast=0.25,
    saturation=0.2,
    hue=8 / 180,  # 8 of OpenCV's steps
    additive=True,
)


# What a pixel of each class counts in the published code's subtyping; other classes count 1.
CLASS_WEIGHTS = {
    "neutrophil": 12.0,
    "epithelial": 1.0,
    "lymphocyte": 2.0,
    "plasma": 6.0,
    "eosinophil": 12.0,
    "connective": 2.0,
}


@dataclass(frozen=True, kw_only=True)
class Sizes:
    """How large an experiment is; the defaults are the paper's (Sec. 4.4).

    Attributes:
        imagenet: Whether rows that the paper starts from ImageNet's weights do; without them they start at random.
        width: Channels of the network's first features.
        optim_alone: The training of a network of one structure; None for that of networks of several.
        loss_weights: What the loss of a structure counts, where not 1.
        masked, in_turn: See `MultiTask`.
        class_weights: What a pixel of a class counts in subtyping; None means that every class weighs the same.
    """

    data: Data = AUGMENTATION
    width: int = 64
    batch: int = 27
    optim: Optim = field(
        default_factory=lambda: Optim(lr=1e-3, steps=90_000, drop_at=70_000, precision="bf16", compile=True)
    )
    optim_alone: Optim | None = None
    # The paper gives no schedule for subtyping; the published code drops the rate every 16,000 steps.
    subtype_optim: Optim = field(
        default_factory=lambda: Optim(lr=1e-3, steps=32_000, drop_at=16_000, precision="bf16", compile=True)
    )
    evaluator: Objects = field(default_factory=Objects)
    imagenet: bool = True
    loss_weights: tuple[tuple[str, float], ...] = ()
    masked: bool = False
    in_turn: bool = False
    class_weights: Mapping[str, float] | None = None

    def optim_of(self, num_structures: int) -> Optim:
        """The training of a network of so many structures."""
        return self.optim_alone if num_structures == 1 and self.optim_alone else self.optim


@dataclass(frozen=True, kw_only=True)
class Row:
    """One way to train.

    Attributes:
        title: What it is called in print.
        trainings: The structures of each network that it takes; single-task rows take one network for each.
        mixed: Whether a step mixes structures.
        imagenet: Whether the encoder starts from ImageNet's weights.
        contour: Whether decoders learn borders too ("Cerberus+").
        subtyping: The structures that decoders for their classes follow for, where a source has classes of them.
        comparator: By scale, the training of a network other than Cerberus, to which the fields above do not apply but
            for `title` and `trainings`; empty for Cerberus.
        extra: The optional package that the comparator needs.
    """

    title: str
    trainings: tuple[tuple[str, ...], ...]
    mixed: bool = True
    encoder: Encoder = "resnet34"
    imagenet: bool = False
    contour: bool = False
    subtyping: tuple[str, ...] = ()
    comparator: Mapping[str, Comparator] = field(default_factory=dict)
    extra: str = ""

    @property
    def may_learn_types(self) -> bool:
        """Whether it learns the classes of objects where sources have any, as far as this is up to the network."""
        return not self.comparator or any(own.learns_types for own in self.comparator.values())


SINGLE: tuple[tuple[str, ...], ...] = tuple((structure,) for structure in SEGMENTATION)
SCALES: Mapping[str, Sizes] = {
    # All of the paper's experiment but its size: tables in minutes on two cores.
    "laptop": Sizes(
        data=replace(AUGMENTATION, patch_px=96, tissue_px=96),
        width=8,
        batch=12,
        optim=Optim(lr=3e-3, steps=480, drop_at=360),  # with half, a network of four tasks finds few glands
        optim_alone=Optim(lr=3e-3, steps=240, drop_at=180),  # sees as many patches of its structure as one of two
        subtype_optim=Optim(lr=3e-3, steps=60),
        evaluator=Objects(window_px=384, margin_px=32),
        imagenet=False,
    ),
    # Real images on a few cores, long enough to learn from them.
    "real-cpu": Sizes(
        data=replace(AUGMENTATION, patch_px=192),
        width=16,
        batch=8,
        optim=Optim(lr=2e-3, steps=400, drop_at=320),
        subtype_optim=Optim(lr=2e-3, steps=100),
        evaluator=Objects(window_px=640, margin_px=64),
        imagenet=False,
    ),
    "paper": Sizes(),
    # What the published code has otherwise (docs/protocols-cerberus.md); its change of contrast has no effect.
    "reference-code": Sizes(
        data=replace(AUGMENTATION, contrast=0.0),
        batch=36,
        optim=Optim(lr=1e-3, steps=90_000, drop_at=75_000, compile=True),
        subtype_optim=Optim(lr=1e-3, steps=32_000, drop_at=16_000, compile=True),
        loss_weights=(("lumen", 1.5), ("gland", 1.4), ("nuclei", 1.0), ("tissue", 0.4)),
        masked=True,
        in_turn=True,
        class_weights=CLASS_WEIGHTS,
        evaluator=Objects(window_px=448, margin_px=152),
    ),
}
# Of tables that do not judge the objects that a network finds: on a laptop each network is trained for 160 steps.
BRIEF_SCALES: Mapping[str, Sizes] = {
    **SCALES,
    "laptop": replace(SCALES["laptop"], optim=Optim(lr=3e-3, steps=160, drop_at=120), optim_alone=None),
}


@dataclass(frozen=True, kw_only=True)
class _Training:
    """What differs between the runs of Cerberus and those of a comparator."""

    network: Settings
    data: Data
    stages: tuple[Stage, ...]
    evaluator: Objects


@dataclass(frozen=True, kw_only=True)
class FoldGrid:
    """The runs of a table whose rows are ways to train and whose numbers are means over divisions of the folds.

    Which sources a structure is learnt from follows from what sources declare (`Task.structure`, `Task.reserve`).

    Attributes:
        least: How many structures must be prepared for a network of several; with one, a row that compares such a
            network with networks of single structures would only repeat one of these.
    """

    experiment: str
    rows: Mapping[str, Row]
    scales: Mapping[str, Sizes] = field(default_factory=lambda: SCALES)
    divisions: tuple[tuple[tuple[Split, ...], Split], ...] = DIVISIONS
    least: int = 2

    def runs(self, scale: str, seeds: int, sources: Sources) -> list[Run]:
        """Every run that the prepared sources allow, for seeds 0 to `seeds` - 1."""
        return [
            self._run(scale, seed, name, structures, division, sources)
            for seed in range(seeds)
            for name in self.rows
            for structures in self._trainings(name, sources)
            for division in self.divisions
        ]

    def why_missing(self, row: str, column: str, sources: Sources) -> str:
        """Why a number cannot be had from these sources; empty if it can. Columns are split.structure.score."""
        split, structure, score = column.split(".")
        if why := self._why_not_trained(row):
            return why
        chosen = self.chosen(structure, sources)
        if not chosen:
            return f"no shards with {structure}"
        if score.startswith("mpq"):
            chosen = typed_sources(chosen, sources, structure) if self.rows[row].may_learn_types else ()
            if not chosen:
                return f"no classes of {structure}"
        if lacking := [fold for fold in FOLDS if not any(fold in sources[name].splits for name in chosen)]:
            return f"too few patients for {' and '.join(lacking)}"
        if split == "external" and not any(EXTERNAL in sources[name].splits for name in chosen):
            return "no external test set"
        return ""

    def _why_not_trained(self, row: str) -> str:
        if row not in self.rows:
            return "the paper's number only"
        extra = self.rows[row].extra
        return f"needs histoseg[{extra}]" if extra and not is_installed(extra) else ""

    def chosen(self, structure: str, sources: Sources) -> tuple[str, ...]:
        """What a structure is learnt from, of the sources that are prepared."""
        tasks = catalog.teaching(structure, [source.task for source in sources.values()])
        return tuple(task.name for task in catalog.used_together([task for task in tasks if task.name in sources]))

    def _trainings(self, row: str, sources: Sources) -> Iterator[tuple[str, ...]]:
        """The structures of each of a row's networks, as far as they are annotated in the prepared sources."""
        for structures in self.rows[row].trainings:
            found = tuple(s for s in structures if not self.why_missing(row, f"test.{s}.pq", sources))
            least = 1 if self.rows[row].comparator else self.least
            if len(found) >= min(least, len(structures)):
                yield found

    def _run(
        self,
        scale: str,
        seed: int,
        name: str,
        structures: tuple[str, ...],
        division: tuple[tuple[Split, ...], Split],
        sources: Sources,
    ) -> Run:
        row, sizes = self.rows[name], self.scales[scale]
        chosen = tuple(source for structure in structures for source in self.chosen(structure, sources))
        train, test = division
        if row.comparator:
            training = _of_comparator(row.comparator[scale], sizes, structures[0], chosen, train, sources)
        else:
            training = _of_cerberus(row, sizes, structures, chosen, train, sources)
        return Run(
            experiment=self.experiment,
            scale=scale,
            row=name,
            part="+".join(structures) if len(row.trainings) > 1 else "",
            division=f"{'+'.join(train)} to {test}",
            seed=seed,
            data=training.data,
            network=training.network,
            stages=training.stages,
            score=Select(sources=chosen, splits=(test, EXTERNAL)),
            evaluator=training.evaluator,
        )


def _of_cerberus(
    row: Row,
    sizes: Sizes,
    structures: tuple[str, ...],
    chosen: tuple[str, ...],
    train: tuple[Split, ...],
    sources: Sources,
) -> _Training:
    """Multi-task training, then a decoder for classes where the row asks for one."""
    method = MultiTask(
        batch=sizes.batch,
        mixed=row.mixed,
        loss_weights=sizes.loss_weights,
        masked=sizes.masked,
        in_turn=sizes.in_turn,
    )
    optim = sizes.optim_of(len(structures))
    learn = Stage(label="train", method=method, select=Select(sources=chosen, splits=train), optim=optim)
    typed = {each: typed_sources(chosen, sources, each) for each in row.subtyping if each in structures}
    subtype = [subtype_stage(each, sizes, train, found, sources) for each, found in typed.items() if found]
    return _Training(
        network=CerberusSpec(
            encoder=row.encoder,
            width=sizes.width,
            weights="imagenet" if row.imagenet and sizes.imagenet else "",
            contour=row.contour,
        ),
        data=sizes.data,
        stages=(learn, *subtype),
        evaluator=sizes.evaluator,
    )


def _of_comparator(
    own: Comparator,
    sizes: Sizes,
    structure: str,
    chosen: tuple[str, ...],
    train: tuple[Split, ...],
    sources: Sources,
) -> _Training:
    """The phases of a comparator, on the same folds and images."""
    typed = typed_sources(chosen, sources, structure) if own.learns_types else ()
    return _Training(
        network=own.network,
        data=own.data(sizes.data),
        stages=own.stages(typed or chosen, train),
        evaluator=own.evaluator,
    )


def subtype_stage(
    structure: str, sizes: Sizes, train: tuple[Split, ...], typed: tuple[str, ...], sources: Sources
) -> Stage:
    """The training of a decoder for the classes of a structure's objects."""
    classes = sources[typed[0]].task.classes[1:]
    weights = () if sizes.class_weights is None else tuple(sizes.class_weights.get(name, 1.0) for name in classes)
    return Stage(
        label="subtype" if structure == "nuclei" else f"subtype_{structure}",
        method=Subtyping(batch=sizes.batch, class_weights=weights),
        select=Select(sources=typed, splits=train),
        optim=sizes.subtype_optim,
    )


def typed_sources(chosen: Sequence[str], sources: Sources, structure: str = "nuclei") -> tuple[str, ...]:
    """The sources that annotate classes of a structure: the first that does, and those with the same classes."""
    typed = {
        name: sources[name].task.classes
        for name in chosen
        if sources[name].task.structure == structure and sources[name].is_typed
    }
    first = next(iter(typed.values()), ())
    return tuple(name for name, classes in typed.items() if classes == first)
