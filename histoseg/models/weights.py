"""Networks as files: the folder of a model, and tensors that others wrote.

Foreign files are pickles. They are read by torch's weights-only reader, which builds tensors and plain containers and
refuses everything else; then each name and shape is checked before a number is taken over.
"""

import hashlib
import io
import json
import logging
import re
from collections.abc import Callable, Collection, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load, save
from torch import Tensor

from histoseg.errors import CheckpointError
from histoseg.models.network import Network
from histoseg.models.spec import Heads, NetworkSpec
from histoseg.runs import catalog
from histoseg.runs.config import public_name
from histoseg.store.objects import FileStore, Store

logger = logging.getLogger(__name__)

FORMAT = 2
FEW_STEPS = 100  # Fewer leave a new network close to random numbers; the smallest real schedules here have 400.
PARTS = ("desc", "state_dict")  # Where Cerberus' authors and PyTorch Lightning have the tensors in their files
HEAD_PARTS = ("heads", "decoders", "tissue")  # Where networks have what one task needs; all else is shared.


@dataclass(frozen=True, kw_only=True)
class Model:
    """A network with what must be known to use it.

    Attributes:
        spec: The settings of the network.
        classes: Class names of each head that predicts classes: those of objects, of tissue, of a task's pixels.
        mpp: Microns per pixel of the images it was trained on.
        origin: Where it is from, for people.
        sha256: Of the stored numbers; empty if it was not read from a folder.
        steps: Steps of the optimiser in all its trainings; None if that is not known, as of published weights.
        made_up: The sources it was trained on whose images are demo data, which this program drew.
    """

    spec: NetworkSpec
    network: Network
    classes: Mapping[str, tuple[str, ...]]
    mpp: float
    origin: str
    sha256: str = ""
    steps: int | None = None
    made_up: tuple[str, ...] = ()

    @property
    def caveats(self) -> tuple[str, ...]:
        """Why it can have learnt little of real tissue, a sentence each."""
        found = []
        if self.made_up:
            found.append(f"the model was trained on made-up images (demo data of {', '.join(self.made_up)})")
        if self.steps is not None and self.steps < FEW_STEPS:
            found.append(f"the model was trained for {self.steps} steps only")
        return tuple(found)


def save_model(model: Model, store: Store, folder: str) -> None:
    """Write `model.safetensors` and `model.json` below a folder of a store, the description last."""
    body = save({name: value.detach().cpu().contiguous() for name, value in model.network.state_dict().items()})
    heads = model.spec.heads(model.network)
    about = {
        "format": FORMAT,
        "network": {"name": public_name(model.spec), **asdict(model.spec)},
        "heads": dict(heads.num_classes),
        "tissue_px": heads.tissue_px,
        **({"branches": dict(heads.branches)} if heads.branches else {}),
        "classes": {name: list(names) for name, names in model.classes.items()},
        "mpp": model.mpp,
        "origin": model.origin,
        "sha256": hashlib.sha256(body).hexdigest(),
        "steps": model.steps,
        "made_up": list(model.made_up),
    }
    prefix = f"{folder}/" if folder else ""
    store.put(f"{prefix}model.safetensors", body)
    store.put(f"{prefix}model.json", json.dumps(about, indent=1).encode())


def load_model(folder: Path | str) -> Model:
    """The model that `save_model` wrote; what speaks against it is logged.

    Raises:
        CheckpointError: If the folder holds none, or its files do not belong together.
        ConfigError: If no network has the name that the folder states.
    """
    folder = Path(folder)
    if not (folder / "model.json").is_file():
        raise CheckpointError(
            f"{folder} holds no model.json; name the folder that `histoseg import-weights` or a run wrote"
        )
    try:
        about = _read_description(folder)
        settings = dict(about["network"])
        spec: NetworkSpec = catalog.load("histoseg.models", settings.pop("name")).SPEC(**settings)
        branches = about.get("branches", {})  # Only where there are any
        heads = Heads(num_classes=about["heads"], tissue_px=about["tissue_px"], branches=branches)
        network = spec.rebuild(heads)
        classes = {name: tuple(names) for name, names in about["classes"].items()}
        model = Model(
            spec=spec,
            network=network.eval(),
            classes=classes,
            mpp=float(about["mpp"]),
            origin=about["origin"],
            sha256=about["sha256"],
            steps=about.get("steps"),  # Models of earlier versions state neither.
            made_up=tuple(about.get("made_up", ())),
        )
    except (ValueError, KeyError, TypeError) as error:
        raise CheckpointError(f"{folder}/model.json does not describe a model ({error!r}); write it again") from error
    body = FileStore(folder).get("model.safetensors")
    if hashlib.sha256(body).hexdigest() != model.sha256:
        raise CheckpointError(f"{folder}/model.safetensors is not the file that model.json describes; copy both again")
    take_over(network, load(body), str(folder))
    for caveat in model.caveats:
        logger.warning("%s: %s; its predictions say little about real tissue", folder, caveat)
    return model


def stored_sha256(store: Store, folder: str) -> str:
    """The SHA-256 of the weights of a model in a store, as it states it; empty if there is no model.

    Raises:
        CheckpointError: If its description is damaged.
    """
    key = f"{folder}/model.json"
    if store.size(key) is None:
        return ""
    try:
        return str(json.loads(store.get(key))["sha256"])
    except (ValueError, KeyError, TypeError) as error:
        raise CheckpointError(f"{store.url}/{key} does not describe a model ({error!r}); fetch it again") from error


def _read_description(folder: Path) -> dict[str, Any]:
    """`model.json` in today's format."""
    about: dict[str, Any] = json.loads((folder / "model.json").read_text(encoding="utf-8"))
    if about["format"] == FORMAT:
        return about
    if about["format"] == 1:
        return _from_format_1(about)
    raise CheckpointError(f"{folder}/model.json has format {about['format']}; this version reads 1 and {FORMAT}")


def _from_format_1(about: Mapping[str, Any]) -> dict[str, Any]:
    """The description of a Cerberus in format 1, which did not state whether there are contours."""
    parts = about["spec"]
    separating = [count for name, count in parts["decoders"].items() if not name.endswith("_type")]
    return {
        **about,
        "network": {"name": "cerberus", **parts["network"], "contour": 3 in separating},
        "heads": {**parts["decoders"], **({"tissue": parts["tissue"]} if parts["tissue"] else {})},
        "tissue_px": 16 * parts["tissue_cells"],
    }


def start_from(network: Network, given: Mapping[str, Tensor], name: str, kept: Collection[str] = ()) -> None:
    """Begin with given weights, as far as they are of parts that the network has; none leave it as it is.

    Tensors that are named in `kept` stay as they are.
    """
    if not (given := {key: value for key, value in given.items() if key not in kept}):
        return
    own = network.state_dict()
    differing = {_part(key) for key, value in given.items() if key in own and value.shape != own[key].shape}
    if others := {part for part in differing if part.split(".")[0] in HEAD_PARTS}:
        logger.warning("weights %s: %s of other classes start from random numbers", name, ", ".join(sorted(others)))
    there = {_part(key) for key in given}
    absent = {_part(key) for key in own if key not in kept and key.split(".")[0] in HEAD_PARTS} - there
    if absent and any(part.split(".")[0] in HEAD_PARTS for part in there):  # Not of weights that are an encoder's only
        logger.warning("weights %s lack %s, which start from random numbers", name, ", ".join(sorted(absent)))
    chosen = {key: value for key, value in given.items() if key in own and _part(key) not in others}
    needed = (key for key in own if key.startswith("encoder.") and key not in kept)
    if lacking := sorted(key for key in needed if key not in chosen):
        raise CheckpointError(f"weights {name!r} lack {', '.join(lacking[:3])}; they belong to a different encoder")
    if sizes := [key for key, value in chosen.items() if value.shape != own[key].shape]:
        first = f"{sizes[0]} is {tuple(chosen[sizes[0]].shape)} instead of {tuple(own[sizes[0]].shape)}"
        advice = "give the SCALE that it was trained at, or its settings, as SET=network.width=…"
        raise CheckpointError(f"weights {name!r} are of a network of another size ({first}); {advice}")
    take_over(network, {**own, **chosen}, f"weights {name!r}")


def _part(name: str) -> str:
    """The part of a network that a tensor belongs to: the encoder, one decoder or head, ..."""
    first, second, *_ = name.split(".")
    return f"{first}.{second}" if first in ("heads", "decoders") else first


def read_foreign(path: Path) -> dict[str, Tensor]:
    """The tensors of a file that torch saved, under "desc" or "state_dict" if the file has it, or of safetensors."""
    if not path.is_file():
        raise CheckpointError(f"{path}: no such file")
    body = path.read_bytes()
    try:
        is_plain = path.suffix == ".safetensors"
        content: Any = load(body) if is_plain else torch.load(io.BytesIO(body), map_location="cpu", weights_only=True)
    except Exception as error:  # A damaged or hostile file can make the reader raise anything.
        # Without torch's advice, which is to read the file unsafely.
        reason = re.split(r"\n|\. Please", str(error).rpartition("WeightsUnpickler error:")[2].strip())[0]
        raise CheckpointError(f"{path} cannot be read safely as a file of weights ({reason})") from error
    for part in PARTS:
        content = content.get(part, content) if isinstance(content, dict) else content
    if not isinstance(content, dict) or not all(isinstance(value, Tensor) for value in content.values()):
        raise CheckpointError(
            f"{path} holds {type(content).__name__}; expected tensors by name, or those under {' or '.join(PARTS)}"
        )
    return {str(name).removeprefix("module."): value for name, value in content.items()}


def take_over(
    network: Network, tensors: Mapping[str, Tensor], where: str, name_there: Callable[[str], str] = str
) -> None:
    """Fill a network; `name_there` gives the name by which the file knows one of our tensors."""
    state = network.state_dict()
    own = {name_there(name): value for name, value in state.items()}
    # Older files do not count batches; the count changes nothing.
    tensors = {**{name: own[name] for name in own if name.endswith("num_batches_tracked")}, **tensors}
    faults = [f"lacks {name}" for name in own if name not in tensors]
    faults += [f"has {name}, which the network has not" for name in tensors if name not in own]
    faults += [
        f"{name} is {tuple(tensors[name].shape)} instead of {tuple(own[name].shape)}"
        for name in own
        if name in tensors and tensors[name].shape != own[name].shape
    ]
    if faults:
        more = f" and {len(faults) - 4} more" if len(faults) > 4 else ""
        raise CheckpointError(f"{where} is of another layout: {'; '.join(faults[:4])}{more}")
    network.load_state_dict({name: tensors[name_there(name)] for name in state})
