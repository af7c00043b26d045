"""A run is a value: comparable, printable, JSON-able. Its hash names where its results lie.

Nothing here says where data lies or which machine computes: that is infrastructure and changes no number.
"""

import re
from dataclasses import dataclass, field
from typing import Literal

from histoseg.errors import ConfigError
from histoseg.types import Method, Split

Norm = Literal["group", "batch", "frozen"]
Precision = Literal["fp32", "bf16"]
Encoder = Literal["resnet18", "resnet34", "resnet50", "unet"]


def require(claim: bool, path: str, value: object, rule: str) -> None:
    """Refuse a value that breaks a rule.

    Raises:
        ConfigError: Unless the claim is true; the text names the field, its value and the rule.
    """
    if not claim:
        raise ConfigError(f"{path} = {value!r}: must be {rule}")


@dataclass(frozen=True, kw_only=True)
class Data:
    """How images are stored, and patches cut from them and augmented; the defaults are MetaHistoSeg's, Sec. 3.1.

    Attributes:
        patch_px: Side of the square patches a model trains on.
        tissue_px: Side of the patches that have one class as a whole.
        mpp: Microns per pixel to which every image is resampled before it is stored; 0 keeps each as published.
        folds: Whether sources are divided into the folds of all together, or each into train, val and test.
        scale: Range of the random resize factor; with `stretch`, one is drawn for each direction.
        rotate_deg: Largest random rotation, either way.
        shear_deg: Largest random shear, either way.
        blur: Whether patches are blurred or made noisy.
        colour_p: How often colours are changed.
        brightness: Largest relative change; so are `contrast`, `saturation` and (of the hue circle) `hue`.
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

    def __post_init__(self) -> None:
        require(self.patch_px >= 16 and self.patch_px % 16 == 0, "data.patch_px", self.patch_px, "a multiple of 16")
        require(self.tissue_px >= 16 and self.tissue_px % 16 == 0, "data.tissue_px", self.tissue_px, "a multiple of 16")
        require(0 <= self.mpp < 100, "data.mpp", self.mpp, "0 (as published) or microns per pixel")
        require(0 <= self.shear_deg < 45, "data.shear_deg", self.shear_deg, "at least 0 and below 45")
        require(0 <= self.colour_p <= 1, "data.colour_p", self.colour_p, "within 0 and 1")
        require(0 < self.scale[0] <= self.scale[1], "data.scale", self.scale, "two positive factors, lower first")
        require(0 <= self.rotate_deg <= 180, "data.rotate_deg", self.rotate_deg, "within 0 and 180")
        for name in ("brightness", "contrast", "saturation", "hue"):
            require(0 <= getattr(self, name) < 1, f"data.{name}", getattr(self, name), "at least 0 and below 1")
        require(self.hue <= 0.5, "data.hue", self.hue, "at most 0.5")

    @property
    def layout(self) -> str:
        """The name of this way of storing images; data that differ in augmentation alone share shards."""
        resampled = f"-{self.mpp:g}mpp" if self.mpp else ""
        return f"{self.patch_px}px{resampled}{'-folds' if self.folds else ''}"


@dataclass(frozen=True, kw_only=True)
class Model:
    """The U-Net: `width` channels at the first level; `norm` is explained in docs/adr/0003."""

    width: int = 32
    norm: Norm = "group"

    def __post_init__(self) -> None:
        require(self.width >= 4 and self.width % 4 == 0, "model.width", self.width, "a multiple of 4")


@dataclass(frozen=True, kw_only=True)
class Network:
    """Cerberus: an encoder shared by all structures, a decoder for each (Cerberus, Sec. 3.1).

    Attributes:
        width: Channels of the first features; 64 is the published network.
        weights: What training starts from: an object `weights/<name>.safetensors` in the store, or "imagenet" for the
            usual classification weights of the encoder; empty means random numbers.
    """

    encoder: Encoder = "resnet34"
    width: int = 64
    weights: str = ""

    def __post_init__(self) -> None:
        require(self.width >= 4 and self.width % 4 == 0, "network.width", self.width, "a multiple of 4")
        require(
            self.weights != "imagenet" or (self.width == 64 and self.encoder != "unet"),
            "network.weights",
            self.weights,
            "empty unless the encoder is a ResNet of width 64",
        )
        named = re.fullmatch(r"|imagenet|[0-9a-f]{16}", self.weights) is not None
        require(named, "network.weights", self.weights, "empty, imagenet, or the 16 digits of weights in the store")


@dataclass(frozen=True, kw_only=True)
class Optim:
    """Adam; the defaults are the outer optimiser of pretraining (MetaHistoSeg, Sec. 3.1).

    Attributes:
        drop_at: The step after which the learning rate is a tenth; 0 means never.
    """

    lr: float = 1e-4
    steps: int = 300_000
    drop_at: int = 0
    precision: Precision = "fp32"
    compile: bool = False

    def __post_init__(self) -> None:
        require(0 < self.lr < 1, "optim.lr", self.lr, "above 0 and below 1")
        require(self.steps >= 0, "optim.steps", self.steps, "0 or more")
        require(self.drop_at >= 0, "optim.drop_at", self.drop_at, "0 (never) or a step")

    def lr_at(self, step: int) -> float:
        """The learning rate of a step, counted from 1."""
        return self.lr / 10 if self.drop_at and step > self.drop_at else self.lr


@dataclass(frozen=True, kw_only=True)
class Refine:
    """Fine-tuning of all weights on the new task; the epoch is chosen on its val split.

    Attributes:
        shots: How many training images the new task has; 0 means all of them.
        patience: Epochs without a better val score after which refining ends; 0 means never.
    """

    lr: float = 1e-3
    epochs: int = 50
    batch: int = 32
    shots: int = 0
    patience: int = 0

    def __post_init__(self) -> None:
        require(0 < self.lr < 1, "refine.lr", self.lr, "above 0 and below 1")
        require(self.epochs >= 1, "refine.epochs", self.epochs, "1 or more")
        require(self.batch >= 1, "refine.batch", self.batch, "1 or more")
        require(self.shots >= 0, "refine.shots", self.shots, "0 (all images) or more")
        require(self.patience >= 0, "refine.patience", self.patience, "0 (never stop early) or more")


@dataclass(frozen=True, kw_only=True)
class Eval:
    """Whole test images by overlapping windows of `window_px`; each step moves by `1 - overlap` of a window."""

    window_px: int = 768
    overlap: float = 0.25
    bootstrap: int = 1000

    def __post_init__(self) -> None:
        require(self.window_px >= 16 and self.window_px % 16 == 0, "eval.window_px", self.window_px, "a multiple of 16")
        require(0 <= self.overlap < 1, "eval.overlap", self.overlap, "at least 0 and below 1")
        require(self.bootstrap >= 0, "eval.bootstrap", self.bootstrap, "0 (no interval) or more")


@dataclass(frozen=True, kw_only=True)
class Windows:
    """How Cerberus sees a whole image: squares of `window_px`, of which a margin of `margin_px` only gives context.

    The published margin is 152 pixels, the published window 448: it gives 144 pixels and computes each 9.7 times. A
    window of 1024 gives 720 and computes each twice, with the same result.
    """

    window_px: int = 1024
    margin_px: int = 152

    def __post_init__(self) -> None:
        inner = self.window_px - 2 * self.margin_px
        require(self.margin_px >= 0 and self.margin_px % 8 == 0, "windows.margin_px", self.margin_px, "0, 8, 16, ...")
        require(
            inner > 0 and inner % 16 == 0, "windows.window_px", self.window_px, "twice the margin and a multiple of 16"
        )


@dataclass(frozen=True, kw_only=True)
class Run:
    """One configuration and seed: pretrain on the predecessor tasks, refine on the new one, score it.

    Attributes:
        experiment: The table or figure this run belongs to.
        scale: Which of the experiment's sizes this is ("laptop", "paper", ...); for people, and in the hash.
        column: The table column, since two predecessor sets can be one column ("all others").
    """

    experiment: str
    scale: str
    method: Method
    predecessors: tuple[str, ...]
    new_task: str
    column: str
    seed: int = 0
    data: Data = field(default_factory=Data)
    model: Model = field(default_factory=Model)
    optim: Optim = field(default_factory=Optim)
    refine: Refine = field(default_factory=Refine)
    eval: Eval = field(default_factory=Eval)

    def __post_init__(self) -> None:
        require(bool(self.predecessors), "predecessors", self.predecessors, "at least one task")
        require(self.new_task not in self.predecessors, "new_task", self.new_task, "no predecessor task")
        require(self.seed >= 0, "seed", self.seed, "0 or more")
        # torch.compile's backward cannot be differentiated again.
        is_second_order = getattr(self.method, "first_order", True) is False
        require(not (self.optim.compile and is_second_order), "optim.compile", True, "false unless method.first_order")

    @property
    def sources(self) -> tuple[str, ...]:
        """Every source this run reads."""
        return (*self.predecessors, self.new_task)

    @property
    def trained_on(self) -> tuple[str, ...]:
        """The sources that the shared model has seen."""
        return self.predecessors

    @property
    def label(self) -> str:
        """What is trained, for people."""
        return f"{self.column} {type(self.method).__name__}"

    @property
    def address(self) -> str:
        """Which cell of the experiment this is, for people to name."""
        return f"{method_name(self.method)} {self.column} {self.new_task}"


@dataclass(frozen=True, kw_only=True)
class FoldRun:
    """One configuration and one division of the folds: train one network on some, score its structures on another.

    Attributes:
        experiment: The table this run belongs to.
        scale: Which of the experiment's sizes this is.
        row: The table's row; several runs may make one, if a network of its own is trained for each structure.
        structures: What this network learns.
        sources: What is trained and scored on; their tasks say which structures they have.
        train, test: Folds to train on, and the one to score.
        data, network, optim: What is trained, and how.
        subtyping: How a decoder for classes of nuclei is trained after that, or None if there is none.
        subtype_optim: Its optimiser.
    """

    experiment: str
    scale: str
    row: str
    structures: tuple[str, ...]
    method: Method
    sources: tuple[str, ...]
    train: tuple[Split, ...]
    test: Split
    seed: int = 0
    data: Data = field(default_factory=Data)
    network: Network = field(default_factory=Network)
    optim: Optim = field(default_factory=Optim)
    subtyping: Method | None = None
    subtype_optim: Optim = field(default_factory=Optim)
    windows: Windows = field(default_factory=Windows)

    def __post_init__(self) -> None:
        require(bool(self.sources), "sources", self.sources, "at least one source")
        require(bool(self.train) and self.test not in self.train, "test", self.test, "no fold that is trained on")
        require(self.data.folds, "data.folds", self.data.folds, "true")
        require(self.seed >= 0, "seed", self.seed, "0 or more")

    @property
    def trained_on(self) -> tuple[str, ...]:
        """The sources that the network has seen."""
        return self.sources

    @property
    def label(self) -> str:
        """What is trained, for people."""
        return self.address

    @property
    def address(self) -> str:
        """Which run of the experiment this is, for people to name."""
        return f"{self.row} {'+'.join(self.structures)} {'+'.join(self.train)}"


AnyRun = Run | FoldRun


def method_name(method: Method) -> str:
    """The public name of a method: the file it lies in."""
    return type(method).__module__.rpartition(".")[2]
