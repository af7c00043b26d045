"""Encoders of the package timm, such as today's pathology foundation models, with their weights."""

from collections.abc import Iterable, Mapping, Sequence
from difflib import get_close_matches
from typing import Protocol, cast

import torch
from jaxtyping import Float
from safetensors.torch import load, save
from torch import Tensor, nn

from histoseg.errors import CheckpointError, ConfigError, StorageError
from histoseg.models.probe.names import PRETRAINED
from histoseg.models.vision import import_torchvision
from histoseg.store.keys import weights_key
from histoseg.store.objects import Store

PREFIX = "encoder.model."  # Where a probe has the tensors of timm's model


class _TimmModel(Protocol):
    """What timm's models have beyond those of torch, which has no types there."""

    @property
    def feature_info(self) -> Iterable[Mapping[str, int]]: ...
    @property
    def pretrained_cfg(self) -> Mapping[str, Sequence[float]]: ...
    def forward_intermediates(
        self, x: Tensor, *, indices: list[int], intermediates_only: bool, output_fmt: str
    ) -> list[Tensor]: ...


class TimmEncoder(nn.Module):
    """A model of timm's without its classifier.

    Images enter as numbers from 0 to 1 and are normalised as the model asks for. Where it takes images of one size
    only, as vision transformers do, they are resized to it.

    Attributes:
        widths: Channels at each depth that `forward` gives.
    """

    def __init__(self, name: str, depths: int) -> None:
        super().__init__()
        self.name = name
        self.model = create(name)
        model = cast(_TimmModel, self.model)
        about, settings = list(model.feature_info), model.pretrained_cfg
        self.indices = spread(len(about), depths)
        self.widths = tuple(about[i]["num_chs"] for i in self.indices)
        self.input_px = int(settings["input_size"][-1]) if settings.get("fixed_input_size") else 0
        for part in ("mean", "std"):
            self.register_buffer(part, torch.tensor(settings[part]).view(1, 3, 1, 1), persistent=False)

    def forward(self, images: Float[Tensor, "B 3 H W"]) -> list[Tensor]:
        """Features at some depths, shallow ones first."""
        x = (images - self.get_buffer("mean")) / self.get_buffer("std")
        if self.input_px:
            x = nn.functional.interpolate(x, (self.input_px, self.input_px), mode="bilinear", antialias=True)
        model = cast(_TimmModel, self.model)
        return model.forward_intermediates(x, indices=self.indices, intermediates_only=True, output_fmt="NCHW")

    def extra_repr(self) -> str:
        return f"{self.name}, {self.indices}, {self.input_px}"


def spread(count: int, depths: int) -> list[int]:
    """Which of so many depths are pooled: the last ones of a pyramid, which has five at most, else evenly spread."""
    if depths > count:
        raise ConfigError(f"network.depths = {depths}: this encoder has {count}")
    if count <= 5:
        return list(range(count - depths, count))
    return [(i + 1) * count // depths - 1 for i in range(depths)]


def create(name: str) -> nn.Module:
    """A model of timm's with random weights.

    Raises:
        ConfigError: If timm has none of that name, or its features cannot be had.
    """
    import_torchvision()  # timm imports it, which fails beside some builds of torch.
    import timm

    if not timm.is_model(name):
        near = ", ".join(get_close_matches(name, timm.list_models(), 5)) or "none"
        raise ConfigError(f"network.encoder = 'timm/{name}': timm has no such model; near it are {near}")
    model: nn.Module = timm.create_model(name, pretrained=False, num_classes=0)
    if not hasattr(model, "forward_intermediates"):
        raise ConfigError(
            f"network.encoder = 'timm/{name}': timm gives no features of it at several depths; take another"
        )
    return model


def find_timm_weights(weights: str, name: str, store: Store) -> dict[str, Tensor]:
    """The tensors that a probe with this encoder starts from: an object of the store, or those that timm knows."""
    key = weights_key(f"timm-{name}" if weights == PRETRAINED else weights)
    if store.size(key) is None:
        if weights != PRETRAINED:
            raise StorageError(f"{store.url} has no weights {weights}; put them there: `histoseg put-weights --help`")
        store.put(key, save(_download(name)))
    return load(store.get(key))


def as_timm_encoder(tensors: Mapping[str, Tensor], name: str, where: str) -> dict[str, Tensor]:
    """The tensors of a file that a model of timm's has, under our names; what others hold, as a classifier, is left.

    Raises:
        CheckpointError: If some are missing or of another shape.
    """
    own = create(name).state_dict()
    faults = [f"lacks {key}" for key in own if key not in tensors]
    faults += [
        f"{key} is {tuple(tensors[key].shape)} instead of {tuple(own[key].shape)}"
        for key in own
        if key in tensors and tensors[key].shape != own[key].shape
    ]
    if faults:
        more = f" and {len(faults) - 3} more" if len(faults) > 3 else ""
        raise CheckpointError(f"{where} does not fit timm/{name}: {'; '.join(faults[:3])}{more}")
    return {f"{PREFIX}{key}": tensors[key].contiguous() for key in own}


def _download(name: str) -> dict[str, Tensor]:
    import_torchvision()
    import timm

    try:
        model = timm.create_model(name, pretrained=True, num_classes=0)
    except Exception as error:  # Libraries of the hub raise what they like; their texts are long.
        reason = " ".join(str(error).split())[:120]
        raise StorageError(
            f"timm's weights of {name} are not in the store, and no download was possible ({type(error).__name__}: "
            f"{reason}); fetch them elsewhere: `histoseg put-weights FILE --encoder timm/{name} --store …`"
        ) from error
    return as_timm_encoder(model.state_dict(), name, "what timm downloads")
