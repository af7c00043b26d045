"""A run is a value: comparable, printable, JSON-able. Its name is a hash of what it is (`histoseg.runs.names`).

Nothing here says where data lies or which machine computes: that is infrastructure and changes no number.
"""

from dataclasses import Field, dataclass, replace
from typing import ClassVar, Literal, Protocol, runtime_checkable

from histoseg.errors import ConfigError
from histoseg.types import EXTERNAL, FOLDS, SPLITS, Split, is_credible_mpp, say_credible_mpp

Precision = Literal["fp32", "bf16"]
Optimizer = Literal["adam", "sgd"]
Schedule = Literal["drop", "poly"]
POLY_POWER = 0.9  # Isensee et al. 2021 (nnU-Net), whose schedule it is
Keep = Literal["last", "best val"]
Choose = Literal["random", "difficult", "representative"]


@runtime_checkable
class Settings(Protocol):
    """A frozen dataclass that a catalogued module offers: METHOD of a method, SPEC of a network, EVALUATOR of a scorer.

    Its fields are its hyperparameters; the name of its module is its public name.
    """

    __dataclass_fields__: ClassVar[dict[str, Field[object]]]


def require(claim: bool, path: str, value: object, rule: str) -> None:
    """Refuse a value that breaks a rule by a ConfigError that names the field, the value and the rule."""
    if not claim:
        raise ConfigError(f"{path} = {value!r}: must be {rule}")


@dataclass(frozen=True, kw_only=True)
class Data:
    """How images are stored, and patches cut from them and augmented; the defaults are MetaHistoSeg's, Sec. 3.1.

    Attributes:
        patch_px: Side of the square patches a model trains on, which images are stored for; see also `cut_px`.
        tissue_px: Side of the patches that have one class as a whole.
        mpp: Microns per pixel to which every image is resampled before it is stored; 0 keeps each as published.
        folds: Whether sources are divided into the folds of all together, or each into train, val and test.
        scale: Range of the random resize factor; with `stretch`, one is drawn for each direction.
        rotate_deg: Largest random rotation, either way.
        shear_deg: Largest random shear, either way.
        blur: Whether patches are blurred or made noisy, as in the code published with Cerberus.
        colour_p: How often colours are changed.
        brightness: Largest relative change; so are `contrast`, `saturation` and (of the hue circle) `hue`.
        additive: Whether brightness is instead a share of 255 that is added at every level, and contrast changes about
            the mean of each channel, as in the code published with Cerberus.
        cut_px: Side of the patches that are cut of the stored images where it is not `patch_px`, as some networks take
            patches of few sizes only; 0 means `patch_px`.
    """

    patch_px: int = 768
    tissue_px: int = 144
    mpp: float = 0.0
    folds: bool = False
    scale: tuple[float, float] = (0.8, 1.2)
    stretch: bool = False
    rotate_deg: float = 15.0
    shear_deg: float = 0.0
    blur: bool = False
    colour_p: float = 1.0
    brightness: float = 0.2
    contrast: float = 0.2
    saturation: float = 0.1
    hue: float = 0.1
    additive: bool = False
    cut_px: int = 0

    def __post_init__(self) -> None:
        require(self.patch_px >= 16 and self.patch_px % 16 == 0, "data.patch_px", self.patch_px, "a multiple of 16")
        require(self.tissue_px >= 16 and self.tissue_px % 16 == 0, "data.tissue_px", self.tissue_px, "a multiple of 16")
        credible = self.mpp == 0 or is_credible_mpp(self.mpp)
        require(credible, "data.mpp", self.mpp, f"0 (that of each source), or {say_credible_mpp()}")
        require(0 <= self.shear_deg < 45, "data.shear_deg", self.shear_deg, "at least 0 and below 45")
        require(0 <= self.colour_p <= 1, "data.colour_p", self.colour_p, "within 0 and 1")
        require(0 < self.scale[0] <= self.scale[1], "data.scale", self.scale, "two positive factors, lower first")
        require(0 <= self.rotate_deg <= 180, "data.rotate_deg", self.rotate_deg, "within 0 and 180")
        for name in ("brightness", "contrast", "saturation", "hue"):
            require(0 <= getattr(self, name) < 1, f"data.{name}", getattr(self, name), "at least 0 and below 1")
        require(self.hue <= 0.5, "data.hue", self.hue, "at most 0.5")
        is_side = self.cut_px == 0 or (self.cut_px >= 16 and self.cut_px % 2 == 0)
        require(is_side, "data.cut_px", self.cut_px, "0 (patch_px), or an even number from 16 on")

    @property
    def side_px(self) -> int:
        """Side of the patches that are cut of the stored images."""
        return self.cut_px or self.patch_px

    @property
    def layout(self) -> str:
        """The name of this way of storing images; data that differ in augmentation alone share shards."""
        resampled = f"-{self.mpp:g}mpp" if self.mpp else ""
        return f"{self.patch_px}px{resampled}{'-folds' if self.folds else ''}"


@dataclass(frozen=True, kw_only=True)
class Select:
    """Which stored samples are trained or scored on.

    Attributes:
        splits: Splits or folds; none named means all of them.
        shots: How many whole images of each source; 0 means all.
        draw: Which of the random draws of so many images.
        with_objects: Whether images without any object are left out.
        regions: How many stored samples a stage adds to those of the stage before, as a round of annotation does; 0
            means that it trains on all of them.
        choose: How they are chosen: at random, those that the network of the stage before finds most difficult, or
            those that stand for most of what it finds difficult.
        per_image: How many of them one image gives at most, as long as others have fewer; those of the rounds before
            count as well. 0 means any number.
    """

    sources: tuple[str, ...]
    splits: tuple[Split, ...] = ()
    shots: int = 0
    draw: int = 0
    with_objects: bool = False
    regions: int = 0
    choose: Choose = "random"
    per_image: int = 0

    def __post_init__(self) -> None:
        require(bool(self.sources), "select.sources", self.sources, "at least one source")
        require(self.shots >= 0, "select.shots", self.shots, "0 (all images) or more")
        require(self.regions >= 0, "select.regions", self.regions, "0 (all of them) or more")
        require(self.per_image >= 0, "select.per_image", self.per_image, "0 (any number) or more")
        has_choice = self.choose == "random" and not self.per_image
        require(bool(self.regions) or has_choice, "select.regions", self.regions, "above 0 where they are chosen")
        is_free = self.choose != "representative" or not self.per_image
        require(is_free, "select.per_image", self.per_image, "0 for representative regions, which spread by themselves")
        require(self.draw >= 0, "select.draw", self.draw, "0 or more")


@dataclass(frozen=True, kw_only=True)
class Optim:
    """How weights follow gradients; the defaults are the outer optimiser of pretraining (MetaHistoSeg, Sec. 3.1).

    Attributes:
        optimizer: Adam, or nnU-Net's stochastic gradient descent with Nesterov's momentum and weight decay.
        schedule: Whether the learning rate drops once, after `drop_at`, or falls to 0 as nnU-Net's does.
    """

    lr: float = 1e-4
    steps: int = 300_000  # Steps in all; 0 with `epochs`
    epochs: int = 0  # Passes over the samples, instead of a number of steps
    patience: int = 0  # Epochs without a better validation score after which training ends; 0 means never
    drop_at: int = 0  # The step after which the learning rate is a tenth; 0 means never
    precision: Precision = "fp32"
    compile: bool = False
    optimizer: Optimizer = "adam"
    schedule: Schedule = "drop"

    def __post_init__(self) -> None:
        require(0 < self.lr < 1, "optim.lr", self.lr, "above 0 and below 1")
        require(self.steps >= 0, "optim.steps", self.steps, "0 or more")
        require(self.epochs >= 0, "optim.epochs", self.epochs, "0 (train for `steps`) or more")
        require(not (self.steps and self.epochs), "optim.steps", self.steps, "0 where optim.epochs is given")
        require(self.patience >= 0, "optim.patience", self.patience, "0 (never stop early) or more")
        require(self.drop_at >= 0, "optim.drop_at", self.drop_at, "0 (never) or a step")
        is_drop = self.schedule == "drop"
        require(is_drop or self.steps > 0, "optim.steps", self.steps, "above 0 where optim.schedule is 'poly'")
        require(is_drop or not self.drop_at, "optim.drop_at", self.drop_at, "0 where optim.schedule is 'poly'")

    def lr_at(self, step: int) -> float:
        """The learning rate of a step, counted from 1."""
        if self.schedule == "poly":
            return float(self.lr * (1 - (step - 1) / self.steps) ** POLY_POWER)
        return self.lr / 10 if self.drop_at and step > self.drop_at else self.lr


@dataclass(frozen=True, kw_only=True)
class Stage:
    """One training; the first stage of a run begins with a new network, the next with the one before.

    Attributes:
        label: What the stage does, in one word: "pretrain", "refine", "train", "subtype". Assignments such as
            `refine.optim.lr=1e-3` begin with it.
        keep: Which weights are kept: those after the last step, or those of the epoch with the best validation score.
        network: The network that the stage trains, where it is another one than the run's.
    """

    label: str
    method: Settings
    select: Select
    optim: Optim
    keep: Keep = "last"
    network: Settings | None = None

    def __post_init__(self) -> None:
        by_epoch = self.keep == "last" or self.optim.epochs > 0
        require(by_epoch, f"{self.label}.keep", self.keep, "'last' unless optim.epochs is given")
        require(
            not self.optim.patience or self.keep == "best val",
            f"{self.label}.optim.patience",
            self.optim.patience,
            "0 unless keep is 'best val'",
        )
        # The gradient of a compiled graph cannot be differentiated again.
        is_second_order = getattr(self.method, "first_order", True) is False
        require(not (self.optim.compile and is_second_order), "optim.compile", True, "false unless method.first_order")


@dataclass(frozen=True, kw_only=True)
class Run:
    """A chain of trainings, and what is scored at its end. A record is the result of one run.

    Attributes:
        experiment: The table or figure the run belongs to.
        scale: Which of the experiment's sizes this is ("laptop", "paper", ...).
        row, column: The run's place in the table. A run without a column fills each column of its row that is the name
            of one of its scores.
        part: Which of several networks of one row this is; empty where there is only one.
        division: How the folds are divided into training and scoring; empty without folds.
        data: How images are stored, and how patches are cut from them.
        network: The network that stages train unless they name their own.
        score: What is scored, at least one split.
        evaluator: How it is scored.
    """

    experiment: str
    scale: str
    row: str
    column: str = ""
    part: str = ""
    division: str = ""
    seed: int = 0
    data: Data
    network: Settings
    stages: tuple[Stage, ...]
    score: Select
    evaluator: Settings

    def __post_init__(self) -> None:
        require(self.seed >= 0, "seed", self.seed, "0 or more")
        require(bool(self.stages), "stages", self.stages, "at least one stage")
        labels = [stage.label for stage in self.stages]
        require(len(set(labels)) == len(labels), "stages", labels, "labels that differ")
        require(bool(self.score.splits), "score.splits", self.score.splits, "at least one split")
        require(not self.score.regions, "score.regions", self.score.regions, "0: all of a split is scored")
        first = self.stages[0]
        is_before = first.select.choose == "random"
        require(is_before, f"{first.label}.select.choose", first.select.choose, "random, as no network is before it")
        known = (*FOLDS, EXTERNAL) if self.data.folds else SPLITS
        for select in (*(stage.select for stage in self.stages), self.score):
            require(set(select.splits) <= set(known), "select.splits", select.splits, f"of {', '.join(known)}")
        for stage in self.stages:
            shared = set(stage.select.sources) & set(self.score.sources)
            seen = set(self.score.splits) & set(stage.select.splits) if stage.select.splits else set(self.score.splits)
            require(not (shared and seen), f"{stage.label}.select", stage.select, "without what is scored")

    @property
    def sources(self) -> tuple[str, ...]:
        """Every source the run reads."""
        stages = (source for stage in self.stages for source in stage.select.sources)
        return tuple(dict.fromkeys((*stages, *self.score.sources)))

    def at(self, number: int) -> "Run":
        """The run as one of its stages sees it: with the network that the stage trains; -1 is the last stage."""
        return replace(self, network=self.stages[number].network or self.network)

    @property
    def replicate(self) -> str:
        """What tells the run from others of the same place in the table."""
        return f"{self.division}, seed {self.seed}" if self.division else f"seed {self.seed}"

    @property
    def address(self) -> str:
        """The name by which a person asks for the run; the seed is given beside it."""
        return " ".join(filter(None, (self.row, self.column, self.part, self.division)))


def public_name(settings: Settings) -> str:
    """The name of the catalogued module that a method, network or evaluator comes from."""
    module = type(settings).__module__
    return module.removesuffix(".spec").rpartition(".")[2]
