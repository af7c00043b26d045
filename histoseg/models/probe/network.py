"""An encoder and, on its pooled features, two fully connected layers for each head."""

from collections.abc import Mapping
from contextlib import nullcontext
from dataclasses import dataclass

import torch
from jaxtyping import Float, UInt8
from torch import Tensor, nn

from histoseg.errors import ConfigError
from histoseg.models.encoder import build_encoder
from histoseg.models.initial import drawn
from histoseg.models.network import Network
from histoseg.models.norm import SyncedBatchNorm
from histoseg.models.probe.names import PROJECTION, TIMM
from histoseg.models.probe.timm_encoder import TimmEncoder


@dataclass(frozen=True, kw_only=True)
class ProbeParts:
    """All that a probe is built from: fields of `ProbeSpec`, and how many numbers each head gives."""

    encoder: str
    width: int
    depths: int
    hidden: int
    outputs: Mapping[str, int]


class Probe(Network):
    """The network. `encode` once, `average` the features, then `heads`."""

    has_depths = True  # See `histoseg.representation.pool.Encoding`.

    def __init__(self, parts: ProbeParts) -> None:
        super().__init__()
        self.parts = parts
        self.is_frozen = False
        is_timm = parts.encoder.startswith(TIMM)
        name = parts.encoder.removeprefix(TIMM)
        self.encoder = TimmEncoder(name, parts.depths) if is_timm else build_encoder(name, parts.width)
        before = sum(self.encoder.widths[-parts.depths :])
        self.heads = nn.ModuleDict(
            {
                head: two_layers(before, parts.hidden, count, is_normed=head != PROJECTION)
                for head, count in parts.outputs.items()
            }
        )

    def encode(self, images: UInt8[Tensor, "B H W 3"]) -> list[Tensor]:
        """Features at each depth, shallow ones first, of images as stored."""
        kind = next(self.parameters()).dtype
        with torch.autocast(images.device.type, torch.bfloat16) if self.bf16 else nullcontext():
            features: list[Tensor] = self.encoder(images.permute(0, 3, 1, 2).to(kind) / 255)
        return features

    def head(self, name: str, features: Float[Tensor, "B F"]) -> Float[Tensor, "B K"]:
        """What a head gives for pooled features: logits, or a projection."""
        found: Tensor = self.heads[name](features[:, :, None, None].to(next(self.heads.parameters()).dtype))
        return found[:, :, 0, 0]

    def with_encoder_of(self, network: nn.Module) -> "Probe":
        """This network, with the weights of another one's encoder.

        Raises:
            ConfigError: If the other one's encoder is of another kind or width.
        """
        given, own = getattr(network, "encoder", nn.Module()).state_dict(), self.encoder.state_dict()
        if {name: value.shape for name, value in given.items()} != {name: value.shape for name, value in own.items()}:
            raise ConfigError(
                f"the network of the stage before has another encoder than {self.parts.encoder} of width "
                f"{self.parts.width}; set network.encoder and network.width of both stages alike"
            )
        self.encoder.load_state_dict(given)
        return self

    def freeze_encoder(self) -> None:
        """From now on only the heads are trained; of the encoder nothing changes, running statistics included."""
        self.is_frozen = True
        self.encoder.requires_grad_(requires_grad=False)
        self.encoder.eval()

    def train(self, mode: bool = True) -> "Probe":  # torch's signature
        """Enter or leave training; a frozen encoder stays out of it."""
        super().train(mode)
        if self.is_frozen:
            self.encoder.eval()
        return self

    def compile_parts(self) -> None:
        if not self.is_frozen:
            vars(self).update(encode=torch.compile(self.encode))

    def interpret_parts(self) -> None:
        vars(self).pop("encode", None)


def two_layers(before: int, hidden: int, after: int, *, is_normed: bool) -> nn.Sequential:
    """Two fully connected layers with a ReLU between them, as 1×1 convolutions.

    With `is_normed` features are normalised first: those of different depths and encoders differ in size by orders of
    magnitude, and one learning rate must do for all rows of a table. Chen et al. 2020, Sec. 2.1, have the layers alone.
    """
    norm = [SyncedBatchNorm(before)] if is_normed else []
    return nn.Sequential(*norm, nn.Conv2d(before, hidden, 1), nn.ReLU(), nn.Conv2d(hidden, after, 1))


def build(parts: ProbeParts, seed: int) -> Probe:
    """A new network, the same for the same seed; its encoder's first weights are those of a Cerberus of that seed."""
    return drawn(lambda: Probe(parts), "heads", seed)
