"""Networks as files: our own folder of a model, the checkpoint that Cerberus' authors published, ImageNet's weights.

Foreign files are pickles. They are read by torch's weights-only reader, which builds tensors and plain containers and
refuses everything else; then each name and shape is checked before a number is taken over.
"""

import hashlib
import io
import json
import logging
import re
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load, save
from torch import Tensor

from histoseg.errors import CheckpointError, StorageError
from histoseg.models.cerberus.network import Cerberus, Spec, build
from histoseg.runs.config import Encoder, Network
from histoseg.sources import _tissue, lizard
from histoseg.store.keys import weights_key
from histoseg.store.objects import FileStore, Store

logger = logging.getLogger(__name__)

FORMAT = 1
HEADS = {  # Ours by the published name
    "Gland": "gland",
    "Lumen": "lumen",
    "Nuclei": "nuclei",
    "Nuclei#TYPE": "nuclei_type",
    "Gland#TYPE": "gland_type",
}
# What the numbers mean that the published network predicts; its files do not say, its authors' code does.
PUBLISHED_CLASSES: Mapping[str, tuple[str, ...]] = {
    "nuclei_type": lizard.TASK.classes,
    "gland_type": ("background", "gland", "surface_epithelium"),
    "tissue": _tissue.CLASSES,
}
PUBLISHED_MPP = 0.5  # Graham et al. 2023: all is trained and predicted at 0.5 microns per pixel
TISSUE_OUTPUT = "decoder_head.Patch-Class.conv2.bias"
UNUSED = ("backbone.fc.weight", "backbone.fc.bias")
# torchvision's file names end in the first digits of their SHA-256, which torch.hub checks.
IMAGENET: Mapping[Encoder, str] = {
    "resnet18": "https://download.pytorch.org/models/resnet18-f37072fd.pth",
    "resnet34": "https://download.pytorch.org/models/resnet34-b627a593.pth",
    "resnet50": "https://download.pytorch.org/models/resnet50-0676ba61.pth",
}


@dataclass(frozen=True, kw_only=True)
class Model:
    """A network with what must be known to use it.

    Attributes:
        classes: Class names of each decoder that tells classes, and of "tissue".
        mpp: Microns per pixel of the images it was trained on.
        origin: Where it is from, for people.
        sha256: Of the stored numbers; empty if it was not read from a folder.
    """

    network: Cerberus
    classes: Mapping[str, tuple[str, ...]]
    mpp: float
    origin: str
    sha256: str = ""


def save_model(model: Model, store: Store, folder: str) -> None:
    """Write `model.safetensors` and `model.json` below a folder of a store, the description last."""
    body = save({name: value.detach().cpu().contiguous() for name, value in model.network.state_dict().items()})
    about = {
        "format": FORMAT,
        "spec": asdict(model.network.spec),
        "classes": {name: list(names) for name, names in model.classes.items()},
        "mpp": model.mpp,
        "origin": model.origin,
        "sha256": hashlib.sha256(body).hexdigest(),
    }
    prefix = f"{folder}/" if folder else ""
    store.put(f"{prefix}model.safetensors", body)
    store.put(f"{prefix}model.json", json.dumps(about, indent=1).encode())


def load_model(folder: Path) -> Model:
    """The model that `save_model` wrote.

    Raises:
        CheckpointError: If the folder holds none, or its files do not belong together.
    """
    if not (folder / "model.json").is_file():
        raise CheckpointError(
            f"{folder} holds no model.json; name the folder that `histoseg import-weights` or a run wrote"
        )
    try:
        about = json.loads((folder / "model.json").read_text(encoding="utf-8"))
        if about["format"] != FORMAT:
            raise CheckpointError(f"{folder}/model.json has format {about['format']}; this version reads {FORMAT}")
        spec = Spec(**{**about["spec"], "network": Network(**about["spec"]["network"])})
        classes = {name: tuple(names) for name, names in about["classes"].items()}
        mpp, sha256, origin = float(about["mpp"]), about["sha256"], about["origin"]
    except (ValueError, KeyError, TypeError) as error:
        raise CheckpointError(f"{folder}/model.json does not describe a model ({error!r}); write it again") from error
    store = FileStore(folder)
    body = store.get("model.safetensors")
    if hashlib.sha256(body).hexdigest() != sha256:
        raise CheckpointError(f"{folder}/model.safetensors is not the file that model.json describes; copy both again")
    network = build(spec, 0)
    _take_over(network, load(body), str(folder))
    return Model(network=network.eval(), classes=classes, mpp=mpp, origin=origin, sha256=sha256)


def import_published(path: Path) -> Model:
    """The model in a checkpoint of Cerberus' authors, with the names of its classes.

    Raises:
        CheckpointError: If `read_published` refuses the file.
    """
    network = read_published(path)
    told = {*network.spec.decoders, *(["tissue"] if network.spec.tissue else [])}
    classes = {name: names for name, names in PUBLISHED_CLASSES.items() if name in told}
    origin = f"{path.name}, a checkpoint in the layout of Cerberus' authors"
    return Model(network=network, classes=classes, mpp=PUBLISHED_MPP, origin=origin)


def read_published(path: Path) -> Cerberus:
    """The network in a checkpoint of Cerberus' authors (a `weights.tar` with the key "desc").

    Raises:
        CheckpointError: If the file has another layout; the text says which names differ, as the file calls them.
    """
    tensors = _read_foreign(path)
    theirs = {name: value for name, value in tensors.items() if name not in UNUSED}
    if dropped := sum(tensors[name].numel() for name in UNUSED if name in tensors):
        logger.info("%s: %d numbers of an ImageNet classifier that nothing uses are left out", path, dropped)
    outputs = {ours: published_name(f"decoders.{ours}.head.1.bias") for ours in HEADS.values()}
    spec = Spec(
        decoders={ours: _count(theirs, name, ours, path) for ours, name in outputs.items() if name in theirs},
        tissue=_count(theirs, TISSUE_OUTPUT, "tissue", path) if TISSUE_OUTPUT in theirs else 0,
    )
    network = build(spec, 0)
    _take_over(network, theirs, str(path), published_name)
    return network.eval()


def _count(tensors: Mapping[str, Tensor], bias: str, ours: str, path: Path) -> int:
    """How many classes a head tells, of which its last bias has one number each."""
    shape = tuple(tensors[bias].shape)
    names = PUBLISHED_CLASSES.get(ours)
    wanted = (len(names),) if names else (2, 3)  # Without and with contours
    if len(shape) != 1 or shape[0] not in wanted:
        counts = " or ".join(map(str, wanted))
        raise CheckpointError(f"{path} is of another layout: {bias} is {shape}; expected {counts} numbers, one a class")
    return shape[0]


def published_name(name: str) -> str:
    """What a published checkpoint calls one of our tensors."""
    heads = {ours: theirs for theirs, ours in HEADS.items()}
    layer = {0: "conv", 1: "bn"}  # ReLU, the third of each block, has no tensors.
    if match := re.fullmatch(r"decoders\.(\w+)\.stages\.(\d)\.(\d)\.(\w+)", name):
        ours, stage, index, rest = match.groups()
        block, kind = divmod(int(index), 3)
        return f"decoder_head.{heads[ours]}.{stage}.block.{block}.{layer[kind]}.{rest}"
    if match := re.fullmatch(r"decoders\.(\w+)\.head\.(?:0\.)?(\d)\.(\w+)", name):
        ours, index, rest = match.groups()
        task = "TYPE" if ours.endswith("_type") else "INST"
        place = "1.conv" if ".head.1." in name else f"0.block.0.{layer[int(index)]}"
        return f"output_head.{heads[ours]}.{task}.x.{place}.{rest}"
    return re.sub("^tissue.", "decoder_head.Patch-Class.", re.sub("^encoder.", "backbone.", name))


def start_from(network: Cerberus, store: Store) -> None:
    """Begin with the weights that the network's description names, as far as they are of parts it has.

    Raises:
        CheckpointError: If the weights lack a part of the encoder, or a shape differs.
        StorageError: If they are neither in the store nor to be had from the usual hub.
    """
    if not network.spec.network.weights:
        return
    name, given = network.spec.network.weights, find_weights(network.spec.network, store)
    own = network.state_dict()
    differing = {_part(key) for key, value in given.items() if key in own and value.shape != own[key].shape}
    if others := {part for part in differing if part.startswith(("decoders", "tissue"))}:
        logger.info("weights %s: %s of other classes start from random numbers", name, ", ".join(sorted(others)))
    chosen = {key: value for key, value in given.items() if key in own and _part(key) not in others}
    if lacking := sorted(key for key in own if key.startswith("encoder.") and key not in chosen):
        raise CheckpointError(f"weights {name!r} lack {', '.join(lacking[:3])} of the encoder; they are of another one")
    _take_over(network, {**own, **chosen}, f"weights {name!r}")


def _part(name: str) -> str:
    """The part of a network that a tensor belongs to: the encoder, one decoder, the head of tissue."""
    first, second, *_ = name.split(".")
    return f"{first}.{second}" if first == "decoders" else first


def find_weights(network: Network, store: Store) -> dict[str, Tensor]:
    """The weights that a network is to start from.

    Raises:
        StorageError: If they are neither in the store nor, for ImageNet's, to be had from the usual hub.
    """
    if network.weights == "imagenet":
        return _imagenet(network.encoder, store)
    if store.size(weights_key(network.weights)) is None:
        raise StorageError(f"{store.url} has no weights {network.weights}; give them once more as START=folder")
    return load(store.get(weights_key(network.weights)))


def put_weights(path: Path, store: Store) -> str:
    """Put weights to start from into a store; returns their name, which stands for their bytes.

    Args:
        path: A folder of a model of ours, or a ResNet in torchvision's format.
        store: Where to put them.

    Raises:
        CheckpointError: If the file is neither.
    """
    tensors = load_model(path).network.state_dict() if path.is_dir() else as_encoder(_read_foreign(path), str(path))
    body = save({name: value.contiguous() for name, value in tensors.items()})
    name = hashlib.sha256(body).hexdigest()[:16]
    store.put_if_absent(weights_key(name), body)
    return name


def as_encoder(tensors: Mapping[str, Tensor], where: str) -> dict[str, Tensor]:
    """Weights in torchvision's format under our names, without the classifier.

    Raises:
        CheckpointError: If they are not of a ResNet.
    """
    if "layer1.0.conv1.weight" not in tensors:
        raise CheckpointError(f"{where} has no layer1.0.conv1.weight; expected a ResNet in torchvision's format")
    return {f"encoder.{name}": value for name, value in tensors.items() if not name.startswith("fc.")}


def _imagenet(encoder: Encoder, store: Store) -> dict[str, Tensor]:
    """ImageNet's weights of an encoder: from the store or, the first time, from the usual hub."""
    key = weights_key(f"imagenet-{encoder}")
    if store.size(key) is None:
        url = IMAGENET[encoder]
        try:
            tensors = torch.hub.load_state_dict_from_url(url, check_hash=True, map_location="cpu", weights_only=True)
        except (OSError, RuntimeError) as error:
            raise StorageError(
                f"ImageNet's weights of {encoder} are neither in the store nor to be had from {url} ({error}); fetch "
                "that file where there is a network and give it as IMAGENET=file"
            ) from error
        put_imagenet(tensors, encoder, store)
    return load(store.get(key))


def put_imagenet(tensors: Mapping[str, Tensor], encoder: Encoder, store: Store) -> None:
    """Keep ImageNet's weights of an encoder in a store, for every run that starts from them."""
    body = save({name: value.contiguous() for name, value in as_encoder(tensors, IMAGENET[encoder]).items()})
    store.put(weights_key(f"imagenet-{encoder}"), body)


def import_imagenet(path: Path, store: Store) -> Encoder:
    """Put a file in torchvision's format into a store as ImageNet's weights; returns the encoder it is of.

    Raises:
        CheckpointError: If its bytes are not those of one of torchvision's files.
    """
    found = hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else ""
    for encoder, url in IMAGENET.items():
        if found.startswith(url.rpartition("-")[2].removesuffix(".pth")) and found:
            put_imagenet(_read_foreign(path), encoder, store)
            return encoder
    names = ", ".join(url.rpartition("/")[2] for url in IMAGENET.values())
    raise CheckpointError(
        f"{path} is none of {names}, going by its SHA-256 {found[:8] or '(no such file)'}; fetch one again"
    )


def _read_foreign(path: Path) -> dict[str, Tensor]:
    """The tensors of a file that torch saved, under "desc" if the file has it."""
    if not path.is_file():
        raise CheckpointError(f"{path}: no such file")
    try:
        content: Any = torch.load(io.BytesIO(path.read_bytes()), map_location="cpu", weights_only=True)
    except Exception as error:  # Whatever a broken or hostile file makes of the reader
        # Without torch's advice, which is to read the file unsafely.
        reason = re.split(r"\n|\. Please", str(error).rpartition("WeightsUnpickler error:")[2].strip())[0]
        raise CheckpointError(f"{path} is no file of weights that can be read safely ({reason})") from error
    content = content.get("desc", content) if isinstance(content, dict) else content
    if not isinstance(content, dict) or not all(isinstance(value, Tensor) for value in content.values()):
        raise CheckpointError(f"{path} holds {type(content).__name__}; expected tensors by name, or those under 'desc'")
    return {str(name).removeprefix("module."): value for name, value in content.items()}


def _take_over(
    network: Cerberus, tensors: Mapping[str, Tensor], where: str, name_there: Callable[[str], str] = str
) -> None:
    """Fill a network; `name_there` gives the name by which the file knows one of our tensors.

    Raises:
        CheckpointError: If names or shapes differ; a few are named.
    """
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
