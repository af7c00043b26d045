"""A run is a value: comparable, printable, JSON-able. Its hash names where its results lie.

Nothing here says where data lies or which machine computes: that is infrastructure and changes no number.
"""

import ast
import hashlib
import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, fields, is_dataclass, replace
from types import NoneType
from typing import Any, Literal, TypeVar, get_args, get_origin, get_type_hints

from histoseg import catalog
from histoseg.errors import ConfigError
from histoseg.types import Method, Split, Structure

Norm = Literal["group", "batch", "frozen"]
Precision = Literal["fp32", "bf16"]
Encoder = Literal["resnet18", "resnet34", "resnet50", "unet"]
Part = TypeVar("Part")


def _require(claim: bool, path: str, value: object, rule: str) -> None:
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
        _require(self.patch_px >= 16 and self.patch_px % 16 == 0, "data.patch_px", self.patch_px, "a multiple of 16")
        _require(
            self.tissue_px >= 16 and self.tissue_px % 16 == 0, "data.tissue_px", self.tissue_px, "a multiple of 16"
        )
        _require(0 <= self.mpp < 100, "data.mpp", self.mpp, "0 (as published) or microns per pixel")
        _require(0 <= self.shear_deg < 45, "data.shear_deg", self.shear_deg, "at least 0 and below 45")
        _require(0 <= self.colour_p <= 1, "data.colour_p", self.colour_p, "within 0 and 1")
        _require(0 < self.scale[0] <= self.scale[1], "data.scale", self.scale, "two positive factors, lower first")
        _require(0 <= self.rotate_deg <= 180, "data.rotate_deg", self.rotate_deg, "within 0 and 180")
        for name in ("brightness", "contrast", "saturation", "hue"):
            _require(0 <= getattr(self, name) < 1, f"data.{name}", getattr(self, name), "at least 0 and below 1")
        _require(self.hue <= 0.5, "data.hue", self.hue, "at most 0.5")

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
        _require(self.width >= 4 and self.width % 4 == 0, "model.width", self.width, "a multiple of 4")


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
        _require(self.width >= 4 and self.width % 4 == 0, "network.width", self.width, "a multiple of 4")
        _require(
            self.weights != "imagenet" or (self.width == 64 and self.encoder != "unet"),
            "network.weights",
            self.weights,
            "empty unless the encoder is a ResNet of width 64",
        )
        named = re.fullmatch(r"|imagenet|[0-9a-f]{16}", self.weights) is not None
        _require(named, "network.weights", self.weights, "empty, imagenet, or the 16 digits of weights in the store")


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
        _require(0 < self.lr < 1, "optim.lr", self.lr, "above 0 and below 1")
        _require(self.steps >= 0, "optim.steps", self.steps, "0 or more")
        _require(self.drop_at >= 0, "optim.drop_at", self.drop_at, "0 (never) or a step")

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
        _require(0 < self.lr < 1, "refine.lr", self.lr, "above 0 and below 1")
        _require(self.epochs >= 1, "refine.epochs", self.epochs, "1 or more")
        _require(self.batch >= 1, "refine.batch", self.batch, "1 or more")
        _require(self.shots >= 0, "refine.shots", self.shots, "0 (all images) or more")
        _require(self.patience >= 0, "refine.patience", self.patience, "0 (never stop early) or more")


@dataclass(frozen=True, kw_only=True)
class Eval:
    """Whole test images by overlapping windows of `window_px`; each step moves by `1 - overlap` of a window."""

    window_px: int = 768
    overlap: float = 0.25
    bootstrap: int = 1000

    def __post_init__(self) -> None:
        _require(
            self.window_px >= 16 and self.window_px % 16 == 0, "eval.window_px", self.window_px, "a multiple of 16"
        )
        _require(0 <= self.overlap < 1, "eval.overlap", self.overlap, "at least 0 and below 1")
        _require(self.bootstrap >= 0, "eval.bootstrap", self.bootstrap, "0 (no interval) or more")


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
        _require(self.margin_px >= 0 and self.margin_px % 8 == 0, "windows.margin_px", self.margin_px, "0, 8, 16, ...")
        _require(
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
        _require(bool(self.predecessors), "predecessors", self.predecessors, "at least one task")
        _require(self.new_task not in self.predecessors, "new_task", self.new_task, "no predecessor task")
        _require(self.seed >= 0, "seed", self.seed, "0 or more")
        # torch.compile's backward cannot be differentiated again.
        is_second_order = getattr(self.method, "first_order", True) is False
        _require(not (self.optim.compile and is_second_order), "optim.compile", True, "false unless method.first_order")

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
    structures: tuple[Structure, ...]
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
        _require(bool(self.sources), "sources", self.sources, "at least one source")
        _require(bool(self.train) and self.test not in self.train, "test", self.test, "no fold that is trained on")
        _require(self.data.folds, "data.folds", self.data.folds, "true")
        _require(self.seed >= 0, "seed", self.seed, "0 or more")

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


def to_json(run: AnyRun) -> dict[str, Any]:
    """The run as plain JSON values; `from_json` gives it back."""
    plain = {"kind": _KINDS[type(run)], **asdict(run)}
    for name in _METHODS:
        if (method := getattr(run, name, None)) is not None:
            plain[name] = {"name": method_name(method), **plain[name]}
    decoded: dict[str, Any] = json.loads(json.dumps(plain))
    return decoded


def from_json(record: Mapping[str, Any]) -> AnyRun:
    """The run that `to_json` wrote.

    Raises:
        ConfigError: If a field is unknown, missing or of another type.
    """
    kinds = {name: kind for kind, name in _KINDS.items()}
    _require(record.get("kind") in kinds, "run.kind", record.get("kind"), f"one of {', '.join(kinds)}")
    rest = {name: value for name, value in record.items() if name not in ("kind", *_METHODS)}
    ready = {name: _method(record[name], name) for name in _METHODS if name in record}
    run: AnyRun = _build(kinds[record["kind"]], rest, "run", **ready)
    return run


_KINDS: dict[type, str] = {Run: "leave one task out", FoldRun: "folds"}
_METHODS = ("method", "subtyping")  # Fields that name a module of histoseg.methods.


def _method(record: Mapping[str, Any] | None, path: str) -> Any:
    if record is None:
        return None
    values = dict(record)
    return _build(catalog.load("histoseg.methods", values.pop("name")).METHOD, values, path)


def _build(kind: Any, record: Mapping[str, Any], path: str, **ready: Any) -> Any:
    hints = get_type_hints(kind)
    if unknown := set(record) - set(hints):
        raise ConfigError(f"{path} has no field {', '.join(sorted(unknown))}; choose from {', '.join(hints)}")
    if missing := set(hints) - set(record) - set(ready):
        raise ConfigError(f"{path} lacks {', '.join(sorted(missing))}: it was written by another version")
    return kind(**ready, **{name: _convert(value, hints[name], f"{path}.{name}") for name, value in record.items()})


def _convert(value: Any, hint: Any, path: str) -> Any:
    """The value as the annotated type, or a ConfigError that says what was expected."""
    if is_dataclass(hint) and isinstance(value, Mapping):
        return _build(hint, value, path)
    if get_origin(hint) is Literal:
        _require(value in get_args(hint), path, value, f"one of {', '.join(map(str, get_args(hint)))}")
        return value
    if get_origin(hint) is tuple:
        _require(isinstance(value, list | tuple), path, value, "a list")
        inner = get_args(hint)
        kinds = [inner[0]] * len(value) if inner[-1] is Ellipsis else list(inner)
        _require(len(kinds) == len(value), path, value, f"a list of {len(kinds)}")
        return tuple(_convert(item, kind, path) for item, kind in zip(value, kinds, strict=True))
    allowed = get_args(hint) or (hint,)
    if float in allowed and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if bool not in allowed and isinstance(value, bool):
        allowed = ()
    names = " or ".join(kind.__name__ for kind in get_args(hint) or (hint,) if kind is not NoneType)
    _require(isinstance(value, tuple(allowed)), path, value, f"{names}")
    return value


def override(part: Part, assignment: str) -> Part:
    """The run, or a part of one, with one field changed: `override(run, "optim.lr=1e-3")`.

    Raises:
        ConfigError: If the field does not exist or cannot have that value.
    """
    path, equals, text = assignment.partition("=")
    if not equals:
        raise ConfigError(f"{assignment!r} is no assignment; write it as optim.lr=1e-3")
    changed: Part = _assign(part, path.strip().split("."), _parse(text.strip()), path.strip())
    return changed


def has_field(run: AnyRun, path: str) -> bool:
    """Whether `override` could set that path in this run."""
    part: Any = run
    for name in path.split("."):
        if not is_dataclass(part) or name not in {member.name for member in fields(part)}:
            return False
        part = getattr(part, name)
    return True


def _assign(part: Any, names: list[str], value: Any, path: str) -> Any:
    name, *rest = names
    choices = [member.name for member in fields(part)]
    if name not in choices:
        raise ConfigError(f"no field {path!r}; {name!r} is not among {', '.join(choices)}")
    old = getattr(part, name)
    if rest:
        if not is_dataclass(old):
            raise ConfigError(f"no field {path!r}; {name!r} has no fields of its own")
        return replace(part, **{name: _assign(old, rest, value, path)})
    if is_dataclass(old):
        raise ConfigError(f"{path!r} is a group; set one of {', '.join(m.name for m in fields(old))}")
    return replace(part, **{name: _convert(value, get_type_hints(type(part))[name], path)})


def _parse(text: str) -> Any:
    if text.lower() in ("true", "false"):
        return text.lower() == "true"
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError):
        return text


def digest(value: Any) -> str:
    """Sixteen hexadecimal digits that stand for a JSON-able value, whatever the order of its keys."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def cell_id(run: AnyRun, checksums: Mapping[str, str]) -> str:
    """The name of this run's result: the run and the shards it reads, `checksums` by source."""
    return digest([to_json(run), _of(run.sources, checksums)])


def pretraining_id(run: AnyRun, checksums: Mapping[str, str]) -> str:
    """The name of the trained model, shared by all runs that differ only in what follows."""
    whole = to_json(run)
    later = ("experiment", "scale", "row", "structures", "new_task", "column", "refine", "eval")
    followed = (*later, "test", "subtyping", "subtype_optim", "windows")
    parts = {name: value for name, value in whole.items() if name not in followed}
    return digest([parts, _of(run.trained_on, checksums)])


def _of(sources: Iterable[str], checksums: Mapping[str, str]) -> dict[str, str]:
    return {name: checksums[name] for name in sources}
