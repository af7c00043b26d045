"""Weights that training starts from: ImageNet's, or those of a model, as objects in a store."""

import hashlib
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors.torch import load, save
from torch import Tensor

from histoseg.errors import CheckpointError, StorageError
from histoseg.models.weights import load_model, read_foreign
from histoseg.store.keys import weights_key
from histoseg.store.objects import Store

# torchvision's file names end in the first digits of their SHA-256, which torch.hub checks.
IMAGENET: Mapping[str, str] = {
    "resnet18": "https://download.pytorch.org/models/resnet18-f37072fd.pth",
    "resnet34": "https://download.pytorch.org/models/resnet34-b627a593.pth",
    "resnet50": "https://download.pytorch.org/models/resnet50-0676ba61.pth",
}

LANDMARK = "layer1.0.conv1.weight"  # A tensor that every ResNet of torchvision has


def find_weights(name: str, encoder: str, store: Store) -> dict[str, Tensor]:
    """The weights of that name, where "imagenet" stands for those of an encoder."""
    if name == "imagenet":
        return _imagenet(encoder, store)
    if store.size(weights_key(name)) is None:
        raise StorageError(
            f"{store.url} has no weights {name}; give them once more, as START=folder or by `histoseg put-weights`"
        )
    return load(store.get(weights_key(name)))


def put_weights(path: Path, store: Store) -> str:
    """Put a model's folder, or a ResNet in torchvision's format, into a store as weights to start from.

    Returns the name of the weights, which stands for their bytes.
    """
    is_model = path.is_dir()
    return store_weights(load_model(path).network.state_dict() if is_model else read_encoder(path), store)


def read_encoder(path: Path) -> dict[str, Tensor]:
    """A file of a ResNet in torchvision's format, under our names."""
    return as_encoder(read_foreign(path), str(path))


def store_weights(tensors: Mapping[str, Tensor], store: Store) -> str:
    """Put tensors under our names into a store; returns the name of the weights, which stands for their bytes."""
    body = save({name: value.contiguous() for name, value in tensors.items()})
    name = hashlib.sha256(body).hexdigest()[:16]
    store.put_if_absent(weights_key(name), body)
    return name


def as_encoder(tensors: Mapping[str, Tensor], where: str) -> dict[str, Tensor]:
    """Weights in torchvision's format under our names, without the classifier.

    Their names may all begin alike, as with "model.resnet.": programs that train a ResNet as a part of something leave
    such files. What lies beside the ResNet is left out then.
    """
    places = [name.removesuffix(LANDMARK) for name in tensors if name.endswith(LANDMARK)]
    if not places:
        raise CheckpointError(f"{where} has no {LANDMARK}; expected a ResNet in torchvision's format")
    prefix = min(places, key=len)
    inside = {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}
    return {f"encoder.{name}": value for name, value in inside.items() if not name.startswith("fc.")}


def _imagenet(encoder: str, store: Store) -> dict[str, Tensor]:
    """ImageNet's weights of an encoder: from the store or, the first time, from the usual hub."""
    key = weights_key(f"imagenet-{encoder}")
    if store.size(key) is None:
        url = IMAGENET[encoder]
        try:
            tensors = torch.hub.load_state_dict_from_url(url, check_hash=True, map_location="cpu", weights_only=True)
        except (OSError, RuntimeError) as error:
            raise StorageError(
                f"ImageNet's weights of {encoder} are not in the store and cannot be downloaded from {url} ({error}); "
                "download that file elsewhere and give it as IMAGENET=file, or, to a cluster, by `histoseg put-weights "
                "FILE --imagenet --store URL`"
            ) from error
        put_imagenet(tensors, encoder, store)
    return load(store.get(key))


def put_imagenet(tensors: Mapping[str, Tensor], encoder: str, store: Store) -> None:
    """Keep ImageNet's weights of an encoder in a store, for every run that starts from them."""
    body = save({name: value.contiguous() for name, value in as_encoder(tensors, IMAGENET[encoder]).items()})
    store.put(weights_key(f"imagenet-{encoder}"), body)


def import_imagenet(path: Path, store: Store) -> str:
    """Put a file of torchvision's into a store as ImageNet's weights; returns the encoder that they belong to."""
    found = hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else ""
    for encoder, url in IMAGENET.items():
        if found.startswith(url.rpartition("-")[2].removesuffix(".pth")) and found:
            put_imagenet(read_foreign(path), encoder, store)
            return encoder
    names = ", ".join(url.rpartition("/")[2] for url in IMAGENET.values())
    raise CheckpointError(
        f"{path} is not one of {names}, going by its SHA-256 {found[:8] or '(no such file)'}; fetch one again"
    )
