"""Features in a store, named by all that they depend on, so that they are computed once for each set of images.

`features/<source>/<name>.safetensors` holds the numbers. The JSON beside it is put last and holds their SHA-256 and
what they are of, so features that have one are whole. Those of another encoder have another name.
"""

import hashlib
import json
import logging
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass

import numpy as np
import torch
from jaxtyping import Float32, Float64
from safetensors.numpy import load, save
from torch import nn

from histoseg.distributed import sum_over_ranks
from histoseg.runs.plain import digest
from histoseg.store.keys import features_key
from histoseg.store.objects import Store
from histoseg.types import Place

logger = logging.getLogger(__name__)

ALONE = Place()
CPU = torch.device("cpu")
FORMAT = 1  # Raised where equal fields would stand for other features


@dataclass(frozen=True, kw_only=True)
class FeatureSet:
    """What features are of.

    Attributes:
        source: The source of the images.
        index: The checksum of its index.
        patches: A digest of the patches' images and places, see `digest_of_patches`.
        encoder: See `encoder_digest`.
        patch_px: Side of the patches.
        depths: How many depths of the encoder are pooled.
    """

    source: str
    index: str
    patches: str
    encoder: str
    patch_px: int
    depths: int

    @property
    def name(self) -> str:
        """The name under which they are kept."""
        return digest([FORMAT, asdict(self)])


def cached(
    store: Store,
    wanted: FeatureSet,
    compute: Callable[[], Float32[np.ndarray, "N F"]],
    *,
    place: Place = ALONE,
    device: torch.device = CPU,
) -> Float32[np.ndarray, "N F"]:
    """The features in the store; without any, or if they are damaged, they are computed and kept.

    Unless every rank finds them, all ranks compute them, so `compute` may share the work; one of them keeps the result.
    """
    found = read_features(store, wanted)
    votes = sum_over_ranks(torch.tensor(int(found is not None), device=device))
    if found is None or int(votes) < place.world_size:
        found = compute()
        if place.rank == 0:
            put_features(store, wanted, found)
    return found


def read_features(store: Store, wanted: FeatureSet) -> Float32[np.ndarray, "N F"] | None:
    """The features in the store; None if there are none, or, with a warning, if they are damaged or are of others."""
    body_key, about_key = (features_key(wanted.source, wanted.name, kind) for kind in ("safetensors", "json"))
    if store.size(about_key) is None or store.size(body_key) is None:
        return None
    body = store.get(body_key)
    try:
        about = json.loads(store.get(about_key))
        if about["of"] != asdict(wanted):
            raise ValueError("they are of other images or of another encoder")
        if about["sha256"] != hashlib.sha256(body).hexdigest():
            raise ValueError("their SHA-256 is another one")
        found: Float32[np.ndarray, "N F"] = load(body)["features"]
    except (ValueError, KeyError, TypeError) as error:
        logger.warning("%s/%s is damaged (%s); its features are computed again", store.url, body_key, error)
        return None
    return found


def put_features(store: Store, wanted: FeatureSet, features: Float32[np.ndarray, "N F"]) -> None:
    """Keep features in the store, for all that ask for the same."""
    body = save({"features": np.ascontiguousarray(features)})
    about = {"of": asdict(wanted), "sha256": hashlib.sha256(body).hexdigest()}
    store.put(features_key(wanted.source, wanted.name, "safetensors"), body)
    store.put(features_key(wanted.source, wanted.name, "json"), json.dumps(about, indent=1).encode())


def digest_of_patches(centres: Mapping[str, Float64[np.ndarray, "_ 2"]]) -> str:
    """A digest of which patches of which images there are, by the key of the image."""
    found = hashlib.sha256()
    for key, points in centres.items():
        found.update(f"{key} {len(points)} ".encode())
        found.update(points.tobytes())
    return found.hexdigest()


def encoder_digest(encoder: nn.Module) -> str:
    """A digest of an encoder's kind, its settings and every number in it."""
    found = hashlib.sha256(f"{type(encoder).__name__} {encoder.extra_repr()}".encode())
    for name, value in sorted(encoder.state_dict().items()):
        if not name.endswith("num_batches_tracked"):  # It changes nothing.
            array = value.detach().cpu().contiguous().numpy()
            found.update(f"{name} {array.dtype} {array.shape}".encode())
            found.update(array.tobytes())
    return found.hexdigest()
